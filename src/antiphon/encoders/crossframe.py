"""Parts of X-CLIP's tower (arXiv 2208.02816): blocks with messages between frames, blocks over time, prompts.

Axes: B videos, T frames, N tokens of a frame, P patches of a frame, D width, E width of the space, K classes.
Names are those of `transformers`' CLIP and X-CLIP, so that their weights can be taken over.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


def _quick_gelu(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "quick_gelu": _quick_gelu}


class Attention(nn.Module):
    """Attention over the last axis but one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens."""
        mixed = attend(self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens), self.heads)
        out: Tensor = self.out_proj(mixed)
        return out


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention by heads, over the last axis but one."""
    q, k, v = (torch.unflatten(one, -1, (heads, -1)).transpose(-2, -3) for one in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)


class FeedForward(nn.Module):
    """The feed-forward part of a block."""

    def __init__(self, width: int, activation: str, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or 4 * width
        self.fc1, self.fc2, self.activation = nn.Linear(width, inner), nn.Linear(inner, width), activation

    def forward(self, tokens: Tensor) -> Tensor:
        """Each token by itself."""
        out: Tensor = self.fc2(ACTIVATIONS[self.activation](self.fc1(tokens)))
        return out


class Block(nn.Module):
    """A block of CLIP; with `cross`, a message from the other frames stands behind the frame's own tokens."""

    def __init__(
        self, width: int, heads: int, activation: str, epsilon: float, *, cross: bool, inner: int | None = None
    ) -> None:
        super().__init__()
        self.cross = cross
        self.self_attn, self.mlp = Attention(width, heads), FeedForward(width, activation, inner)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(width, eps=epsilon) for _ in range(2))
        if cross:
            self.message_fc, self.message_attn = nn.Linear(width, width), Attention(width, heads)
            self.message_ln = nn.LayerNorm(width, eps=epsilon)

    def messages(self) -> list[nn.Module]:
        """What CLIP's block does not have."""
        return [self.message_fc, self.message_ln, self.message_attn]

    def forward(self, z_BTND: Tensor) -> Tensor:
        """One block over the tokens of all frames, the class token first."""
        count = z_BTND.shape[2] if self.cross else 0
        if self.cross:
            m_BTD = self.message_fc(z_BTND[:, :, 0])
            m_BTD = m_BTD + self.message_attn(self.message_ln(m_BTD))
            z_BTND = torch.cat([z_BTND, m_BTD[:, :, None]], dim=2)
        z_BTND = z_BTND + self.self_attn(self.layer_norm1(z_BTND))
        z_BTND = z_BTND[:, :, :count] if self.cross else z_BTND
        out: Tensor = z_BTND + self.mlp(self.layer_norm2(z_BTND))
        return out


class OverTime(nn.Module):
    """Multi-frame integration: blocks over frames with their places, a residual around them all, and the mean."""

    def __init__(self, out: int, frames: int, layers: int, heads: int, activation: str, epsilon: float) -> None:
        super().__init__()
        self.position_embedding = nn.Parameter(0.02 * torch.randn(frames, out))
        self.layers = nn.ModuleList(Block(out, heads, activation, epsilon, cross=False) for _ in range(layers))

    def forward(self, h_BTE: Tensor) -> Tensor:
        """One vector a video."""
        x_BTE = h_BTE + self.position_embedding[: h_BTE.shape[1]]
        for layer in self.layers:
            x_BTE = layer(x_BTE[:, None])[:, 0]
        return (x_BTE + h_BTE).mean(1)


class Looking(nn.Module):
    """One layer of prompts."""

    def __init__(self, width: int, heads: int, activation: str, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm3 = (nn.LayerNorm(width, eps=epsilon) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj, self.mlp = nn.Linear(width, width), FeedForward(width, activation)

    def forward(self, c_BKE: Tensor, memory_BPE: Tensor) -> Tensor:
        """Class vectors that have looked."""
        q, k, v = self.q_proj(self.norm1(c_BKE)), self.k_proj(memory_BPE), self.v_proj(memory_BPE)
        c_BKE = c_BKE + self.proj(attend(q, k, v, self.heads))
        out: Tensor = c_BKE + self.mlp(self.norm3(c_BKE))
        return out


class Prompts(nn.Module):
    """X-CLIP's video-specific prompts: class vectors that look at the video's patches before they are compared with it.

    The memory is the mean over frames of the patches, normed and mapped to E; in each layer
    c' = c + CrossAttn(LN(c), memory), c~ = c' + FFN(LN(c')); and the class vector becomes c + alpha * c~.
    """

    def __init__(
        self, width: int, out: int, *, layers: int = 2, heads: int = 2, alpha: float = 0.1,
        activation: str = "quick_gelu", epsilon: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.visual_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.visual_projection = nn.Parameter(torch.randn(width, out) / width**0.5)
        self.layernorm = nn.LayerNorm(out, eps=epsilon)
        self.decoder = nn.ModuleList(Looking(out, heads, activation, epsilon) for _ in range(layers))
        self.alpha = nn.Parameter(torch.full((out,), alpha))

    def memory(self, patches_BTPD: Float[Tensor, "b t p d"]) -> Float[Tensor, "b p e"]:
        """What class vectors look at."""
        mapped: Tensor = self.visual_layernorm(patches_BTPD) @ self.visual_projection
        return mapped.mean(1)

    def forward(self, classes_KE: Float[Tensor, "k e"], memory_BPE: Float[Tensor, "b p e"]) -> Float[Tensor, "b k e"]:
        """Each class as each video changes it."""
        memory_BPE = self.layernorm(memory_BPE)
        c_BKE = classes_KE.expand(len(memory_BPE), -1, -1)
        for layer in self.decoder:
            c_BKE = layer(c_BKE, memory_BPE)
        return classes_KE + self.alpha * c_BKE
