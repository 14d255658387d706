"""What the objectives share about rows: their checks and their weighted mean.

Axes: Q queries (rows), K keys (columns).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def weighted_mean(losses_Q: Float[Tensor, " q"], weights_Q: Float[Tensor, " q"] | None) -> Float[Tensor, ""]:
    """`sum(w * l) / sum(w)`; without weights the mean; with all weights zero a zero that keeps its graph."""
    if weights_Q is None:
        return losses_Q.mean()
    total = weights_Q.sum()
    return (weights_Q * losses_Q).sum() / torch.where(total > 0, total, torch.ones_like(total))


def check_square_enough(scores_QK: Float[Tensor, "q k"]) -> None:
    """Identity targets need a key i for each query i.

    Raises:
        ValueError: no rows, or fewer keys than queries.
    """
    rows, columns = scores_QK.shape
    if rows == 0:
        raise ValueError("scores have no rows: the mean loss of an empty batch is not defined; skip the batch")
    if columns < rows:
        raise ValueError(
            f"scores are {rows} x {columns}: without targets query i matches key i, so at least {rows} "
            "keys are wanted; give targets, or transpose"
        )


def check_weights(weights_Q: Float[Tensor, " q"] | None, rows: int) -> None:
    """One weight a row, finite and not negative.

    Raises:
        ValueError: naming the first wrong row.
    """
    if weights_Q is None:
        return
    if weights_Q.shape != (rows,):
        raise ValueError(f"weights are {tuple(weights_Q.shape)}, wanted one for each of {rows} rows")
    bad_Q = ~(weights_Q.isfinite() & (weights_Q >= 0))
    if bad_Q.any():
        row = _first(bad_Q)
        raise ValueError(
            f"weights must be finite and >= 0, row {row} has {weights_Q[row].item():g}: clip it, or "
            "give the row the weight 0"
        )


def check_targets(targets_QK: Float[Tensor, "q k"], keep_Q: Bool[Tensor, " q"]) -> None:
    """Each kept row is a distribution over the keys.

    Raises:
        ValueError: naming the first row with a negative target, or whose sum is not one.
    """
    negative_Q = keep_Q & (targets_QK < 0).any(1)
    if negative_Q.any():
        row = _first(negative_Q)
        raise ValueError(f"targets must be >= 0, row {row} holds {targets_QK[row].min().item():g}")
    sums_Q = targets_QK.sum(1)
    tolerance = max(1e-4, 4 * torch.finfo(targets_QK.dtype).eps)
    wrong_Q = keep_Q & ~((sums_Q - 1).abs() <= tolerance)
    if wrong_Q.any():
        row = _first(wrong_Q)
        raise ValueError(
            f"targets must sum to 1 per row, row {row} sums to {sums_Q[row].item():.4g}: has it a positive? "
            "(same_label may drop the diagonal; give rows without a positive the weight 0)"
        )


def check_positives_allowed(
    positives_QK: Bool[Tensor, "q k"], mask_QK: Bool[Tensor, "q k"] | None, keep_Q: Bool[Tensor, " q"]
) -> None:
    """No kept row has a positive where the mask forbids the comparison.

    Raises:
        ValueError: naming the first such row and column.
    """
    if mask_QK is None:
        return
    lost_QK = positives_QK & ~mask_QK & keep_Q[:, None]
    if lost_QK.any():
        row, column = (int(index) for index in lost_QK.nonzero()[0])
        raise ValueError(
            f"row {row} has a positive at column {column}, which the mask excludes: allow it in the mask, "
            "take it out of the targets, or give the row the weight 0"
        )


def check_same_shape(name: str, given_QK: Tensor | None, scores_QK: Float[Tensor, "q k"]) -> None:
    """`name` (targets, mask) has an entry for each score.

    Raises:
        ValueError: giving both shapes.
    """
    if given_QK is not None and given_QK.shape != scores_QK.shape:
        raise ValueError(
            f"{name} are {tuple(given_QK.shape)}, scores {tuple(scores_QK.shape)}: one entry for each score "
            "is wanted (pad_negatives widens targets over extra keys)"
        )


def kept_rows(weights_Q: Float[Tensor, " q"] | None, like: Tensor) -> Bool[Tensor, " q"]:
    """True where a row counts, that is, where its weight is not zero."""
    if weights_Q is None:
        return torch.ones(len(like), dtype=torch.bool, device=like.device)
    return weights_Q > 0


def diagonal_mask(rows: int, columns: int, *, device: torch.device | None = None) -> Bool[Tensor, "q k"]:
    """True where row and column have the same number."""
    return torch.eye(rows, columns, dtype=torch.bool, device=device)


def _first(flags: Bool[Tensor, " q"]) -> int:
    return int(flags.nonzero()[0])
