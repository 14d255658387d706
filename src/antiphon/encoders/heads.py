"""Heads: from an encoder's vectors to one vector of the shared space.

Axes: B items, T positions, D width of the encoder, E width of the space.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from antiphon.config import Config
from antiphon.encoders.pooling import AttentionPooling, LayerMix, masked_mean
from antiphon.types import Encoded


class HeadConfig(Config):
    """How a head is built."""

    pooling: Literal["encoder", "mean", "attention"] = "encoder"
    """"encoder" takes the encoder's own pooled vector, the others pool its tokens."""
    layers: int = 1
    """How many hidden layers stand side by side in the encoder's width, to be mixed."""
    hidden: int = 0
    """Width of a hidden layer beside the linear map; 0 for none."""
    dropout: float = 0.0
    """On the vector that enters the head, and on the hidden layer."""


class Head(nn.Module):
    """Mixes layers, pools, and maps into the space: a linear map, plus a hidden layer's correction where asked.

    Args:
        width: D, what the encoder puts out (all layers together).
        out: E, the width of the space.
        config: how it is built.
    """

    def __init__(self, width: int, out: int, config: HeadConfig | None = None) -> None:
        super().__init__()
        config = config or HeadConfig()
        if width % config.layers:
            raise ValueError(f"width {width} does not hold {config.layers} layers of equal width")
        if config.pooling == "encoder" and config.layers > 1:
            raise ValueError("layers are mixed on tokens: choose pooling=mean or pooling=attention")
        self.config, self.width, self.out = config, width, out
        inner = width // config.layers
        self.mix = LayerMix(config.layers) if config.layers > 1 else nn.Identity()
        self.attention = AttentionPooling(inner) if config.pooling == "attention" else None
        self.norm = nn.LayerNorm(inner)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(inner, out)
        self.correction = _correction(inner, out, config) if config.hidden else None

    def forward(self, encoded: Encoded) -> Float[Tensor, "b e"]:
        """One vector an item, not yet of unit length."""
        vector_BD = self.dropout(self.norm(self._pool(encoded)))
        out_BE: Tensor = self.linear(vector_BD)
        return out_BE if self.correction is None else out_BE + self.correction(vector_BD)

    def _pool(self, encoded: Encoded) -> Tensor:
        if self.config.pooling == "encoder":
            return encoded.pooled
        tokens_BTD = self.mix(encoded.tokens)
        if self.attention is None:
            return masked_mean(tokens_BTD, encoded.mask)
        pooled: Tensor = self.attention(tokens_BTD, encoded.mask)
        return pooled


def unit(vectors: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
    """Vectors of length one; a zero vector stays zero."""
    return torch.nn.functional.normalize(vectors, dim=-1)


def _correction(width: int, out: int, config: HeadConfig) -> nn.Sequential:
    last = nn.Linear(config.hidden, out)
    nn.init.zeros_(last.weight)  # starts as the linear map alone
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, config.hidden), nn.GELU(), nn.Dropout(config.dropout), last)
