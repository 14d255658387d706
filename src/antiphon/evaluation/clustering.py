"""Clusters: k-means by Lloyd's iterations, and how far two divisions of the same rows agree beyond chance.

Axes: N vectors, D width, K clusters.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import gammaln, xlogy
from torch import Tensor


def kmeans(
    vectors_ND: Float[Tensor, "n d"], count: int, *, seed: int, iterations: int = 20, restarts: int = 1
) -> tuple[Int[Tensor, " n"], Float[Tensor, "k d"]]:
    """Euclidean k-means from randomly chosen rows; the restart of the least squared error is given.

    A cluster that loses all its rows keeps its centroid and may stay empty.

    Args:
        vectors_ND: at least `count` of them.
        count: K.
        seed: of the rows that the centroids start from.
        iterations: Lloyd's, at most; fewer where no row changes its cluster.
        restarts: how many starts are tried.

    Returns:
        The cluster of each vector, and the centroids: the means of their rows, not of unit length.

    Raises:
        ValueError: more clusters than vectors, or no iteration or restart.
    """
    if not 1 <= count <= len(vectors_ND) or min(iterations, restarts) < 1:
        raise ValueError(
            f"{count} clusters of {len(vectors_ND)} vectors, {iterations} iterations, {restarts} restarts: wanted 1 to "
            f"{len(vectors_ND)} clusters, one iteration and one restart or more"
        )
    generator = torch.Generator().manual_seed(seed)
    vectors_ND = vectors_ND.detach()
    best: tuple[float, Tensor, Tensor] | None = None
    for _ in range(restarts):
        start = torch.randperm(len(vectors_ND), generator=generator)[:count]
        found = _lloyd(vectors_ND, vectors_ND[start.to(vectors_ND.device)], iterations)
        if best is None or found[0] < best[0]:
            best = found
    assert best is not None
    return best[1], best[2]


def cluster_means(
    vectors_ND: Float[Tensor, "n d"], labels_N: Int[Tensor, " n"], count: int
) -> tuple[Float[Tensor, "k d"], Int[Tensor, " k"]]:
    """The mean of each cluster's vectors (zero for an empty one), and how many it has."""
    sums_KD = vectors_ND.new_zeros(count, vectors_ND.shape[1]).index_add_(0, labels_N, vectors_ND)
    sizes_K = torch.bincount(labels_N, minlength=count)
    return sums_KD / sizes_K.clamp(min=1)[:, None], sizes_K


def adjusted_mutual_information(left_N: Int[Tensor, " n"], right_M: Int[Tensor, " m"]) -> float:
    """How far two divisions agree: 1 where they are the same, 0 on average where they are independent.

    `(I - E[I]) / ((H + H') / 2 - E[I])`, the mean E[I] over random divisions of the same sizes (Vinh et al. 2010, JMLR
    11, with the arithmetic mean of the entropies).

    Args:
        left_N: a cluster's number for each row.
        right_M: the same of the other division; the numbers need not correspond.

    Raises:
        ValueError: no rows, or another number of rows on each side.
    """
    if len(left_N) != len(right_M) or len(left_N) == 0:
        raise ValueError(f"{len(left_N)} and {len(right_M)} rows: wanted the same, one or more, on both sides")
    rows = len(left_N)
    (left, a), (right, b) = (np.unique(side.cpu().numpy(), return_inverse=True) for side in (left_N, right_M))
    table = np.zeros((len(left), len(right)))
    np.add.at(table, (a, b), 1)
    sizes_a, sizes_b = table.sum(1), table.sum(0)
    if len(left) == len(right) == 1 or (table > 0).sum() == max(len(left), len(right)) == min(len(left), len(right)):
        return 1.0  # the same division, also where the entropies are zero
    entropies = [-xlogy(sizes / rows, sizes / rows).sum() for sizes in (sizes_a, sizes_b)]
    found = xlogy(table / rows, table * rows / np.outer(sizes_a, sizes_b)).sum()
    expected = _expected_information(sizes_a, sizes_b, rows)
    return float((found - expected) / (sum(entropies) / 2 - expected))


def _lloyd(vectors_ND: Tensor, centroids_KD: Tensor, iterations: int) -> tuple[float, Tensor, Tensor]:
    labels_N, squares_N = _nearest(vectors_ND, centroids_KD)
    for _ in range(iterations):
        means_KD, sizes_K = cluster_means(vectors_ND, labels_N, len(centroids_KD))
        centroids_KD = torch.where(sizes_K[:, None] > 0, means_KD, centroids_KD)
        before_N = labels_N
        labels_N, squares_N = _nearest(vectors_ND, centroids_KD)
        if bool((labels_N == before_N).all()):
            break
    return float(squares_N.sum()), labels_N, centroids_KD


def _nearest(vectors_ND: Tensor, centroids_KD: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each vector, and the squared distance to it less the vector's own square."""
    squares_NK = centroids_KD.square().sum(1) - 2 * vectors_ND @ centroids_KD.T
    least_N = squares_NK.min(1)
    return least_N.indices, least_N.values


def _expected_information(sizes_a: np.ndarray, sizes_b: np.ndarray, rows: int) -> float:
    """Mutual information of two random divisions of these sizes: a sum over hypergeometric counts."""
    total = 0.0
    for a in sizes_a:
        for b in sizes_b:
            n = np.arange(max(1, a + b - rows), min(a, b) + 1)
            log_p = (
                gammaln(a + 1) + gammaln(b + 1) + gammaln(rows - a + 1) + gammaln(rows - b + 1)
                - gammaln(rows + 1) - gammaln(n + 1) - gammaln(a - n + 1) - gammaln(b - n + 1)
                - gammaln(rows - a - b + n + 1)
            )  # fmt: skip
            total += float((n / rows * np.log(rows * n / (a * b)) * np.exp(log_p)).sum())
    return total
