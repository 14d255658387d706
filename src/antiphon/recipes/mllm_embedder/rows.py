"""Pairs of texts for mining and training, and batches that are made of whole clusters.

Axes: N pairs, M documents, D width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from antiphon.data.collate import by_column
from antiphon.decode import split_words
from antiphon.encoders.items import Items
from antiphon.errors import UserError
from antiphon.evaluation.floors import jaccards
from antiphon.evaluation.retrieval import chance, retrieve
from antiphon.evaluation.sts import Embed
from antiphon.recipes.mllm_embedder.saha import Cluster, Mined
from antiphon.runs import Measures

ALIKE = 0.5
"""Documents with this share of words in common, or more, are answers to each other's queries."""
SPLITS, TRAIN = ("train", "dev", "test"), 0.6


@dataclass(frozen=True)
class Twins:
    """Different pairs of a query and its document, and each pair's class where the rows have one.

    Attributes:
        queries: texts.
        documents: texts.
        classes: the same for pairs that are answers to each other; None where the rows do not say.
    """

    queries: list[str]
    documents: list[str]
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.queries)

    def texts(self) -> list[str]:
        """Each text once."""
        return list(dict.fromkeys([*self.queries, *self.documents]))

    def alike(self, first: int, second: int) -> bool:
        """Whether two pairs are answers to each other, by class or by words."""
        if self.classes is not None:
            return self.classes[first] == self.classes[second]
        left, right = _words(self.documents[first]), _words(self.documents[second])
        return len(left & right) >= ALIKE * len(left | right)

    def split(self, seed: int) -> dict[str, Twins]:
        """Pairs to train on, and of dev and test, by the seed; no text stands on two sides."""
        groups = self._tied()
        random.Random(seed).shuffle(groups)
        count = sum(map(len, groups))
        cuts = [round(share * count) for share in (TRAIN, (1 + TRAIN) / 2)]
        side: dict[str, str] = {}
        for group in groups:
            side |= dict.fromkeys(group, SPLITS[sum(len(side) >= cut for cut in cuts)])
        return {
            name: self._taken([at for at, text in enumerate(self.documents) if side[text] == name]) for name in SPLITS
        }

    def _tied(self) -> list[list[str]]:
        """Documents in groups: those of one query are of one group, and of queries that share one, and so on."""
        owner = {text: text for text in self.documents}

        def first(text: str) -> str:
            while owner[text] != text:
                text = owner[text]
            return text

        asked: dict[str, str] = {}
        for query, document in zip(self.queries, self.documents, strict=True):
            one, other = sorted((first(document), first(asked.setdefault(query, document))))
            owner[other] = one
        groups: dict[str, list[str]] = {}
        for text in sorted(owner):
            groups.setdefault(first(text), []).append(text)
        return [groups[text] for text in sorted(groups)]

    def turned(self) -> Twins:
        """Documents that ask for their queries."""
        return Twins(self.documents, self.queries, self.classes)

    def _taken(self, places: Sequence[int]) -> Twins:
        names = None if self.classes is None else [self.classes[at] for at in places]
        return Twins([self.queries[at] for at in places], [self.documents[at] for at in places], names)

    def mined(self, embed: Embed) -> Mined:
        """Numbers of equal texts, and vectors."""
        queries, documents = (list(dict.fromkeys(side)) for side in (self.queries, self.documents))
        asked, given = ({text: number for number, text in enumerate(side)} for side in (queries, documents))
        numbers = [asked[text] for text in self.queries]
        query_ND = embed(queries)[torch.tensor(numbers)]
        return Mined(numbers, [given[text] for text in self.documents], query_ND, embed(documents))

    def found(self, embed: Embed, drawn: int | None = None) -> Measures:
        """R@1 and R@10 of each query's document among all different documents; of its class, where there are classes.

        Args:
            embed: unit vectors of queries and documents.
            drawn: a seed, by which queries are drawn with replacement; None asks each once.
        """
        pairs = self.mined(embed)
        ranks = retrieve(*self._asked(pairs, drawn), ks=(1, 10))
        return {"R@1": ranks.recall[1], "R@10": ranks.recall[10]}

    def answers(self, embed: Embed, drawn: int | None = None) -> Measures:
        """`found`; where there are classes, `turned/` round as well, and of `both/` ways the mean."""
        found = self.found(embed, drawn)
        if self.classes is None:
            return found
        back = self.turned().found(embed, drawn)
        return found | {
            f"{way}/{name}": value
            for name in found
            for way, value in (("turned", back[name]), ("both", (found[name] + back[name]) / 2))
        }

    def by_words(self) -> Measures:
        """The same of texts by the words that they have in common (Jaccard)."""
        documents = list(dict.fromkeys(self.documents))
        places = {text: at for at, text in enumerate(documents)}
        scores_QK = torch.from_numpy(jaccards(self.queries, documents))
        asked = torch.tensor([places[text] for text in self.documents])
        ranks = retrieve(scores_QK, torch.eye(len(documents), dtype=scores_QK.dtype), asked, ks=(1, 10))
        return {"R@1": ranks.recall[1], "R@10": ranks.recall[10]}

    def chance(self, embed: Embed) -> Measures:
        """The same by chance, of one way and of both."""
        one, other = (chance(*side._asked(side.mined(embed), None)[2], ks=(1, 10)) for side in (self, self.turned()))
        return {name: one[name] for name in ("R@1", "R@10")} | {
            f"both/{name}": (one[name] + other[name]) / 2 for name in ("R@1", "R@10")
        }

    def _asked(self, pairs: Mined, drawn: int | None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Vectors of queries and documents, and the labels of both."""
        count = len(self)
        rows = torch.arange(count)
        if drawn is not None:
            rows = torch.randint(count, (count,), generator=torch.Generator().manual_seed(drawn))
        labels, of_documents = self._labels(pairs)
        return pairs.query_ND[rows], pairs.document_MD, (labels[rows], of_documents)

    def _labels(self, pairs: Mined) -> tuple[Tensor, Tensor]:
        """Which documents answer which queries."""
        documents = torch.tensor(pairs.documents)
        if self.classes is None:
            return documents, torch.arange(len(pairs.document_MD))
        labels = torch.tensor(numbered(self.classes))
        of_documents = torch.zeros(len(pairs.document_MD), dtype=labels.dtype)
        of_documents[documents] = labels
        return labels, of_documents


def numbered(names: Sequence[str]) -> list[int]:
    """A number for each different name."""
    places = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return [places[name] for name in names]


def joined(
    twins: Sequence[Twins], mined: Sequence[Mined], clusters: Sequence[Sequence[Cluster]]
) -> tuple[Twins, Mined, list[Cluster]]:
    """Sub-sets side by side, each with its own queries, documents and clusters."""
    if len(twins) == 1:
        return twins[0], mined[0], list(clusters[0])
    queries: list[int] = []
    documents: list[int] = []
    moved: list[Cluster] = []
    texts = 0
    for pairs, found in zip(mined, clusters, strict=True):
        at, asked = len(queries), 1 + max(queries, default=-1)
        moved += [
            Cluster(one.anchor + at, [row + at for row in one.hard], [row + at for row in one.dropped], one.again)
            for one in found
        ]
        queries += [number + asked for number in pairs.queries]
        documents += [number + texts for number in pairs.documents]
        texts += len(pairs.document_MD)
    vectors = (torch.cat([getattr(pairs, name) for pairs in mined]) for name in ("query_ND", "document_MD"))
    both = Twins(
        [one for some in twins for one in some.queries],
        [one for some in twins for one in some.documents],
        [name for some in twins for name in some.classes or ()] or None,
    )
    return both, Mined(queries, documents, *vectors), moved


def twins_of(rows: Any, columns: tuple[str, str], *, least: float | None, most: int | None) -> Twins:
    """The pairs of rows that have both texts, each pair once, sorted.

    Args:
        rows: with these columns, and `score` where `least` is given.
        columns: of the query and of its document.
        least: rows of a lower score are no pairs.
        most: at most so many pairs, drawn the same way each time.

    Raises:
        UserError: no such pair.
    """
    scores = rows["score"] if least is not None else [0.0] * len(rows)
    sides = zip(rows[columns[0]], rows[columns[1]], scores, strict=True)
    found = {(q, d) for q, d, score in sides if _said(q) and _said(d) and (least is None or score >= least)}
    if not found:
        raise UserError(f"no rows with both {columns[0]} and {columns[1]}: nothing to train on")
    drawn = sorted(found)
    random.Random(0).shuffle(drawn)
    kept = sorted(drawn[:most])
    return Twins([query for query, _ in kept], [document for _, document in kept])


def twins_of_classes(rows: Any, classes: str) -> Twins:
    """Neighbours of one class as query and document; the last of an odd number is left out."""
    groups: dict[str, list[str]] = {}
    for text, name in zip(rows["text"], rows[classes], strict=True):
        groups.setdefault(name, []).append(text)
    pairs = [(a, b, name) for name, some in sorted(groups.items()) for a, b in zip(some[::2], some[1::2], strict=False)]
    return Twins(*(list(side) for side in zip(*pairs, strict=True)))


class Whole:
    """Makes a batch of clusters: each row is one, and gives 1 + K pairs.

    Args:
        twins: what the clusters' numbers mean.
        pairs: the same, with the numbers of equal texts.
        items: of the texts.
        clusters: as mined.
    """

    def __init__(self, twins: Twins, pairs: Mined, items: Items, clusters: Sequence[Cluster]) -> None:
        self.twins, self.items, self.clusters = twins, items, clusters
        # of one class, pairs answer each other, whichever asks: a picture is no negative of itself
        same = None if twins.classes is None else numbered(twins.classes)
        self.queries, self.documents = (pairs.queries, pairs.documents) if same is None else (same, same)
        reader = items.stand_in()
        self.collate = by_column(keep=("query_id", "document_id"), query=reader, document=reader)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each cluster."""
        return [{"id": f"{at:06}", "cluster": at} for at in range(len(self.clusters))]

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Pairs of all clusters, one after the other."""
        return self.collate([self._pair(at) for row in rows for at in self.clusters[row["cluster"]].rows])

    def _pair(self, at: int) -> dict[str, Any]:
        return {
            "id": f"{at:06}",
            "query": self.items.of[self.twins.queries[at]],
            "document": self.items.of[self.twins.documents[at]],
            "query_id": self.queries[at],
            "document_id": self.documents[at],
        }


@lru_cache(maxsize=10_000)
def _words(text: str) -> frozenset[str]:
    return frozenset(split_words(text))


def _said(text: str | None) -> bool:
    return bool(text and split_words(text))
