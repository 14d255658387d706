"""Negatives: more of them (a queue, hard ones), and fewer false ones (masks).

`MemoryQueue` is MoCo's (He et al. 2020, arXiv 1911.05722, algorithm 1); `false_negative_mask` follows
GISTEmbed (arXiv 2402.16829): what a guide finds nearer than the positive is not a negative; `debiased_contrast` Chuang
et al. 2020 (arXiv 2007.00224).

Axes: Q queries, K keys, H extra keys, D width of a vector. Masks are True where a pair may be compared.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from antiphon.objectives.rows import (
    check_positives_allowed,
    check_same_shape,
    check_square_enough,
    check_weights,
    diagonal_mask,
    kept_rows,
    weighted_mean,
)


class MemoryQueue(nn.Module):
    """The last `size` keys, first in, first out; without gradients. Its state is saved with the model.

    `torch.cat([scores, queries @ queue.keys.T], 1)` gives the scores, `pad_negatives` the targets, and
    `queue.filled` the mask of the new columns. Push after the loss, or the batch meets itself.

    Args:
        size: how many keys are held.
        width: D, the size of a key.

    Attributes:
        keys: `(size, D)`; zeros where nothing was pushed yet.
        filled: `(size,)`, True where there is a key.
        pointer: the place of the oldest key, the next to be written.

    Raises:
        ValueError: a size or a width below one.
    """

    keys: Tensor
    filled: Tensor
    pointer: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 1 or width < 1:
            raise ValueError(f"a queue of {size} keys of width {width}: wanted at least 1 of each")
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return int(self.filled.sum())

    @torch.no_grad()
    def push(self, keys_BD: Float[Tensor, "b d"]) -> None:
        """Write a batch of keys over the oldest.

        Raises:
            ValueError: more keys than the queue holds, or keys of another width.
        """
        size, width = self.keys.shape
        if len(keys_BD) > size:
            raise ValueError(f"{len(keys_BD)} keys do not fit in a queue of {size}: make it larger, or push fewer")
        if keys_BD.shape[1] != width:
            raise ValueError(f"keys of width {keys_BD.shape[1]} came, the queue holds width {width}")
        places_B = (self.pointer + torch.arange(len(keys_BD), device=self.keys.device)) % size
        # New tensors, not writes in place: a loss of the old keys may not have been back-propagated yet.
        self.keys = self.keys.index_copy(0, places_B, keys_BD.to(self.keys))
        self.filled = self.filled.index_fill(0, places_B, True)
        self.pointer = (self.pointer + len(keys_BD)) % size


def hard_negative_columns(
    scores_QK: Float[Tensor, "q k"],
    queries_QD: Float[Tensor, "q d"],
    negatives_QHD: Float[Tensor, "q h d"],
    *,
    mask: Bool[Tensor, "q k"] | None = None,
    present: Bool[Tensor, "q h"] | None = None,
) -> tuple[Float[Tensor, "q wider"], Bool[Tensor, "q wider"]]:
    """Append to each query its own H hard negatives, which no other query sees.

    (Negatives that all queries may see need no function: concatenate them to the keys.)

    Args:
        scores_QK: `queries @ keys.T`, not yet scaled.
        queries_QD: the same queries.
        negatives_QHD: the hard negatives of each query, scaled like the keys.
        mask: of the scores; None: all may be compared.
        present: False where a query has fewer than H.

    Returns:
        Scores and mask with K + H columns. `pad_negatives(targets, H)` gives the targets.

    Raises:
        ValueError: a mask that is not the scores' shape.
    """
    check_same_shape("mask", mask, scores_QK)
    extra_QH = torch.einsum("qd,qhd->qh", queries_QD, negatives_QHD)
    mask = torch.ones_like(scores_QK, dtype=torch.bool) if mask is None else mask
    present = torch.ones_like(extra_QH, dtype=torch.bool) if present is None else present
    return torch.cat([scores_QK, extra_QH], 1), torch.cat([mask, present], 1)


def hardest(scores_QK: Float[Tensor, "q k"], count: int, *, forbidden: Bool[Tensor, "q k"]) -> Int[Tensor, "q h"]:
    """Mine the `count` keys that score highest for each query and are not forbidden.

    Args:
        scores_QK: similarities; no gradient is wanted.
        count: H, how many.
        forbidden: True at positives, and at whatever else must not become a negative.

    Returns:
        Column numbers, hardest first; among equal scores the lower number first.

    Raises:
        ValueError: a query with fewer than `count` keys left, naming it.
    """
    check_same_shape("forbidden", forbidden, scores_QK)
    left_Q = (~forbidden).sum(1)
    if bool((left_Q < count).any()):
        row = int((left_Q < count).nonzero()[0])
        raise ValueError(
            f"row {row} has {int(left_Q[row])} keys that are not forbidden, wanted {count}: ask for fewer, "
            "or mine in a larger batch"
        )
    ranked_QK = scores_QK.detach().masked_fill(forbidden, -math.inf)
    # A score of -inf that is allowed must still come before a forbidden key: sort by permission last, stably.
    order_QK = ranked_QK.argsort(dim=1, descending=True, stable=True)
    allowed_first_QK = forbidden.gather(1, order_QK).to(torch.uint8).argsort(dim=1, stable=True)
    return order_QK.gather(1, allowed_first_QK)[:, :count]


def false_negative_mask(teacher_QK: Float[Tensor, "q k"], *, margin: float = 0.0) -> Bool[Tensor, "q k"]:
    """Leave out each key that a teacher finds nearer to the query than its own key, by more than a margin.

    Args:
        teacher_QK: the teacher's similarities; query i belongs to key i.
        margin: key k is left out where `teacher[i, k] > teacher[i, i] + margin`. Below zero leaves out more:
            near ties too (the `margin` of sentence-transformers' GISTEmbedLoss has the other sign).

    Returns:
        False where a key is left out; the diagonal is always True.

    Raises:
        ValueError: fewer keys than queries.
    """
    check_square_enough(teacher_QK)
    kept_QK = ~(teacher_QK > teacher_QK.diagonal()[:, None] + margin)
    return kept_QK | diagonal_mask(*teacher_QK.shape, device=teacher_QK.device)


def debiased_contrast(
    scores_QK: Float[Tensor, "q k"],
    *,
    prior: float,
    lowest: Float[Tensor, ""] | float,
    mask: Bool[Tensor, "q k"] | None = None,
    weights: Float[Tensor, " q"] | None = None,
) -> Float[Tensor, ""]:
    """`contrast` with identity targets, corrected for negatives that are of the query's class (Chuang et al. 2020).

    Of N keys drawn as negatives a share tau+ is expected to be positives, so their mean exponential is not
    `e = mean(exp(s))` but `g = max((e - tau+ exp(own)) / (1 - tau+), exp(lowest))` (arXiv 2007.00224, eq. 7, with one
    positive), and the loss of a row is `-log(exp(own) / (exp(own) + N g))` (eq. 8). A prior of 0 is `contrast`.

    Args:
        scores_QK: similarities, already divided by the temperature; query i matches key i.
        prior: tau+, the probability that a negative is of the query's class, in [0, 1).
        lowest: the least possible score: `-1 / temperature` for cosines.
        mask: as in `contrast`.
        weights: as in `contrast`.

    Raises:
        ValueError: as `contrast`; or a prior outside [0, 1).
    """
    check_square_enough(scores_QK)
    check_same_shape("mask", mask, scores_QK)
    check_weights(weights, len(scores_QK))
    check_prior(prior)
    keep_Q = kept_rows(weights, scores_QK)
    diagonal_QK = diagonal_mask(*scores_QK.shape, device=scores_QK.device)
    check_positives_allowed(diagonal_QK, mask, keep_Q)
    others_QK = ~diagonal_QK if mask is None else ~diagonal_QK & mask
    scores_QK = scores_QK.masked_fill(~keep_Q[:, None], 0.0)
    scores_QK = scores_QK.to(torch.promote_types(scores_QK.dtype, torch.float32))
    log_Q = scores_QK.masked_fill(~others_QK, -math.inf).logsumexp(1)
    losses_Q = debiased_rows(scores_QK.diagonal(), log_Q, others_QK.sum(1), prior=prior, lowest=lowest)
    return weighted_mean(losses_Q, weights)


def debiased_rows(
    own_Q: Float[Tensor, " q"],
    log_Q: Float[Tensor, " q"],
    counts_Q: Shaped[Tensor, " q"],
    *,
    prior: float,
    lowest: Float[Tensor, ""] | float,
) -> Float[Tensor, " q"]:
    """The losses of `debiased_contrast` from each row's own score, and log-sum and number of its others."""
    top_Q, counts_Q = torch.maximum(own_Q, log_Q).detach(), counts_Q.to(own_Q)
    # N g, relative to exp(top)
    corrected_Q = ((log_Q - top_Q).exp() - prior * counts_Q * (own_Q - top_Q).exp()) / (1 - prior)
    log_floor_Q = counts_Q.log() + lowest
    above_Q = corrected_Q > (log_floor_Q - top_Q).exp()
    log_others_Q = torch.where(above_Q, top_Q + torch.where(above_Q, corrected_Q, 1.0).log(), log_floor_Q)
    return torch.logaddexp(own_Q, log_others_Q) - own_Q


def check_prior(prior: float) -> None:
    """A prior is a probability below one.

    Raises:
        ValueError: giving it.
    """
    if not 0 <= prior < 1:
        raise ValueError(f"prior is {prior:g}, wanted a probability in [0, 1): how many negatives are false ones")


def duplicate_mask(labels_Q: Int[Tensor, " q"], labels_K: Int[Tensor, " k"] | None = None) -> Bool[Tensor, "q k"]:
    """Leave out keys of the query's own label, except key i of query i.

    Args:
        labels_Q: labels of the queries (of the text, the clip, the concept).
        labels_K: labels of the keys; None: those of the queries.
    """
    labels_K = labels_Q if labels_K is None else labels_K
    different_QK = labels_Q[:, None] != labels_K[None, :]
    return different_QK | diagonal_mask(*different_QK.shape, device=different_QK.device)


def off_diagonal(rows: int, columns: int, *, device: torch.device | None = None) -> Bool[Tensor, "q k"]:
    """The mask of queries that are their own keys (NT-Xent, SupCon): False at key i of query i."""
    return ~diagonal_mask(rows, columns, device=device)
