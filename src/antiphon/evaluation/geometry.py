"""Geometry of a space: alignment, uniformity, effective rank, the gap of modalities, a picture in the plane.

All but `effective_rank` and `project_2d` look at directions: vectors are made unit first. Sums run in
float64.

And what brings the parts of a space (languages, signals) onto each other after training, fitted on vectors of each part
alone: `centring`, `scaling`, `whitening`, and rotations, by pairs (`procrustes`) or without (`rotation_without_pairs`).

    french = whitening(space.embed(text=french_training_texts))
    scores = normalize(french(space.embed(text=queries)), dim=1) @ ...

Axes: N vectors (of a pair: row i of the one belongs to row i of the other), M other vectors, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import normalize


def alignment(left_ND: Float[Tensor, "n d"], right_ND: Float[Tensor, "n d"], *, alpha: float = 2.0) -> float:
    """`mean |x - y|^alpha` over pairs (Wang & Isola 2020, arXiv 2005.10242, section 4.1.1); 0 is best."""
    return float((_unit(left_ND) - _unit(right_ND)).norm(dim=1).pow(alpha).mean())


def uniformity(vectors_ND: Float[Tensor, "n d"], *, t: float = 2.0, chunk: int = 1024) -> float:
    """`log mean exp(-t |x - y|^2)` over pairs of different rows (Wang & Isola 2020, section 4.1.2).

    0 where all vectors are alike; lower is more uniform, down to about -2 t for orthogonal vectors.

    Args:
        vectors_ND: at least two.
        t: the paper's 2.
        chunk: how many rows are compared with all at a time.

    Raises:
        ValueError: fewer than two vectors.
    """
    count = len(vectors_ND)
    if count < 2:
        raise ValueError(f"uniformity wants at least two vectors, got {count}")
    unit_ND = _unit(vectors_ND)
    sums = []
    for start in range(0, count, chunk):
        part_CD = unit_ND[start : start + chunk]
        exponents_CN = 2 * t * (part_CD @ unit_ND.T - 1)  # |x - y|^2 = 2 - 2 x.y for unit vectors
        rows_C = torch.arange(len(part_CD), device=unit_ND.device)
        exponents_CN[rows_C, start + rows_C] = -torch.inf
        sums.append(exponents_CN.logsumexp((0, 1)))
    pairs = unit_ND.new_tensor(float(count * (count - 1)))
    return (torch.stack(sums).logsumexp(0) - pairs.log()).item()


def effective_rank(vectors_ND: Float[Tensor, "n d"], *, centred: bool = False) -> float:
    """The exponential of the entropy of the normalised singular values (Roy & Vetterli 2007, eq. 3-4).

    Args:
        vectors_ND: a matrix that is not all zeros.
        centred: take the mean vector off first, to see the spread alone.

    Returns:
        From 1 to min(N, D).

    Raises:
        ValueError: a matrix without any non-zero singular value (with `centred`: all rows alike).
    """
    matrix = vectors_ND.detach().double()
    size = matrix.abs().max().item() if matrix.numel() else 0.0
    matrix = matrix - matrix.mean(0) if centred else matrix
    values = torch.linalg.svdvals(matrix) if matrix.numel() else matrix.new_zeros(1)
    # What taking off the mean leaves of equal rows is rounding, not spread.
    if not values[0].item() > size * 1e-12:
        raise ValueError("effective_rank: there is no spread (an empty matrix, all zeros, or all rows alike)")
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def modality_gap(left_ND: Float[Tensor, "n d"], right_MD: Float[Tensor, "m d"]) -> float:
    """The distance between the centroids of two modalities, 0 to 2 (Liang et al. 2022, arXiv 2203.02053)."""
    return float((_unit(left_ND).mean(0) - _unit(right_MD).mean(0)).norm())


def similarity_correlation(left_ND: Float[Tensor, "n d"], right_ME: Float[Tensor, "m e"]) -> float:
    """Whether what is near in one space is so in the other: Spearman's rank correlation of all pairs' cosines, -1 to 1.

    0 where the spaces have nothing in common (representational similarity analysis, Kriegeskorte et al. 2008).

    Raises:
        ValueError: fewer than three rows, another number of rows on each side, or cosines that are all alike.
    """
    if len(left_ND) != len(right_ME) or len(left_ND) < 3:
        raise ValueError(f"{len(left_ND)} and {len(right_ME)} rows: wanted the same three or more on both sides")
    above = torch.triu_indices(len(left_ND), len(left_ND), offset=1).unbind()
    left, right = ((_unit(side) @ _unit(side).T)[above].cpu().numpy() for side in (left_ND, right_ME))
    if min(left.std(), right.std()) < 1e-12:  # rounding is no rank
        raise ValueError("similarity_correlation: all pairs of rows are equally similar, so there is nothing to rank")
    return float(spearmanr(left, right).statistic)


def project_2d(vectors_ND: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
    """The two principal components, for a plot; the same vectors give the same picture.

    The sign of a component is free: here its largest loading by size is positive. Project several modalities
    concatenated, so that they share the plane.

    Raises:
        ValueError: fewer than two vectors or two dimensions.
    """
    if min(vectors_ND.shape) < 2:
        raise ValueError(f"project_2d wants at least two vectors of width two, got {tuple(vectors_ND.shape)}")
    centred_ND = vectors_ND.detach().double()
    centred_ND = centred_ND - centred_ND.mean(0)
    axes_2D = torch.linalg.svd(centred_ND, full_matrices=False).Vh[:2]
    largest_21 = axes_2D.gather(1, axes_2D.abs().argmax(1, keepdim=True))
    axes_2D = torch.where(largest_21 < 0, -axes_2D, axes_2D)
    return (centred_ND @ axes_2D.T).to(vectors_ND.dtype)


@dataclass(frozen=True)
class Calibration:
    """A map fitted after training: `(vectors - mean) @ map`; not of unit length.

    Args:
        mean: what is taken off.
        map: what the rest is multiplied by.
    """

    mean: Float[Tensor, " d"]
    map: Float[Tensor, "d d"]

    def __call__(self, vectors_ND: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The vectors, calibrated."""
        return ((vectors_ND.double() - self.mean) @ self.map).to(vectors_ND.dtype)

    def turned(self, rotation_DD: Float[Tensor, "d d"]) -> Calibration:
        """The same, and a rotation behind it."""
        return Calibration(self.mean, self.map @ rotation_DD.double())


