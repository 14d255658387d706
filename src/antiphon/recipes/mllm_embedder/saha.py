"""Whom a pair is compared with: SaHa, self-aware hard negative sampling (arXiv 2508.00955), and its controls.

Pairs (q_i, d_i); the owners of a document d are the queries whose answer it is. For each query in a drawn order that
stands in no cluster yet, with K negatives and a pool of M:

    a. the 2 K M documents nearest to q_i, without d_i;
    b. of each, the owner that is nearest to q_i, among those in no cluster yet; up to K M owners;
    c. owners by <q_i, q_j>, ASCENDING, and the first K of them: what is near q_i though its own query is not. A
       document whose owner asks what q_i asks is likely an answer to q_i too, and falls off the end. Of labelled
       sets, whose documents are names of classes, the order of b is kept;
    d. the cluster: q_i and those K, each with its own document. Its members are in no other cluster.

Queries that find fewer than K owners wait; those in no cluster at the end go round again, with a pool of twice the
size, and may take what is taken (reconstructed: the paper says no more). A document is a text: pairs that share the
query's or the document's words are never each other's negatives (the official code lets a query meet itself).

Axes: N pairs, M documents, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.errors import WrongValue
from antiphon.evaluation.retrieval import nearest

Rule = Literal["batch", "top", "skip", "unsorted", "saha"]
"""batch: any pairs; top: owners of the K nearest documents; skip: of those at 2 K to 3 K; unsorted: SaHa without its
step c. The first three do not keep clusters apart, but for batch, which cuts one drawn order."""


@dataclass(frozen=True)
class Mined:
    """Pairs by their words, and vectors to mine by.

    Attributes:
        queries: of each pair, the number of its query's text.
        documents: of each pair, the number of its document's text.
        query_ND: unit vectors of the queries, by pair.
        document_MD: unit vectors of the documents, by text.
    """

    queries: Sequence[int]
    documents: Sequence[int]
    query_ND: Float[Tensor, "n d"]
    document_MD: Float[Tensor, "m d"]


@dataclass(frozen=True)
class Cluster:
    """Pairs that are compared, by their numbers.

    Attributes:
        anchor: whose negatives are looked for.
        hard: K pairs, the owners of those negatives.
        dropped: owners that were found and not taken.
        again: whether it was found in the second round.
    """

    anchor: int
    hard: list[int]
    dropped: list[int]
    again: bool = False

    @property
    def rows(self) -> list[int]:
        """All pairs of the cluster, the anchor first."""
        return [self.anchor, *self.hard]


def clusters_of(pairs: Mined, rule: Rule, *, hard: int, pool: int, seed: int, labelled: bool = False) -> list[Cluster]:
    """Clusters of 1 + `hard` pairs.

    Args:
        pairs: the vectors are the untrained model's own ("self-aware").
        rule: see above.
        hard: K.
        pool: M.
        seed: of the order of the anchors, on which the result depends.
        labelled: whether documents are names of classes.

    Raises:
        WrongValue: so few pairs that a query does not find K others.
    """
    order = torch.randperm(len(pairs.queries), generator=torch.Generator().manual_seed(seed)).tolist()
    if rule == "batch":
        cut = [order[at : at + 1 + hard] for at in range(0, len(order) - hard, 1 + hard)]
        found = [Cluster(anchor, others, []) for anchor, *others in cut]
        _enough(found, len(order), hard)
        return found
    search = _Search(pairs, 4 * hard * pool)
    if rule in ("top", "skip"):
        first = 0 if rule == "top" else 2 * hard
        owners = {anchor: search.owners(anchor, 4 * hard * pool, first + hard, set()) for anchor in order}
        found = [Cluster(anchor, some[first:], some[:first]) for anchor, some in owners.items()]
        _enough([one for one in found if len(one.hard) == hard], len(order), hard)
        return [one for one in found if len(one.hard) == hard]
    found = _disjoint(search, order, hard=hard, pool=pool, ascending=rule == "saha" and not labelled)
    _enough(found, len(order), hard)
    return found


def purity(clusters: Sequence[Cluster], pairs: Mined, alike: Callable[[int, int], bool]) -> dict[str, float]:
    """Of the anchors and their negatives: the share of `false_negatives`, and the mean cosine, `hardness`.

    `within` is the share among all pairs of a cluster, since each is the negative of every other; `chance` that among
    all pairs.

    Args:
        clusters: as mined.
        pairs: what they were mined of.
        alike: whether two pairs are answers to each other.
    """
    chosen = [(one.anchor, other) for one in clusters for other in one.hard]
    every = [(a, b) for one in clusters for a in one.rows for b in one.rows if a != b]
    some = range(len(pairs.queries))
    everywhere = [alike(a, b) for a in some for b in some[a + 1 :] if pairs.documents[a] != pairs.documents[b]]
    anchors, others = (torch.tensor(side) for side in zip(*chosen, strict=True))
    answers = pairs.document_MD[torch.tensor(pairs.documents)[others]]
    return {
        "false_negatives": sum(alike(*pair) for pair in chosen) / len(chosen),
        "within": sum(alike(*pair) for pair in every) / len(every),
        "chance": sum(everywhere) / len(everywhere),
        "hardness": float((pairs.query_ND[anchors] * answers).sum(1).mean()),
    }


class _Search:
    """Documents near a query, and whose they are."""

    def __init__(self, pairs: Mined, most: int) -> None:
        self.pairs = pairs
        self.ranked = nearest(pairs.query_ND, pairs.document_MD, min(most, len(pairs.document_MD)))[1].tolist()
        self.of_document: dict[int, list[int]] = {}
        for row, document in enumerate(pairs.documents):
            self.of_document.setdefault(document, []).append(row)
        self.query_ND = pairs.query_ND.double()

    def owners(self, anchor: int, reach: int, most: int, taken: set[int]) -> list[int]:
        """Up to `most` owners of the `reach` nearest documents, nearest document first."""
        found: list[int] = []
        for document in self.ranked[anchor][:reach]:
            if document == self.pairs.documents[anchor]:
                continue
            asked = self.pairs.queries[anchor]
            free = [row for row in self.of_document[document] if row not in taken and self.pairs.queries[row] != asked]
            if free:
                found.append(max(free, key=lambda row: (self.likeness(anchor, row), -row)))
            if len(found) == most:
                break
        return found

    def likeness(self, first: int, second: int) -> float:
        return float(self.query_ND[first] @ self.query_ND[second])


def _disjoint(search: _Search, order: Sequence[int], *, hard: int, pool: int, ascending: bool) -> list[Cluster]:
    """Both rounds of SaHa; without `ascending`, owners stay in the order of their documents."""
    found: list[Cluster] = []
    placed: set[int] = set()
    for again in (False, True):
        size = hard * pool * (2 if again else 1)
        for anchor in order:
            if anchor in placed:
                continue
            owners = search.owners(anchor, 2 * size, size, set() if again else placed | {anchor})
            if ascending:
                owners = sorted(owners, key=lambda row: search.likeness(anchor, row))
            if len(owners) >= hard:
                found.append(Cluster(anchor, owners[:hard], owners[hard:], again))
                placed.update(found[-1].rows)
    return found


def _enough(found: Sequence[Cluster], pairs: int, hard: int) -> None:
    if not found:
        raise WrongValue(
            f"{pairs} pairs: no query finds {hard} others to be compared with; give more, or a lower hard="
        )
