"""A small Transformer and Conformer to train from scratch: what the `scratch-*` encoders of every signal are made of.

Axes: B items, T positions, D width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Kind = Literal["transformer", "conformer"]
SIZES = {"tiny": (64, 2, 4), "small": (192, 4, 6), "base": (384, 6, 6)}
"""Width, depth and attention heads of the sizes that can be trained from scratch."""


class Stack(nn.Module):
    """Pre-norm attention blocks (Vaswani et al. 2017) or Conformer blocks (Gulati et al. 2020), sinusoidal positions.

    Args:
        size: "tiny", "small" or "base".
        kind: "conformer" adds a second half-step feed-forward and a depthwise convolution to each block.
        dropout: on the residual branches and the attention weights.
    """

    def __init__(self, size: str, *, kind: Kind = "transformer", dropout: float = 0.1) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"no size {size!r}: there are {', '.join(SIZES)}")
        self.width, depth, heads = SIZES[size]
        block = ConformerBlock if kind == "conformer" else TransformerBlock
        self.blocks = nn.ModuleList(block(self.width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, tokens_BTD: Float[Tensor, "b t d"], mask_BT: Bool[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """Encode real positions; padded ones come out as zero."""
        tokens_BTD = tokens_BTD + positions(tokens_BTD.shape[1], self.width).to(tokens_BTD)
        tokens_BTD = torch.where(mask_BT[:, :, None], tokens_BTD, 0.0)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD, mask_BT)
        out: Tensor = self.norm(tokens_BTD) * mask_BT[:, :, None]
        return out


class Attention(nn.Module):
    """Multi-head self-attention in which padded positions are never attended to."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Attend over real positions."""
        q, k, v = (
            torch.unflatten(part, 2, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(tokens_BTD).chunk(3, dim=2)
        )
        # an item without any real position attends to its (zero) padding: finite, and masked out by the caller
        allowed = (mask_BT | ~mask_BT.any(1, keepdim=True))[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class TransformerBlock(nn.Module):
    """Attention and a feed-forward layer, each behind a norm and around a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.feed_forward = _feed_forward(width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """One block."""
        tokens_BTD = tokens_BTD + self.dropout(self.attention(self.attention_norm(tokens_BTD), mask_BT))
        out: Tensor = tokens_BTD + self.feed_forward(tokens_BTD)
        return out


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm.

    differs: layer norm, not batch norm, inside the convolution, so that an item does not depend on its batch.
    """

    def __init__(self, width: int, heads: int, dropout: float, kernel: int = 15) -> None:
        super().__init__()
        self.first, self.second = _feed_forward(width, dropout), _feed_forward(width, dropout)
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.conv_norm, self.gate = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner_norm, self.project = nn.LayerNorm(width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """One block."""
        tokens_BTD = tokens_BTD + 0.5 * self.first(tokens_BTD)
        tokens_BTD = tokens_BTD + self.dropout(self.attention(self.attention_norm(tokens_BTD), mask_BT))
        gated = nn.functional.glu(self.gate(self.conv_norm(tokens_BTD)), dim=2) * mask_BT[:, :, None]
        conv = self.inner_norm(self.conv(gated.transpose(1, 2)).transpose(1, 2))
        tokens_BTD = tokens_BTD + self.dropout(self.project(nn.functional.silu(conv)))
        out: Tensor = self.norm(tokens_BTD + 0.5 * self.second(tokens_BTD))
        return out


def positions(count: int, width: int) -> Float[Tensor, "t d"]:
    """Sinusoidal positions (Vaswani et al. 2017, section 3.5), for any length."""
    steps = torch.arange(count, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([torch.sin(steps * rates), torch.cos(steps * rates)], dim=2).flatten(1)[:, :width]


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    inner = [nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*inner, nn.Linear(4 * width, width), nn.Dropout(dropout))
