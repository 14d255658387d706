"""Triplet margin loss from a matrix of distances, with hard, semi-hard or all triplets.

Semi-hard: Schroff et al. 2015 (FaceNet, arXiv 1503.03832, eq. 4). Hard: Hermans et al. 2017 (arXiv
1703.07737, eq. 5). All: their eq. 6, as a mean. All three need memory of the size of the matrix, because each
query's negatives are sorted.

Axes: Q queries (anchors), K keys, N the K keys again, sorted by distance.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from antiphon.objectives.rows import (
    check_positives_allowed,
    check_same_shape,
    check_square_enough,
    check_weights,
    diagonal_mask,
    kept_rows,
    weighted_mean,
)


def triplet(
    distances_QK: Float[Tensor, "q k"],
    positives_QK: Bool[Tensor, "q k"] | None = None,
    *,
    margin: float = 0.2,
    mining: Literal["hard", "semi-hard", "all"] = "hard",
    mask: Bool[Tensor, "q k"] | None = None,
    weights: Float[Tensor, " q"] | None = None,
) -> Float[Tensor, ""]:
    """`max(0, d(a, p) - d(a, n) + margin)`, averaged over the triplets that `mining` picks.

    - hard: for each query its farthest positive and its nearest negative.
    - semi-hard: for each (query, positive) the nearest negative that is farther than the positive; the
      farthest negative where there is none.
    - all: each (query, positive, negative).

    A query without a positive or without a negative makes no triplet; with no triplet at all the loss is 0
    with zero gradients. Triplets inside the margin count as zeros in the mean.

    Args:
        distances_QK: e.g. 1 - cosine, or `torch.cdist`; finite where the mask allows.
        positives_QK: True at matching pairs; all other allowed pairs are negatives. None: query i matches key
            i.
        margin: in the distances' unit, >= 0.
        mining: which triplets count.
        mask: True where query and key may be compared. Leave a query's own self out by it.
        weights: of the queries, >= 0; each triplet weighs what its query does.

    Raises:
        ValueError: wrong shapes, a positive outside the mask, a negative weight or margin, an unknown mining.
    """
    if mining not in ("hard", "semi-hard", "all"):
        raise ValueError(f"mining is {mining!r}, wanted 'hard', 'semi-hard' or 'all'")
    if not margin >= 0:
        raise ValueError(f"margin is {margin:g}, wanted >= 0")
    if positives_QK is None:
        check_square_enough(distances_QK)
        positives_QK = diagonal_mask(*distances_QK.shape, device=distances_QK.device)
    check_same_shape("positives", positives_QK, distances_QK)
    check_same_shape("mask", mask, distances_QK)
    check_weights(weights, len(distances_QK))
    keep_Q = kept_rows(weights, distances_QK)
    check_positives_allowed(positives_QK, mask, keep_Q)
    negatives_QK = ~positives_QK if mask is None else ~positives_QK & mask
    usable_Q = keep_Q & positives_QK.any(1) & negatives_QK.any(1)
    positives_QK, negatives_QK = positives_QK & usable_Q[:, None], negatives_QK & usable_Q[:, None]
    trust_Q = usable_Q.to(distances_QK) if weights is None else usable_Q * weights
    if mining == "hard":
        return weighted_mean(_hard(distances_QK, positives_QK, negatives_QK, usable_Q, margin), trust_Q)
    choose = _semi_hard if mining == "semi-hard" else _all
    sums_QK, counts_QK = choose(distances_QK, negatives_QK, margin)
    weights_QK = counts_QK * positives_QK * trust_Q[:, None]
    means_QK = torch.where(weights_QK > 0, sums_QK / counts_QK.clamp(min=1), torch.zeros_like(sums_QK))
    return weighted_mean(means_QK.flatten(), weights_QK.flatten())


def _hard(d_QK: Tensor, positives_QK: Tensor, negatives_QK: Tensor, usable_Q: Tensor, margin: float) -> Tensor:
    farthest_Q = d_QK.masked_fill(~positives_QK, -math.inf).amax(1)
    nearest_Q = d_QK.masked_fill(~negatives_QK, math.inf).amin(1)
    return (farthest_Q.masked_fill(~usable_Q, 0.0) - nearest_Q.masked_fill(~usable_Q, 0.0) + margin).relu()


def _semi_hard(d_QK: Tensor, negatives_QK: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    sorted_QN, count_Q1 = _sorted_negatives(d_QK, negatives_QK)
    farther_QK = torch.searchsorted(sorted_QN.detach(), d_QK.detach().contiguous(), right=True)
    chosen_QK = sorted_QN.gather(1, farther_QK.minimum((count_Q1 - 1).clamp(min=0)))
    chosen_QK = torch.where(count_Q1 > 0, chosen_QK, torch.zeros_like(chosen_QK))
    return (d_QK - chosen_QK + margin).relu(), (count_Q1 > 0).to(d_QK).expand_as(d_QK)


def _all(d_QK: Tensor, negatives_QK: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """For each (query, positive): the sum over negatives of max(0, reach - d), and how many they are."""
    # sum over d < reach of (reach - d) = count * reach - running sum of the sorted d: no Q x K x K array.
    sorted_QN, count_Q1 = _sorted_negatives(d_QK, negatives_QK)
    finite_QN = sorted_QN.masked_fill(sorted_QN.isinf(), 0.0)
    running_QN = torch.cat([torch.zeros_like(finite_QN[:, :1]), finite_QN.cumsum(1)], 1)
    reach_QK = d_QK + margin
    inside_QK = torch.searchsorted(sorted_QN.detach(), reach_QK.detach().contiguous())
    sums_QK = inside_QK * reach_QK - running_QN.gather(1, inside_QK)
    return sums_QK, count_Q1.to(d_QK).expand_as(d_QK)


def _sorted_negatives(d_QK: Tensor, negatives_QK: Tensor) -> tuple[Tensor, Tensor]:
    sorted_QN = d_QK.masked_fill(~negatives_QK, math.inf).sort(1).values
    return sorted_QN, negatives_QK.sum(1, keepdim=True)
