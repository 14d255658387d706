"""The one contrastive loss: soft cross-entropy between scores and targets, and its learned temperature.

With identity targets `contrast` is InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, eq. 4) and
`symmetric_contrast` the loss of CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3); with `same_label`
targets it is SupCon (Khosla et al. 2020, arXiv 2004.11362, eq. 2, the sum outside the log); with
`by_similarity` CWCL.

Axes: Q queries (rows), K keys (columns).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from antiphon.objectives.rows import (
    check_positives_allowed,
    check_same_shape,
    check_square_enough,
    check_targets,
    check_weights,
    diagonal_mask,
    kept_rows,
    weighted_mean,
)


def contrast(
    scores_QK: Float[Tensor, "q k"],
    targets_QK: Float[Tensor, "q k"] | None = None,
    *,
    mask: Bool[Tensor, "q k"] | None = None,
    weights: Float[Tensor, " q"] | None = None,
) -> Float[Tensor, ""]:
    """Soft cross-entropy over the keys: `-sum_k targets * log_softmax(scores)`, averaged over queries.

    A row of weight 0 is not looked at: it may have no positive, no allowed key, even nan scores, and gets a
    gradient of exactly zero. If all weights are zero the loss is 0 with zero gradients. Half-precision scores
    are normalised in float32. Equal scores give `log K`.

    Args:
        scores_QK: similarities, already divided by the temperature (see `Scale`).
        targets_QK: how much key k is the answer to query i; rows sum to one. None: query i matches key i, and
            keys beyond the last query are negatives of all.
        mask: True where query and key may be compared; a False pair is left out of the softmax.
        weights: how far each row is trusted, >= 0; only their ratios matter.

    Raises:
        ValueError: wrong shapes; a row of targets that does not sum to one; a positive outside the mask; a
            negative weight. The message names the row.
    """
    if targets_QK is None:
        check_square_enough(scores_QK)
    check_same_shape("targets", targets_QK, scores_QK)
    check_same_shape("mask", mask, scores_QK)
    check_weights(weights, len(scores_QK))
    keep_Q = kept_rows(weights, scores_QK)
    log_p_QK = _log_softmax(scores_QK, mask, keep_Q if weights is not None else None)
    if targets_QK is None:
        check_positives_allowed(diagonal_mask(*scores_QK.shape, device=scores_QK.device), mask, keep_Q)
        return weighted_mean(-log_p_QK.diagonal(), weights)
    check_targets(targets_QK, keep_Q)
    check_positives_allowed(targets_QK > 0, mask, keep_Q)
    # Not targets * log_p alone: where a pair is masked that is 0 * -inf = nan, forwards and backwards.
    answers_QK = torch.where(targets_QK > 0, log_p_QK, torch.zeros_like(log_p_QK))
    return weighted_mean(-(targets_QK * answers_QK).sum(1), weights)


def symmetric_contrast(
    scores_QK: Float[Tensor, "q k"],
    targets_QK: Float[Tensor, "q k"] | None = None,
    *,
    mask: Bool[Tensor, "q k"] | None = None,
    weights: Float[Tensor, " q"] | None = None,
) -> Float[Tensor, ""]:
    """The mean of `contrast` from queries to keys and from keys to queries.

    Keys to queries, the targets of key k are column k of `weights * targets`, divided by its sum, and key k
    weighs the mean of its queries' weights, each counted by its target. For identity targets that is CLIP's
    loss, and pair i weighs `weights[i]` in both directions. A key that no query wants is left out as a row of
    its own. A query of weight 0 stays a negative of the other keys: mask it to take it out altogether.

    Args:
        scores_QK: as in `contrast`.
        targets_QK: as in `contrast`.
        mask: as in `contrast`; used transposed the other way round.
        weights: as in `contrast`.

    Raises:
        ValueError: as `contrast`.
    """
    forward = contrast(scores_QK, targets_QK, mask=mask, weights=weights)
    if targets_QK is None:
        rows = len(scores_QK)
        backward = contrast(scores_QK[:, :rows].T, mask=None if mask is None else mask[:, :rows].T, weights=weights)
    else:
        targets_KQ, weights_K = transposed_targets(targets_QK, weights)
        backward = contrast(scores_QK.T, targets_KQ, mask=None if mask is None else mask.T, weights=weights_K)
    return (forward + backward) / 2


def transposed_targets(
    targets_QK: Float[Tensor, "q k"], weights_Q: Float[Tensor, " q"] | None = None
) -> tuple[Float[Tensor, "k q"], Float[Tensor, " k"]]:
    """The targets and weights of the keys, as `symmetric_contrast` defines them.

    Args:
        targets_QK: rows sum to one, or are zero.
        weights_Q: >= 0; None means 1 for each row.

    Returns:
        Targets whose rows sum to one, or are zero where no query wants the key; and one weight for each key.
    """
    trusted_QK = targets_QK if weights_Q is None else targets_QK * weights_Q[:, None]
    trusted_K, wanted_K = trusted_QK.sum(0), targets_QK.sum(0)
    targets_KQ = trusted_QK.T / torch.where(trusted_K > 0, trusted_K, torch.ones_like(trusted_K))[:, None]
    return targets_KQ, trusted_K / torch.where(wanted_K > 0, wanted_K, torch.ones_like(wanted_K))


class Scale(nn.Module):
    """A temperature learned as in CLIP: scores are multiplied by `exp(log_scale)`, that is 1 / temperature.

    The scale never exceeds `1 / min_temperature` (CLIP, section 2.5: 100). CLIP cuts the parameter after each
    step; here the exponent is cut in the forward pass, and at the bound the parameter's gradient passes only
    if a descent step would lead back inside. So the parameter neither dies at the bound nor wanders off
    beyond it, whoever owns the optimiser. `at_bound` says when the cut is in force; log it.

    Args:
        temperature: at the start; CLIP's 0.07.
        min_temperature: the bound; 0.01 is CLIP's.
        learned: False keeps the temperature fixed.

    Raises:
        ValueError: unless `temperature >= min_temperature > 0`.
    """

    log_scale: Tensor

    def __init__(self, temperature: float = 0.07, min_temperature: float = 0.01, learned: bool = True) -> None:
        super().__init__()
        if not temperature >= min_temperature > 0:
            raise ValueError(
                f"temperature {temperature:g}, min_temperature {min_temperature:g}: wanted temperature >= "
                "min_temperature > 0"
            )
        self.learned = learned
        self.max_log_scale = -math.log(min_temperature)
        start = torch.tensor(-math.log(temperature))
        if learned:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)

    def forward(self, scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Scores divided by the temperature."""
        return scores * self.scale

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The factor, bounded, with its gradient."""
        return ceiling(self.log_scale, self.max_log_scale).exp()

    @property
    def temperature(self) -> float:
        """The temperature in force, after the bound."""
        return math.exp(-min(self.log_scale.item(), self.max_log_scale))

    @property
    def at_bound(self) -> bool:
        """True where a learned temperature has reached `min_temperature` (to a millionth)."""
        return self.learned and self.log_scale.item() >= self.max_log_scale - 1e-6


def ceiling(values: Float[Tensor, "*shape"], bound: float) -> Float[Tensor, "*shape"]:
    """`min(values, bound)`; at the bound and above a gradient passes only if descent lowers the value."""
    return _Ceiling.apply(values, bound)  # type: ignore[no-any-return, no-untyped-call]


class _Ceiling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(values < bound)
        return values.clamp(max=bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return torch.where(inside | (grads[0] > 0), grads[0], torch.zeros_like(grads[0])), None


def _log_softmax(scores_QK: Tensor, mask_QK: Tensor | None, keep_Q: Tensor | None) -> Tensor:
    if mask_QK is not None:
        scores_QK = scores_QK.masked_fill(~mask_QK, -math.inf)
    if keep_Q is not None:
        # A dropped row may be all -inf, whose log-softmax is nan; times its weight 0 that would still be nan.
        scores_QK = scores_QK.masked_fill(~keep_Q[:, None], 0.0)
    return scores_QK.log_softmax(1, dtype=torch.promote_types(scores_QK.dtype, torch.float32))
