"""Targets: who should match whom. Each function returns rows that sum to one, for `contrast`.

`same_label` is SupCon's (Khosla et al. 2020, arXiv 2004.11362, eq. 2); `by_similarity` CWCL's (arXiv
2309.14580); `softened` those of distillation (Hinton et al. 2015, arXiv 1503.02531). Targets carry no
gradient.

Axes: Q queries, K keys, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from antiphon.objectives.rows import diagonal_mask


def identity(queries: int, keys: int | None = None, *, device: torch.device | None = None) -> Float[Tensor, "q k"]:
    """Query i matches key i alone. `contrast` without targets is the same, and makes no matrix.

    Raises:
        ValueError: fewer keys than queries.
    """
    keys = queries if keys is None else keys
    if keys < queries:
        raise ValueError(f"{queries} queries but {keys} keys: identity targets need a key for each query")
    return torch.eye(queries, keys, device=device)


def same_label(
    labels_Q: Int[Tensor, " q"], labels_K: Int[Tensor, " k"] | None = None, *, drop_diagonal: bool = False
) -> Float[Tensor, "q k"]:
    """A query's mass is spread evenly over the keys of its own label.

    A row without any positive is all zeros; `contrast` refuses it unless its weight is 0:
    `weights = has_positive(targets).float()`.

    Args:
        labels_Q: labels of the queries.
        labels_K: labels of the keys; None: the keys are the queries.
        drop_diagonal: key i is query i itself and is no positive. Give `contrast` the mask `off_diagonal`
            too.
    """
    labels_K = labels_Q if labels_K is None else labels_K
    same_QK = labels_Q[:, None] == labels_K[None, :]
    if drop_diagonal:
        same_QK = same_QK & ~diagonal_mask(*same_QK.shape, device=same_QK.device)
    return normalise_rows(same_QK.to(torch.get_default_dtype()))


def has_positive(targets_QK: Float[Tensor, "q k"]) -> Bool[Tensor, " q"]:
    """True where a row has any target above zero."""
    return (targets_QK > 0).any(1)


def shifted_cosine(cosines: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """CWCL's weight of a pair, in [0, 1]: `w = cos / 2 + 1 / 2`."""
    # Rounding may bring a cosine of -1 a hair below; the weight is never negative by its definition.
    return (cosines / 2 + 0.5).clamp(min=0)


def by_similarity(
    vectors_QD: Float[Tensor, "q d"],
    keys_KD: Float[Tensor, "k d"] | None = None,
    *,
    weight: Callable[[Tensor], Tensor] = shifted_cosine,
) -> Float[Tensor, "q k"]:
    """CWCL's targets: each row the weights of the cosines in a frozen, trusted space, divided by their sum.

    Take the vectors from the frozen tower before any trained projection, and centre features that are never
    negative, else all weights are alike. With few near-duplicates `shifted_cosine` is close to uniform over a
    row; a sharper choice is `weight=lambda cosines: ((cosines - 1) / 0.1).exp()`.

    Args:
        vectors_QD: the queries' counterparts in the frozen space; any length.
        keys_KD: the keys there; None: the keys are the queries.
        weight: cosines to weights >= 0, entry by entry.

    Raises:
        ValueError: a negative or non-finite weight. A row whose weights are all zero stays zero.
    """
    with torch.no_grad():
        unit_QD = F.normalize(vectors_QD, dim=1)
        unit_KD = unit_QD if keys_KD is None else F.normalize(keys_KD, dim=1)
        weights_QK = weight(unit_QD @ unit_KD.T)
    check_pair_weights(weights_QK.amin(), weights_QK.amax())
    return normalise_rows(weights_QK)


def check_pair_weights(least: Float[Tensor, ""], most: Float[Tensor, ""]) -> None:
    """The weights of pairs, known by their least and greatest, are finite and not negative.

    Raises:
        ValueError: giving both; nan where there is one.
    """
    if not bool((least >= 0) & (most < torch.inf)):
        raise ValueError(
            f"weight() gave values from {least.item():g} to {most.item():g}: wanted finite weights >= 0, e.g. "
            "shifted_cosine"
        )


def softened(teacher_scores_QK: Float[Tensor, "q k"], *, temperature: float) -> Float[Tensor, "q k"]:
    """A teacher's softmax over the keys, as targets of a student.

    Args:
        teacher_scores_QK: similarities, not yet divided by a temperature.
        temperature: > 0; towards 0 only the teacher's best key counts.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature:g}, wanted > 0 (use identity or an argmax for hard targets)")
    return (teacher_scores_QK.detach() / temperature).softmax(1)


def pad_negatives(targets_QK: Float[Tensor, "q k"], extra: int) -> Float[Tensor, "q wider"]:
    """The same targets over `extra` more columns, nobody's positives: a queue, mined hard negatives.

    Raises:
        ValueError: a negative `extra`.
    """
    if extra < 0:
        raise ValueError(f"extra is {extra}, wanted the number of added key columns, >= 0")
    return F.pad(targets_QK, (0, extra))


def normalise_rows(weights_QK: Float[Tensor, "q k"]) -> Float[Tensor, "q k"]:
    """Each row divided by its sum; a row of zeros stays zero."""
    sums_Q1 = weights_QK.sum(1, keepdim=True)
    return weights_QK / torch.where(sums_Q1 > 0, sums_Q1, torch.ones_like(sums_Q1))
