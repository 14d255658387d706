"""Queries for a gallery: ranked as `retrieve` ranks them, half of them found and half missed.

Axes: Q queries, K keys, D width.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

FIRST = 5
"""How many answers a gallery shows; a query is found if a right key is among them."""


@dataclass(frozen=True)
class Ranked:
    """A query and its keys, best first.

    Args:
        query: its place among the queries.
        label: its label.
        rank: of the best right key, from 1.
        keys: places of the first keys, and their scores.
        right: place and score of the best right key.
    """

    query: int
    label: int
    rank: int
    keys: list[tuple[int, float]]
    right: tuple[int, float]

    @property
    def found(self) -> bool:
        """Whether a right key is among the first."""
        return self.rank <= FIRST


def ranked(
    queries_QD: Float[Tensor, "q d"],
    keys_KD: Float[Tensor, "k d"],
    query_labels: Int[Tensor, " q"],
    key_labels: Int[Tensor, " k"],
) -> list[Ranked]:
    """The first answers of every query that has a right key; a wrong key of equal score stands before a right one.

    Scores are as in `retrieve`, so that the ranks are the same.
    """
    if len(queries_QD) == 0 or len(keys_KD) == 0:
        return []
    scores_QK = (queries_QD.double() @ keys_KD.double().T).float()
    right_QK = query_labels[:, None] == key_labels[None, :]
    found = []
    for at in right_QK.any(1).nonzero()[:, 0].tolist():
        scores, right = scores_QK[at].tolist(), right_QK[at].tolist()
        order = sorted(range(len(scores)), key=lambda key: (-scores[key], right[key], key))
        rank = next(place for place, key in enumerate(order, start=1) if right[key])
        first = [(key, scores[key]) for key in order[:FIRST]]
        best = order[rank - 1]
        found.append(Ranked(at, int(query_labels[at]), rank, first, (best, scores[best])))
    return found


def pick(kinds: list[list[Ranked]], *, count: int, seed: int) -> list[list[Ranked]]:
    """Of each kind some queries, `count` in all: half found, half missed, no label twice, by the seed.

    Kinds take turns. Where too few are found, or missed, there are fewer queries: none stands in for another.
    """
    draw = random.Random(seed)
    pools = [draw.sample(found, len(found)) for found in kinds]
    chosen: list[list[Ranked]] = [[] for _ in kinds]
    used: set[int] = set()
    for wanted, left in ((True, count - count // 2), (False, count // 2)):
        while left:
            before = left
            for pool, taken in zip(pools, chosen, strict=True):
                fresh = (query for query in pool if query.found is wanted and query.label not in used)
                query = next(fresh, None) if left else None
                if query is not None:
                    taken.append(query)
                    used.add(query.label)
                    left -= 1
            if left == before:
                break
    return chosen
