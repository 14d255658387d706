"""Several labels to a text, and labels of a long tail: average precision, and buckets from the head to the tail.

Axes: N items, L labels.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def average_precision(scores_NL: Float[Tensor, "n l"], positives_NL: Bool[Tensor, "n l"]) -> Float[Tensor, " l"]:
    """Of each label the sum of (R_k - R_{k-1}) P_k over the thresholds k of its scores, in float64.

    Items of one score are one threshold, so their order decides nothing. A label without a positive has nan.

    Args:
        scores_NL: higher where an item is thought to have the label.
        positives_NL: whether it has.

    Raises:
        ValueError: a score that is not finite.
    """
    if not scores_NL.isfinite().all():
        raise ValueError(f"{int((~scores_NL.isfinite()).sum())} of the scores are nan or inf")
    order_NL = scores_NL.argsort(dim=0, descending=True)
    sorted_NL, found_NL = scores_NL.gather(0, order_NL), positives_NL.gather(0, order_NL).double().cumsum(0)
    ranks_N1 = torch.arange(1, len(scores_NL) + 1, device=scores_NL.device, dtype=torch.float64)[:, None]
    last_NL = torch.ones_like(positives_NL)  # of its threshold
    last_NL[:-1] = sorted_NL[1:] != sorted_NL[:-1]
    reached_NL = torch.where(last_NL, found_NL, 0.0).cummax(0).values  # found up to the last threshold
    before_NL = torch.cat([torch.zeros_like(reached_NL[:1]), reached_NL[:-1]])
    gains_NL = torch.where(last_NL, (found_NL - before_NL) * found_NL / ranks_N1, 0.0)
    return gains_NL.sum(0) / positives_NL.double().sum(0)


def buckets_of_mass(counts_L: Int[Tensor, " l"], buckets: int = 5) -> Int[Tensor, " l"]:
    """Of each label its bucket: labels from the most to the least frequent, cut into parts of equal mass.

    A label is in the bucket where the middle of its mass lies, so a very frequent one may fill more than its bucket
    (Rethmeier and Augenstein, arXiv 2010.01061, have five).

    Args:
        counts_L: how many items have each label; of equal counts the lower number comes first.
        buckets: how many; 0 is the head.

    Raises:
        ValueError: no bucket, or no item with a label.
    """
    if buckets < 1 or int(counts_L.sum()) < 1:
        raise ValueError(f"{buckets} buckets of {int(counts_L.sum())} labels: wanted at least one of each")
    order_L = counts_L.argsort(descending=True, stable=True)
    sorted_L = counts_L[order_L].double()
    middle_L = (sorted_L.cumsum(0) - sorted_L / 2) / sorted_L.sum()
    found_L = torch.empty_like(counts_L)
    found_L[order_L] = (middle_L * buckets).long().clamp(max=buckets - 1).to(counts_L.dtype)
    return found_L
