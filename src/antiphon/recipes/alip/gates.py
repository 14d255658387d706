"""The gates of ALIP: moving means of three similarities, and the weights of rows that follow (equations in `__init__`).

Axes: B rows of a batch.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn

from antiphon.config import Config, Share


class Gating(Config):
    """How rows are weighted."""

    which: Literal["both", "language", "description", "none"] = "both"
    shuffled: bool = False
    gamma_language: NonNegativeFloat = 2.0  # best of the paper's sweep, both
    gamma_description: NonNegativeFloat = 2.0
    momentum: Share = 0.99  # the official code's
    start: float | None = None
    """H at the start, 1 in the official code; None takes the first batch's mean."""
    hold: NonNegativeInt = 0
    """Steps at the start in which all weights are 1; not in the paper."""


class Gates(nn.Module):
    """The three moving means, and the weights that follow from them.

    Args:
        cfg: as above.
    """

    history: Tensor
    steps: Tensor

    def __init__(self, cfg: Gating) -> None:
        super().__init__()
        self.cfg = cfg
        self.register_buffer("history", torch.full((3,), 0.0 if cfg.start is None else cfg.start))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def move(self, similarities_3B: Float[Tensor, "3 b"]) -> None:
        """Take in a batch's S_tc, S_xt and S_xc."""
        mean_3 = similarities_3B.mean(1)
        first = self.cfg.start is None and int(self.steps) == 0
        momentum = 0.0 if first else self.cfg.momentum
        self.history.copy_(momentum * self.history + (1 - momentum) * mean_3)
        self.steps += 1

    @torch.no_grad()
    def forward(self, similarities_3B: Float[Tensor, "3 b"]) -> Float[Tensor, "3 b"]:
        """W_s, W_t and W_c."""
        tc_B, xt_B, xc_B = similarities_3B - self.history[:, None]
        language_B = (self.cfg.gamma_language * tc_B).exp().clamp(max=1)
        description_2B = (self.cfg.gamma_description * torch.stack([xt_B, xc_B])).exp()
        return torch.cat([language_B[None], torch.where(tc_B < 0, description_2B, 1.0)])

    @torch.no_grad()
    def applied(self, similarities_3B: Float[Tensor, "3 b"]) -> Float[Tensor, "2 b"]:
        """What the pairs (x, t) and (x, c) weigh, by the gates that are asked for."""
        weights_3B = self(similarities_3B)
        if self.cfg.which == "none" or int(self.steps) <= self.cfg.hold:
            return torch.ones_like(weights_3B[1:])
        language_B = weights_3B[0] if self.cfg.which != "description" else torch.ones_like(weights_3B[0])
        weights_2B = language_B * weights_3B[1:] if self.cfg.which != "language" else language_B.expand(2, -1)
        if self.cfg.shuffled:
            generator = torch.Generator().manual_seed(int(self.steps))
            weights_2B = weights_2B[:, torch.randperm(weights_2B.shape[1], generator=generator)]
        return weights_2B
