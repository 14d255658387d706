"""Retrieval: how high the right key stands among all keys, and what chance alone would give.

Scores are dot products (give unit vectors for cosines), summed in float64 and rounded to float32: so equal
vectors get equal scores, whatever the size of a chunk.

Axes: Q queries, K keys, D width, C queries of one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Retrieval:
    """How the best relevant key of each query is ranked.

    Args:
        recall: k to the share of queries whose rank is at most k, in [0, 1].
        median_rank: from 1 to K; between two ranks their mean.
        mean_reciprocal_rank: in (0, 1].
        n: how many queries.
        ranks: `(Q,)` int64, from 1.
    """

    recall: dict[int, float]
    median_rank: float
    mean_reciprocal_rank: float
    n: int
    ranks: Int[Tensor, " q"]

    def as_dict(self) -> dict[str, float]:
        """Numbers for a table: R@k, median_rank, MRR, n."""
        return {
            **{f"R@{k}": value for k, value in self.recall.items()},
            "median_rank": self.median_rank,
            "MRR": self.mean_reciprocal_rank,
            "n": self.n,
        }


def retrieve(
    queries_QD: Float[Tensor, "q d"],
    keys_KD: Float[Tensor, "k d"],
    relevant: Int[Tensor, " q"] | tuple[Int[Tensor, " q"], Int[Tensor, " k"]],
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 1024,
) -> Retrieval:
    """Rank all keys for each query.

    A query's rank is 1 + the number of irrelevant keys that score at least as high as its best relevant key:
    ties count against us, so a space that has collapsed to a point ranks last, not first.

    Args:
        queries_QD: vectors of the queries.
        keys_KD: vectors of the keys.
        relevant: for each query the number of its key; or a pair of labels, of the queries and of the keys,
            where each key of the query's label is relevant.
        ks: for R@k. Where k exceeds the number of keys, R@k is 1.
        chunk: how many queries are scored at a time; memory is `chunk x K`.

    Raises:
        ValueError: no queries; a vector that is not finite; a query without a relevant key; labels that do
            not fit.
    """
    labels_Q, labels_K = relevant if isinstance(relevant, tuple) else (relevant, torch.arange(len(keys_KD)))
    _check_labels(queries_QD, keys_KD, labels_Q, labels_K)
    labels_Q, labels_K = labels_Q.to(queries_QD.device), labels_K.to(queries_QD.device)
    ranks = []
    for start, scores_CK in _scored(queries_QD, keys_KD, chunk):
        right_CK = labels_Q[start : start + len(scores_CK), None] == labels_K[None, :]
        best_C1 = scores_CK.masked_fill(~right_CK, -torch.inf).amax(1, keepdim=True)
        ranks.append(1 + ((scores_CK >= best_C1) & ~right_CK).sum(1))
    ranks_Q = torch.cat(ranks).cpu()
    return Retrieval(
        recall={k: (ranks_Q <= k).double().mean().item() for k in ks},
        median_rank=float(np.median(ranks_Q.numpy())),
        mean_reciprocal_rank=(1 / ranks_Q.double()).mean().item(),
        n=len(ranks_Q),
        ranks=ranks_Q,
    )


def chance(
    query_labels: Int[Tensor, " q"], key_labels: Int[Tensor, " k"], ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """What a random order of the keys gives, exactly.

    With R relevant keys of K, a query's rank exceeds r with probability `C(K - R, r) / C(K, r)`.

    Args:
        query_labels: labels of the queries.
        key_labels: labels of the keys.
        ks: for R@k.

    Returns:
        The expected R@k and MRR, and as median_rank the least rank that half of the queries reach or better.

    Raises:
        ValueError: no queries, or a query without a relevant key.
    """
    keys = len(key_labels)
    relevant_Q = _relevant_counts(query_labels, key_labels)
    _check_relevant(relevant_Q)
    beyond = np.zeros(keys + 1)  # beyond[r]: the share of queries whose rank exceeds r, r = 0 ... K
    draws = np.arange(keys)
    for relevant, queries in zip(*np.unique(relevant_Q.numpy(), return_counts=True), strict=True):
        misses = np.clip((keys - relevant - draws) / (keys - draws), 0, 1)
        beyond += queries / len(relevant_Q) * np.concatenate([[1.0], np.cumprod(misses)])
    exactly = beyond[:-1] - beyond[1:]
    return {
        **{f"R@{k}": float(1 - beyond[min(k, keys)]) for k in ks},
        # Half is reached up to rounding of the products above.
        "median_rank": float(np.argmax(beyond <= 0.5 + 1e-12)),
        "MRR": float((exactly / (1 + draws)).sum()),
        "n": len(relevant_Q),
    }


def nearest(
    queries_QD: Float[Tensor, "q d"], keys_KD: Float[Tensor, "k d"], k: int, *, chunk: int = 1024
) -> tuple[Float[Tensor, "q n"], Int[Tensor, "q n"]]:
    """The k keys that score highest for each query, exactly; among equal scores the lower index first.

    Args:
        queries_QD: vectors of the queries.
        keys_KD: vectors of the keys.
        k: how many, from 1 to K.
        chunk: how many queries are scored at a time.

    Returns:
        Scores (float32) and indices, best first.

    Raises:
        ValueError: k out of range, no queries, or a vector that is not finite.
    """
    if not 1 <= k <= len(keys_KD):
        raise ValueError(f"k is {k}, wanted 1 to {len(keys_KD)}, the number of keys")
    scores, indices = [], []
    for _, scores_CK in _scored(queries_QD, keys_KD, chunk):
        values_CK, order_CK = scores_CK.sort(dim=1, descending=True, stable=True)
        scores.append(values_CK[:, :k])
        indices.append(order_CK[:, :k])
    return torch.cat(scores), torch.cat(indices)


def _scored(queries_QD: Tensor, keys_KD: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    if len(queries_QD) == 0:
        raise ValueError("there are no queries")
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, wanted at least 1")
    for name, vectors in (("queries", queries_QD), ("keys", keys_KD)):
        bad = ~vectors.isfinite().all(1)
        if bad.any():
            raise ValueError(
                f"{int(bad.sum())} of {len(bad)} {name} hold nan or inf, the first at "
                f"{int(bad.nonzero()[0])}: look at the encoder before its retrieval"
            )
    keys_DK = keys_KD.detach().double().T
    for start in range(0, len(queries_QD), chunk):
        yield start, (queries_QD[start : start + chunk].detach().double() @ keys_DK).float()


def _check_labels(queries_QD: Tensor, keys_KD: Tensor, labels_Q: Tensor, labels_K: Tensor) -> None:
    if len(labels_Q) != len(queries_QD) or len(labels_K) != len(keys_KD):
        raise ValueError(
            f"{len(queries_QD)} queries and {len(keys_KD)} keys came with {len(labels_Q)} and "
            f"{len(labels_K)} labels: one label each is wanted"
        )
    _check_relevant(_relevant_counts(labels_Q, labels_K))


def _check_relevant(relevant_Q: Tensor) -> None:
    if len(relevant_Q) == 0:
        raise ValueError("there are no queries")
    missing_Q = relevant_Q == 0
    if missing_Q.any():
        raise ValueError(
            f"{int(missing_Q.sum())} of {len(missing_Q)} queries have no relevant key, the first is query "
            f"{int(missing_Q.nonzero()[0])}: drop them, or add their keys"
        )


def _relevant_counts(labels_Q: Tensor, labels_K: Tensor) -> Tensor:
    """How many keys have the label of each query; without a Q x K matrix."""
    sorted_K = labels_K.cpu().contiguous().sort().values
    wanted_Q = labels_Q.cpu().contiguous()
    return torch.searchsorted(sorted_K, wanted_Q, right=True) - torch.searchsorted(sorted_K, wanted_Q)
