"""SigLIP: each pair is a question of yes or no (Zhai et al. 2023, arXiv 2303.15343, eq. 1 and algorithm 1).

Axes: Q queries (rows), K keys (columns).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.objectives.rows import (
    check_positives_allowed,
    check_same_shape,
    check_square_enough,
    check_weights,
    diagonal_mask,
    kept_rows,
    weighted_mean,
)


def sigmoid_contrast(
    scores_QK: Float[Tensor, "q k"],
    positives_QK: Bool[Tensor, "q k"] | None = None,
    *,
    bias: Float[Tensor, ""] | float = 0.0,
    mask: Bool[Tensor, "q k"] | None = None,
    weights: Float[Tensor, " q"] | None = None,
) -> Float[Tensor, ""]:
    """`-1/Q sum_i sum_j log sigmoid(z_ij (scores_ij + bias))`, with z = 1 at positives and -1 elsewhere.

    The sum over a row is not divided by K, as in the paper, so the loss grows with the number of keys. A row
    needs no positive. A row of weight 0 is not looked at; with all weights zero the loss is 0 with zero
    gradients.

    Args:
        scores_QK: similarities times exp(t').
        positives_QK: True at matching pairs. None: query i matches key i.
        bias: b, added to each score; 0 where the scores carry it already, as those of `SigmoidScale` do.
        mask: True where query and key may be compared; a False pair is left out of the sum.
        weights: how far each row is trusted, >= 0; only their ratios matter.

    Raises:
        ValueError: wrong shapes, a positive outside the mask, or a negative weight.
    """
    if positives_QK is None:
        check_square_enough(scores_QK)
        positives_QK = diagonal_mask(*scores_QK.shape, device=scores_QK.device)
    check_same_shape("positives", positives_QK, scores_QK)
    check_same_shape("mask", mask, scores_QK)
    check_weights(weights, len(scores_QK))
    keep_Q = kept_rows(weights, scores_QK)
    check_positives_allowed(positives_QK, mask, keep_Q)
    counted_QK = keep_Q[:, None].expand_as(scores_QK) if mask is None else mask & keep_Q[:, None]
    # Before the loss, not after it: nan or inf in a pair left out must not reach the gradient.
    logits_QK = scores_QK.masked_fill(~counted_QK, 0.0) + bias
    losses_QK = -F.logsigmoid(torch.where(positives_QK, logits_QK, -logits_QK))
    return weighted_mean(losses_QK.masked_fill(~counted_QK, 0.0).sum(1), weights)


class SigmoidScale(nn.Module):
    """The learned scale and bias of SigLIP: `scores * exp(t') + b`.

    Args:
        scale: exp(t') at the start; 10 in the paper (t' = log 10).
        bias: b at the start; -10 in the paper, so that the many negatives cost little at first.

    Raises:
        ValueError: a scale that is not positive.
    """

    def __init__(self, scale: float = 10.0, bias: float = -10.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale is {scale:g}, wanted > 0: it is stored as its logarithm")
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Scores for `sigmoid_contrast`, with the bias in them."""
        return scores * self.log_scale.exp() + self.bias

    @property
    def temperature(self) -> float:
        """1 / exp(t')."""
        return math.exp(-self.log_scale.item())