def centring(vectors_ND: Float[Tensor, "n d"]) -> Calibration:
    """Take off the mean of these vectors.

    Raises:
        ValueError: no vectors.
    """
    return Calibration(_mean(vectors_ND), torch.eye(vectors_ND.shape[1], dtype=torch.float64))


def scaling(vectors_ND: Float[Tensor, "n d"]) -> Calibration:
    """Take off the mean and divide each number by its deviation; a number that never varies becomes zero.

    Raises:
        ValueError: fewer than two vectors.
    """
    _want_two(vectors_ND)
    deviation_D = vectors_ND.double().std(0)
    rate_D = torch.where(deviation_D > 1e-9, 1 / deviation_D.clamp(min=1e-9), 0.0)
    return Calibration(_mean(vectors_ND), torch.diag(rate_D))


def whitening(vectors_ND: Float[Tensor, "n d"], *, shrink: float = 0.0) -> Calibration:
    """Take off the mean and turn the covariance into the identity: `W = V diag(1 / sqrt(l)) V^T` (ZCA), `C = V l V^T`.

    Args:
        vectors_ND: directions in which they do not vary are mapped to zero, unless there is shrinkage.
        shrink: how much of the covariance is replaced by the mean variance, 0 to 1: `(1 - s) C + s tr(C) / D I`, for
            fewer vectors than a few times their width (Ledoit and Wolf 2004 tell how to choose it).

    Raises:
        ValueError: fewer than two vectors, or a shrinkage outside 0 to 1.
    """
    _want_two(vectors_ND)
    if not 0 <= shrink <= 1:
        raise ValueError(f"shrink is {shrink:g}, wanted 0 to 1")
    covariance_DD = vectors_ND.detach().double().T.cov()
    level = covariance_DD.diagonal().mean()
    covariance_DD = (1 - shrink) * covariance_DD + shrink * level * torch.eye(len(covariance_DD), dtype=torch.float64)
    values_D, axes_DD = torch.linalg.eigh(covariance_DD)
    seen_D = values_D > 1e-9 * values_D.max()
    rates_D = torch.where(seen_D, values_D.clamp(min=torch.finfo(values_D.dtype).tiny).rsqrt(), 0.0)
    return Calibration(_mean(vectors_ND), (axes_DD * rates_D) @ axes_DD.T)


