"""Heads: from an encoder's vectors to one vector of the shared space.

Axes: B items, T positions, D width of the encoder, E width of the space.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from antiphon.config import Config
from antiphon.encoders.pooling import AttentionPooling, LayerMix, last_token, masked_mean, segments
from antiphon.errors import WrongValue
from antiphon.types import Encoded


class HeadConfig(Config):
    """How a head is built."""

    pooling: Literal["encoder", "mean", "last", "attention", "segments"] = "encoder"
    """"encoder" takes the encoder's own pooled vector; the others pool its tokens, "last" takes the last real one."""
    segments: int = 4
    """With pooling=segments: the means of so many stretches of time, side by side, so that order is heard."""
    layers: int = 1
    """How many hidden layers stand side by side in the encoder's width, to be mixed by learned weights."""
    norm: Literal["none", "layer", "standard"] = "layer"
    """"standard" takes the mean and deviation of each number over the training rows (locked towers)."""
    map: Literal["learned", "pca"] = "learned"
    """"pca" is fixed: the training rows' first principal components (a locked tower that others align to)."""
    hidden: int = 0
    """Width of a hidden layer beside the linear map; 0 for none."""
    dropout: float = 0.0
    """On the vector that enters the map, and on the hidden layer."""


class Head(nn.Module):
    """Pools, norms, and maps into the space: a linear map, plus a hidden layer's correction where asked.

    Args:
        width: D, what the encoder puts out (all layers together).
        out: E, the width of the space.
        config: how it is built.
    """

    def __init__(self, width: int, out: int, config: HeadConfig | None = None) -> None:
        super().__init__()
        config = config or HeadConfig()
        if width % config.layers:
            raise WrongValue(f"width {width} does not hold {config.layers} layers of equal width")
        if config.pooling == "encoder" and config.layers > 1:
            raise WrongValue("layers are mixed on tokens: choose pooling=mean, last, attention or segments")
        self.config, self.width, self.out = config, width, out
        inner = width // config.layers
        self.mix = LayerMix(config.layers) if config.layers > 1 else nn.Identity()
        self.attention = AttentionPooling(inner) if config.pooling == "attention" else None
        inner *= config.segments if config.pooling == "segments" else 1
        self.norm = _norm(config.norm, inner)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(inner, out).requires_grad_(config.map == "learned")
        self.correction = _correction(inner, out, config) if config.hidden else None

    def forward(self, encoded: Encoded) -> Float[Tensor, "b e"]:
        """One vector an item, not yet of unit length."""
        vector_BD = self.dropout(self.norm(self.pool(encoded)))
        out_BE: Tensor = self.linear(vector_BD)
        return out_BE if self.correction is None else out_BE + self.correction(vector_BD)

    def pool(self, encoded: Encoded) -> Float[Tensor, "b d"]:
        """One vector an item, as it enters the norm."""
        if self.config.pooling == "encoder":
            return encoded.pooled
        tokens_BTD: Tensor = self.mix(encoded.tokens)
        if self.config.pooling == "segments":
            return segments(tokens_BTD, encoded.mask, self.config.segments).flatten(1)
        if self.config.pooling == "last":
            return last_token(tokens_BTD, encoded.mask)
        if self.attention is None:
            return masked_mean(tokens_BTD, encoded.mask)
        pooled: Tensor = self.attention(tokens_BTD, encoded.mask)
        return pooled

    @property
    def needs_rows(self) -> bool:
        """Whether `prepare` must see training rows before the head is used."""
        return self.config.norm == "standard" or self.config.map == "pca"

    @torch.no_grad()
    def prepare(self, pooled_ND: Float[Tensor, "n d"]) -> None:
        """Set what comes from data, not from gradients: the standard norm, and a fixed map.

        Args:
            pooled_ND: what `pool` gives for training rows (never for dev or test).

        Raises:
            ValueError: fewer rows than principal components are asked for.
        """
        if isinstance(self.norm, Standard):
            self.norm.measure(pooled_ND)
        if self.config.map == "pca":
            inputs_ND = self.norm(pooled_ND)
            mean_D = inputs_ND.mean(0)
            self.linear.weight.copy_(principal_components(inputs_ND - mean_D, self.out))
            self.linear.bias.copy_(-(self.linear.weight @ mean_D))


def identity_head(width: int) -> Head:
    """A head that starts as no change at all."""
    head = Head(width, width, HeadConfig(norm="none"))
    nn.init.eye_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    return head


class Standard(nn.Module):
    """Each number less its mean, over its deviation, as measured once; numbers that never vary become zero."""

    mean: Tensor
    rate: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("rate", torch.ones(width))

    def measure(self, vectors_ND: Float[Tensor, "n d"]) -> None:
        """Take mean and deviation of these rows."""
        deviation_D = vectors_ND.std(0)
        self.mean.copy_(vectors_ND.mean(0))
        self.rate.copy_(torch.where(deviation_D > 1e-5, 1.0 / deviation_D.clamp(min=1e-5), 0.0))

    def forward(self, vectors: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Standardise."""
        standard: Tensor = (vectors - self.mean) * self.rate
        return standard


def principal_components(centred_ND: Float[Tensor, "n d"], count: int) -> Float[Tensor, "e d"]:
    """The first `count` right singular vectors, each with its largest entry positive (so the sign is fixed).

    Raises:
        ValueError: there are fewer rows or numbers than components.
    """
    if min(centred_ND.shape) < count:
        raise WrongValue(
            f"{count} principal components of {len(centred_ND)} rows of width {centred_ND.shape[1]}: too few"
        )
    _, _, right_RD = torch.linalg.svd(centred_ND.double(), full_matrices=False)
    first_ED = right_RD[:count]
    largest = first_ED.abs().argmax(1, keepdim=True)
    turned_ED: Tensor = first_ED * first_ED.gather(1, largest).sign()
    return turned_ED.to(centred_ND.dtype)


def unit(vectors: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
    """Vectors of length one; a zero vector stays zero."""
    return torch.nn.functional.normalize(vectors, dim=-1)


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "standard":
        return Standard(width)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


def _correction(width: int, out: int, config: HeadConfig) -> nn.Sequential:
    last = nn.Linear(config.hidden, out)
    nn.init.zeros_(last.weight)  # starts as the linear map alone
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, config.hidden), nn.GELU(), nn.Dropout(config.dropout), last)
