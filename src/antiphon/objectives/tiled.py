"""`symmetric_contrast`, `contrast` and `sigmoid_contrast` from vectors, without the matrix of scores: tile by tile.

The softmax needs of the scores, for each row and column, the log of the sum of exponentials only (and with soft
targets the mean score under them). Forwards, one sweep of tiles takes these for rows and columns at once; backwards,
another makes each tile again and turns it into both gradients: 2 + 6 = 8 Q K D floating-point operations, 6 for the
sigmoid, and memory for the vectors' gradients and a few tiles. All beyond the sweeps is plain autograd on vectors of
length Q or K. (Tiles with a recomputed backward: FlashAttention, arXiv 2205.14135; for CLIP: Inf-CL, arXiv 2410.17243.)

Axes: Q queries (rows), K keys (columns), D width; R and C rows and columns of a tile; H own negatives of a query.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from antiphon.objectives.negatives import check_prior, debiased_rows
from antiphon.objectives.rows import check_square_enough, check_targets, check_weights, kept_rows
from antiphon.objectives.sweeps import LogSums, Plan, SigmoidSums, Turned, walk
from antiphon.objectives.targets import check_pair_weights
from antiphon.objectives.tiles import TILE, Alone, Exchange, Mask, Pairs, Targets, Tile


def contrast_tiled(
    queries_QD: Float[Tensor, "q d"],
    keys_KD: Float[Tensor, "k d"],
    *,
    scale: Float[Tensor, ""] | float = 1.0,
    targets: Targets | None = None,
    masks: Sequence[Mask] = (),
    weights: Float[Tensor, " q"] | None = None,
    negatives: Float[Tensor, "q h d"] | None = None,
    present: Bool[Tensor, "q h"] | None = None,
    prior: float = 0.0,
    symmetric: bool = True,
    tile: int = TILE,
    exchange: Exchange | None = None,
) -> Float[Tensor, ""]:
    """`symmetric_contrast(scale * queries @ keys.T, ...)`, or `contrast`, with memory for a few tiles only.

    Gradients reach queries, keys, negatives, scale and weights. Under autocast, or of half-precision vectors, tiles
    are multiplied in half precision, and summed in float32. Conventions and errors are those of the dense functions;
    only the gradient by a weight that is exactly zero differs (its row is not looked at, and adds nothing to it).

    Args:
        queries_QD: vectors, of unit length for cosines; nothing is normalised here.
        keys_KD: the same of the keys.
        scale: 1 / temperature; `Scale.scale` is a learned one.
        targets: None: query i matches key i, and keys beyond the last query are negatives of all. Else
            `tiles.SameLabel`, `BySimilarity`, `Softened`.
        masks: of `tiles`; a pair is compared where all of them allow it.
        weights: how far each row is trusted, >= 0; only their ratios matter.
        negatives: H more keys for each query, which no other query sees (`hard_negative_columns`).
        present: False where a query has fewer than H.
        prior: tau+ of `negatives.debiased_contrast` with `lowest=-scale`, that is, of unit vectors.
        symmetric: the mean of both directions; False: queries to keys only.
        tile: rows and columns of a tile.
        exchange: how keys of other processes are met, each process giving its own rows: `distributed.Ring`.

    Raises:
        ValueError: as `symmetric_contrast`; or a prior outside [0, 1), or together with targets.
    """
    meet = Alone() if exchange is None else exchange
    pairs = Pairs(targets, tuple(masks))
    _check(queries_QD, keys_KD, pairs, weights)
    check_prior(prior)
    if prior and targets is not None:
        raise ValueError("a prior corrects the negatives of identity targets: give prior=0, or no targets")
    keep_Q = kept_rows(weights, queries_QD)
    plan = Plan(pairs, meet, tile, _half(queries_QD), queries_QD.device, symmetric)
    with torch.autocast(queries_QD.device.type, enabled=False):
        scaled_QD, keys_KD, scale = _scaled(queries_QD, keys_KD, scale, meet)
        if weights is not None and not symmetric:  # both ways, a dropped query is still a negative of the keys
            scaled_QD = scaled_QD.masked_fill(~keep_Q[:, None], 0.0)
        weights_Q = torch.ones_like(scaled_QD[:, 0]) if weights is None else meet.own(weights).to(scaled_QD.dtype)
        extra_QH = _own_scores(scaled_QD, negatives, present, meet)
        if targets is None:
            return _hard(plan, scaled_QD, keys_KD, weights_Q, keep_Q, extra_QH, prior, -scale)
        return _soft(plan, scaled_QD, keys_KD, weights_Q, keep_Q, extra_QH)


def sigmoid_tiled(
    queries_QD: Float[Tensor, "q d"],
    keys_KD: Float[Tensor, "k d"],
    *,
    scale: Float[Tensor, ""] | float = 1.0,
    bias: Float[Tensor, ""] | float = 0.0,
    positives: Targets | None = None,
    masks: Sequence[Mask] = (),
    weights: Float[Tensor, " q"] | None = None,
    tile: int = TILE,
    exchange: Exchange | None = None,
) -> Float[Tensor, ""]:
    """`sigmoid_contrast(scale * queries @ keys.T, bias=bias, ...)`, with memory for a few tiles only.

    The gradient is taken in the forward pass, if one is wanted: the score of a pair is all that its own depends on.

    Args:
        queries_QD: vectors, of unit length for cosines.
        keys_KD: the same of the keys.
        scale: exp(t'); `SigmoidScale.log_scale.exp()` is a learned one.
        bias: b; `SigmoidScale.bias`.
        positives: matching pairs are those of weight > 0, e.g. `tiles.SameLabel`. None: query i matches key i.
        masks: as in `contrast_tiled`.
        weights: as in `contrast_tiled`.
        tile: as in `contrast_tiled`.
        exchange: as in `contrast_tiled`.

    Raises:
        ValueError: as `sigmoid_contrast`.
    """
    meet = Alone() if exchange is None else exchange
    pairs = Pairs(positives, tuple(masks))
    _check(queries_QD, keys_KD, pairs, weights)
    keep_Q = kept_rows(weights, queries_QD)
    gradients = torch.is_grad_enabled()
    plan = Plan(pairs, meet, tile, _half(queries_QD), queries_QD.device, gradients=gradients)
    with torch.autocast(queries_QD.device.type, enabled=False):
        _check_masks(plan, keep_Q, len(keys_KD))
        scaled_QD, keys_KD, _ = _scaled(queries_QD, keys_KD, scale, meet)
        if weights is not None:
            scaled_QD = scaled_QD.masked_fill(~keep_Q[:, None], 0.0)
        weights_Q = torch.ones_like(scaled_QD[:, 0]) if weights is None else meet.own(weights).to(scaled_QD.dtype)
        bias = meet.shared(torch.as_tensor(bias, dtype=scaled_QD.dtype, device=scaled_QD.device))
        lost, losses_Q = SigmoidSums.apply(scaled_QD, keys_KD, bias, weights_Q.detach(), plan)  # type: ignore[no-untyped-call]
        lost = lost + ((weights_Q - weights_Q.detach()) * losses_Q).sum()  # zero, but for its gradient
        return _over(meet.total(lost), meet.total(weights_Q.sum()))


def _hard(
    plan: Plan, scaled_QD: Tensor, keys_KD: Tensor, weights_Q: Tensor, keep_Q: Tensor, extra_QH: Tensor | None,
    prior: float, lowest: Tensor,
) -> Tensor:  # fmt: skip
    """Identity targets: what a row loses is its log-sum less its own score."""
    rows = len(scaled_QD)
    _check_masks(plan, keep_Q, len(keys_KD))
    if prior:
        plan = plan.without_own()
    log_Q, log_K, answers_Q2 = LogSums.apply(scaled_QD, keys_KD, torch.zeros_like(keys_KD[:, 0]), plan)  # type: ignore[no-untyped-call]
    own_Q = answers_Q2[:, 0]
    log_Q = _with_extra(log_Q, extra_QH)
    counts_Q, counts_K = _counts(plan, log_Q, log_K, extra_QH) if prior else (log_Q, log_K)
    ways = [(log_Q, counts_Q)] + ([(log_K[:rows], counts_K[:rows])] if plan.symmetric else [])
    trust = plan.meet.total(weights_Q.sum())
    means = []
    for log, counts in ways:
        lost_Q = debiased_rows(own_Q, log, counts, prior=prior, lowest=lowest) if prior else log - own_Q
        means.append(_over(plan.meet.total((weights_Q * torch.where(keep_Q, lost_Q, 0.0)).sum()), trust))
    return sum(means[1:], means[0]) / len(means)


def _soft(
    plan: Plan, scaled_QD: Tensor, keys_KD: Tensor, weights_Q: Tensor, keep_Q: Tensor, extra_QH: Tensor | None
) -> Tensor:
    """Any targets: `symmetric_contrast`, in which key k has the targets `w T[:, k] / (w T).sum()`."""
    _prepare_targets(plan, keep_Q, len(keys_KD), scaled_QD.dtype)
    _check_masks(plan, keep_Q, len(keys_KD))
    meet, inverse_K = plan.meet, torch.zeros_like(keys_KD[:, 0])
    if plan.symmetric:
        both_Q2 = torch.stack([torch.ones_like(weights_Q), weights_Q], 1)
        wanted_K, trusted_K = Turned.apply(both_Q2, len(keys_KD), plan).unbind(1)  # type: ignore[no-untyped-call]
        inverse_K = torch.where(wanted_K > 0, 1 / wanted_K, 0.0).detach()
    log_Q, log_K, answers_Q2 = LogSums.apply(scaled_QD, keys_KD, inverse_K, plan)  # type: ignore[no-untyped-call]
    log_Q = _with_extra(log_Q, extra_QH)
    answers_Q2 = torch.where(keep_Q[:, None], answers_Q2, 0.0)
    lost = (weights_Q * (torch.where(keep_Q, log_Q, 0.0) - answers_Q2[:, 0])).sum()
    forward = _over(meet.total(lost), meet.total(weights_Q.sum()))
    if not plan.symmetric:
        return forward
    trust_K = trusted_K * inverse_K
    lost = (trust_K * torch.where(trusted_K > 0, log_K, 0.0)).sum() - (weights_Q * answers_Q2[:, 1]).sum()
    return (forward + _over(meet.total(lost), meet.total(trust_K.sum()))) / 2


def _scaled(
    queries_QD: Tensor, keys_KD: Tensor, scale: Tensor | float, meet: Exchange
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.promote_types(queries_QD.dtype, torch.float32)
    scale = meet.shared(torch.as_tensor(scale, dtype=wide, device=queries_QD.device))
    return meet.own(queries_QD).to(wide) * scale, meet.own(keys_KD).to(wide), scale


def _half(vectors: Tensor) -> torch.dtype | None:
    if torch.is_autocast_enabled(vectors.device.type) and vectors.dtype != torch.float64:
        return torch.get_autocast_dtype(vectors.device.type)
    return vectors.dtype if vectors.dtype in (torch.bfloat16, torch.float16) else None


def _own_scores(
    scaled_QD: Tensor, negatives_QHD: Tensor | None, present_QH: Tensor | None, meet: Exchange
) -> Tensor | None:
    if negatives_QHD is None:
        return None
    extra_QH = torch.einsum("qd,qhd->qh", scaled_QD, meet.own(negatives_QHD).to(scaled_QD.dtype))
    return extra_QH if present_QH is None else extra_QH.masked_fill(~present_QH, -math.inf)


def _with_extra(log_Q: Tensor, extra_QH: Tensor | None) -> Tensor:
    # One log-sum of all: two that are both -inf have no gradient.
    return log_Q if extra_QH is None else torch.cat([log_Q[:, None], extra_QH], 1).logsumexp(1)


def _over(lost: Tensor, trust: Tensor) -> Tensor:
    return lost / torch.where(trust > 0, trust, torch.ones_like(trust))


def _check(queries_QD: Tensor, keys_KD: Tensor, pairs: Pairs, weights: Tensor | None) -> None:
    if pairs.targets is None:
        check_square_enough(torch.empty(len(queries_QD), len(keys_KD), device="meta"))
    check_weights(weights, len(queries_QD))


def _prepare_targets(plan: Plan, keep_Q: Tensor, keys: int, dtype: torch.dtype) -> None:
    """Find the sum of each row of the targets' weights; refuse weights that are none, and rows without a positive."""
    targets = plan.pairs.targets
    assert targets is not None
    rows = len(keep_Q)
    sums_Q = torch.full((rows,), -math.inf if targets.logarithmic else 0.0, dtype=dtype, device=keep_Q.device)
    least, most = sums_Q.new_tensor(math.inf), sums_Q.new_tensor(-math.inf)
    for tile, side, _ in walk(plan, rows, keys):
        weights_RC = plan.pairs.weights(tile, side).to(dtype)
        if targets.logarithmic:
            sums_Q[tile.rows] = torch.logaddexp(sums_Q[tile.rows], weights_RC.logsumexp(1))
        else:
            sums_Q[tile.rows] += weights_RC.sum(1)
            least, most = least.minimum(weights_RC.amin()), most.maximum(weights_RC.amax())
    if not targets.logarithmic:
        check_pair_weights(least, most)
        check_targets(torch.where(sums_Q > 0, 1.0, sums_Q)[:, None], keep_Q)
    plan.pairs.sums_Q = sums_Q


def _check_masks(plan: Plan, keep_Q: Tensor, keys: int) -> None:
    """No kept row has a positive that a mask excludes."""
    if not plan.pairs.masks:
        return
    none = keys + len(keep_Q)
    lost_Q = torch.full((len(keep_Q),), none, device=keep_Q.device)
    for tile, side, _ in walk(plan, len(keep_Q), keys):
        excluded_RC = _excluded(plan, tile, side, lost_Q)
        if excluded_RC is not None:
            numbers_C = torch.arange(tile.columns.start, tile.columns.stop, device=keep_Q.device)
            first_R = torch.where(excluded_RC, numbers_C, none).amin(1)
            lost_Q[tile.rows] = lost_Q[tile.rows].minimum(first_R)
    lost_Q = torch.where(keep_Q, lost_Q, none)
    if bool((lost_Q < none).any()):
        row = int((lost_Q < none).nonzero()[0])
        raise ValueError(
            f"row {row} has a positive at column {int(lost_Q[row])}, which the mask excludes: allow it in the mask, "
            "take it out of the targets, or give the row the weight 0"
        )


def _excluded(plan: Plan, tile: Tile, side: tuple[Tensor, ...], like: Tensor) -> Tensor | None:
    if plan.pairs.targets is None:
        positive_RC = torch.zeros(tile.shape, dtype=torch.bool, device=like.device)
        own = tile.diagonal(positive_RC)
        if own is None:
            return None
        own.fill_(True)
    else:
        weights_RC = plan.pairs.weights(tile, side)
        if plan.pairs.targets.logarithmic:
            weights_RC = plan.pairs.shares(tile, side, weights_RC)
        positive_RC = weights_RC > 0
    allowed_RC = plan.pairs.allowed(tile, side)
    assert allowed_RC is not None
    return positive_RC & ~allowed_RC


def _counts(plan: Plan, log_Q: Tensor, log_K: Tensor, extra_QH: Tensor | None) -> tuple[Tensor, Tensor]:
    """How many others each query and each key is compared with."""
    counts_Q, own_counts_K = torch.zeros_like(log_Q), torch.zeros_like(log_K)
    if extra_QH is not None:
        counts_Q += (extra_QH > -math.inf).sum(1)
    for tile, side, (counts_K,) in walk(plan, len(log_Q), len(log_K), sums=(own_counts_K,)):
        allowed_RC = plan.pairs.allowed(tile, side)
        assert allowed_RC is not None  # a prior brings a mask of its own
        counts_Q[tile.rows] += allowed_RC.sum(1)
        counts_K[tile.columns] += allowed_RC.sum(0)
    return counts_Q, own_counts_K