def procrustes(
    left_ND: Float[Tensor, "n d"], right_ND: Float[Tensor, "n d"], *, pull: float = 0.0
) -> Float[Tensor, "d d"]:
    """The rotation or reflection R that brings each left vector nearest to its right one: `left @ R`, float64.

    It minimises `|left R - right|^2 / N + pull / D |R - I|^2`: `R = U V^T` of the singular vectors of
    `left^T right / N + pull / D I` (Schoenemann 1966).

    Args:
        left_ND: what is turned.
        right_ND: where each of them belongs.
        pull: how far R is held at no turn, >= 0: where pairs are fewer than numbers, all else is left to chance.

    Raises:
        ValueError: no pairs, or a pull below zero.
    """
    if len(left_ND) == 0 or pull < 0:
        raise ValueError(f"procrustes of {len(left_ND)} pairs, pull {pull:g}: wanted one or more, and 0 or more")
    both_DD = left_ND.detach().double().T @ right_ND.detach().double() / len(left_ND)
    both_DD = both_DD + pull / len(both_DD) * torch.eye(len(both_DD), dtype=torch.float64)
    left_DD, _, right_DD = torch.linalg.svd(both_DD)
    rotation_DD: Tensor = left_DD @ right_DD
    return rotation_DD


def mutual_neighbours(
    left_ND: Float[Tensor, "n d"], right_MD: Float[Tensor, "m d"]
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """The pairs that are each other's nearest by cosine: places in the left and in the right vectors."""
    cosines_NM = _unit(left_ND) @ _unit(right_MD).T
    right_N, left_M = cosines_NM.argmax(1), cosines_NM.argmax(0)
    mutual_N = left_M[right_N] == torch.arange(len(right_N), device=right_N.device)
    return mutual_N.nonzero()[:, 0], right_N[mutual_N]


def rotation_without_pairs(
    left_ND: Float[Tensor, "n d"], right_MD: Float[Tensor, "m d"], *, rounds: int = 10, pull: float = 0.0
) -> Float[Tensor, "d d"]:
    """The rotation of the left vectors onto the right ones, float64, from no pairs: take mutual neighbours for pairs.

    In each round those are found under the rotation so far, at first none, and `procrustes` is fitted on them (as
    Artetxe et al. 2018, arXiv 1805.06297, refine). It ends when they stay the same. It finds its way only from a start
    where neighbours are often right: it makes an alignment finer, and no alignment out of none.

    Args:
        left_ND: of one part, centred or whitened.
        right_MD: of another part, likewise.
        rounds: at most.
        pull: as of `procrustes`.
    """
    rotation_DD = torch.eye(left_ND.shape[1], dtype=torch.float64)
    before: list[list[int]] = []
    for _ in range(rounds):
        left_P, right_P = mutual_neighbours(left_ND.double() @ rotation_DD, right_MD)
        pairs = [left_P.tolist(), right_P.tolist()]
        if pairs == before:
            break
        rotation_DD, before = procrustes(_unit(left_ND[left_P]), _unit(right_MD[right_P]), pull=pull), pairs
    return rotation_DD


def _mean(vectors_ND: Tensor) -> Tensor:
    if len(vectors_ND) == 0:
        raise ValueError("there are no vectors to take the mean of")
    return vectors_ND.detach().double().mean(0)


def _want_two(vectors_ND: Tensor) -> None:
    if len(vectors_ND) < 2:
        raise ValueError(f"got {len(vectors_ND)} vectors, wanted at least two: their spread is measured")


def _unit(vectors_ND: Tensor) -> Tensor:
    return normalize(vectors_ND.detach().double(), dim=1)
