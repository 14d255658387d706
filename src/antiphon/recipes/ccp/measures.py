"""What a space of several languages is worth: translations found, neighbours found, and what tells the languages apart.

Everything is top-1 accuracy by cosine, a tie counting as wrong, unless it says otherwise.

Axes: N texts, M other texts, D width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.decode import split_words
from antiphon.encoders.spelling import bucket, ngrams
from antiphon.evaluation.floors import jaccards
from antiphon.evaluation.geometry import (
    Calibration,
    centring,
    effective_rank,
    modality_gap,
    rotation_without_pairs,
    scaling,
    whitening,
)
from antiphon.evaluation.probe import fit_logistic
from antiphon.recipes.ccp.rows import Column, by_language
from antiphon.runs import Measures

Embed = Callable[[Sequence[str]], Tensor]
PairsOfTexts = Mapping[tuple[str, str], tuple[Sequence[str], Sequence[str]]]
Fitted = Mapping[str, Calibration]

KINDS = ("none", "centre", "scale", "whiten", "rotate")
SHRINK = 0.3
"""Of the covariance, in whitening: training texts are not many times the width."""
PULL = 1.0
"""Of the rotation towards none: mutual neighbours are fewer than the width."""
MOST = 1000
"""Sentences that a neighbour is looked for among."""


def calibrations(embed: Embed, columns: Mapping[str, Column], pivot: str) -> dict[str, Fitted]:
    """For each kind and language, what is fitted on its training texts alone.

    `rotate` turns each whitened language onto the pivot's, by mutual neighbours, without pairs.
    """
    vectors = {code: embed(column.texts) for code, column in columns.items()}
    found: dict[str, dict[str, Calibration]] = {"none": {}}
    found["centre"] = {code: centring(rows) for code, rows in vectors.items()}
    found["scale"] = {code: scaling(rows) for code, rows in vectors.items()}
    found["whiten"] = white = {code: whitening(rows, shrink=SHRINK) for code, rows in vectors.items()}
    found["rotate"] = dict(white)
    for code in [code for code in white if code != pivot and pivot in white]:
        turn = rotation_without_pairs(white[code](vectors[code]), white[pivot](vectors[pivot]), pull=PULL)
        found["rotate"][code] = white[code].turned(turn)
    return dict(found)


def translated(columns: Mapping[str, Column], first: str, second: str) -> tuple[list[str], list[str]]:
    """The texts of two languages whose lines bear one name, in the order of the first; a name twice is left out."""
    sides = []
    for code in (first, second):
        counts = Counter(columns[code].lines)
        pairs = zip(columns[code].lines, columns[code].texts, strict=True)
        sides.append({line: text for line, text in pairs if line is not None and counts[line] == 1})
    lines = [line for line in sides[0] if line in sides[1]]
    return [sides[0][line] for line in lines], [sides[1][line] for line in lines]


def outside_pairs(
    rows: Any, pivot: str, document: str = "document", language: str | None = None, line: str | None = None
) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """Pairs of each language and the pivot from columns `text_xxx`; or from rows laid out as those of training."""
    if "text" in rows.column_names:
        return pairs_of(by_language(rows, "text", document, language, line), pivot)
    own = [name for name in rows.column_names if name.startswith("text_") and name != f"text_{pivot}"]
    found = {}
    for name in own:
        pairs = [pair for pair in zip(rows[name], rows[f"text_{pivot}"], strict=True) if None not in pair]
        found[name.removeprefix("text_"), pivot] = ([left for left, _ in pairs], [right for _, right in pairs])
    return found


def found_first(scores_NM: Tensor) -> float:
    """The share of rows whose own column, that of their number, scores above all others."""
    own_N1 = scores_NM.diagonal()[:, None]
    return float(((scores_NM >= own_N1).sum(1) == 1).double().mean())


def both_ways(left_ND: Tensor, right_ND: Tensor) -> float:
    """Accuracy of finding each row of one side among those of the other, the mean of both directions.

    Cosines are rounded to six digits: equal texts tie, whatever the order of summation.
    """
    scores = (normalize(left_ND.double(), dim=1) @ normalize(right_ND.double(), dim=1).T).round(decimals=6)
    return (found_first(scores) + found_first(scores.T)) / 2


def pairs_of(columns: Mapping[str, Column], pivot: str) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """All pairs of languages that have translated lines; the pivot is always the second of its pairs."""
    codes = sorted(columns, key=lambda code: (code == pivot, code))
    found = {pair: translated(columns, *pair) for pair in combinations(codes, 2)}
    return {pair: sides for pair, sides in found.items() if sides[0]}


def accuracies(embed: Embed, pairs: PairsOfTexts, fitted: Fitted) -> dict[tuple[str, str], float]:
    """The accuracy of each pair of languages, both ways; a language without a calibration is taken as it is."""
    found = {}
    for codes, sides in pairs.items():
        vectors = [embed(side) for side in sides]
        left, right = (
            fitted[code](rows) if code in fitted else rows for code, rows in zip(codes, vectors, strict=True)
        )
        found[codes] = both_ways(left, right)
    return found


def summed_up(found: Mapping[tuple[str, str], float], pivot: str) -> Measures:
    """Means over the pairs with the pivot, over those without, and each of the former."""
    own = {code: value for (code, other), value in found.items() if other == pivot}
    others = [value for codes, value in found.items() if pivot not in codes]
    return (
        ({"accuracy": sum(own.values()) / len(own)} if own else {})
        | ({"others": sum(others) / len(others)} if others else {})
        | {f"accuracy/{code}": value for code, value in own.items()}
    )


def masked(left: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    """Translations without the words and numbers that both have: names and digits no longer anchor them."""
    sides: tuple[list[str], list[str]] = ([], [])
    for pair in zip(left, right, strict=True):
        words = [split_words(text) for text in pair]
        for side, own, other in ((0, words[0], words[1]), (1, words[1], words[0])):
            sides[side].append(" ".join(word for word in own if word not in other) or "?")
    return sides


def neighbours(vectors_ND: Tensor, column: Column, window: int) -> float:
    """Mean reciprocal rank, among at most `MOST` sentences of a language, of the best-placed one of the window."""
    units_ND = normalize(vectors_ND[:MOST].double(), dim=1)
    return _reciprocal_rank((units_ND @ units_ND.T).round(decimals=6), _near(column, window))


def _reciprocal_rank(scores_NN: Tensor, near_NN: Tensor) -> float:
    scores_NN = scores_NN.clone().fill_diagonal_(-math.inf)
    asked_N = near_NN.any(1)
    best_N1 = scores_NN.masked_fill(~near_NN, -math.inf).amax(1, keepdim=True)
    rank_N = 1 + ((scores_NN >= best_N1) & ~near_NN & scores_NN.isfinite()).sum(1)
    return float((1 / rank_N[asked_N].double()).mean())


def geometry_of(vectors: Mapping[str, Tensor], columns: Mapping[str, Column]) -> Measures:
    """Rank and mean cosine of all vectors, how far the languages' centroids stand apart, and the probe of languages."""
    every = torch.cat(list(vectors.values()))
    units = normalize(every.double(), dim=1)
    count = len(units)
    found: Measures = {
        "effective_rank": effective_rank(units, centred=True),
        "mean_cosine": float((units.sum(0).square().sum() - count) / (count * (count - 1))),
    }
    if len(vectors) > 1:
        gaps = [modality_gap(vectors[one], vectors[other]) for one, other in combinations(vectors, 2)]
        found["centroid_distance"] = sum(gaps) / len(gaps)
        even = {code: columns[code].positions()[0] % 2 == 0 for code in vectors}
        found["language_probe"] = language_probe(vectors, even)
    return found


def language_probe(vectors: Mapping[str, Tensor], even: Mapping[str, Tensor]) -> float:
    """How well a linear probe tells the languages of unit vectors, fitted on the even ones and read on the rest."""
    units_ND = torch.cat([normalize(rows.double(), dim=1) for rows in vectors.values()])
    label_N = torch.cat([torch.full((len(rows),), number) for number, rows in enumerate(vectors.values())])
    even_N = torch.cat([even[code] for code in vectors])
    weights, bias = fit_logistic(units_ND[even_N], label_N[even_N], l2=1e-2)
    answers = (units_ND[~even_N] @ weights.T + bias).argmax(1)
    return float((answers == label_N[~even_N]).double().mean())


def languages_of(pairs: PairsOfTexts, pivot: str) -> dict[str, list[str]]:
    """The different texts of each language in pairs of translations.

    The pivot's, which every pair has, are thinned evenly to about as many as a pair holds.
    """
    found: dict[str, list[str]] = {}
    for codes, sides in pairs.items():
        for code, side in zip(codes, sides, strict=True):
            found.setdefault(code, []).extend(side)
    every = max(1, len([codes for codes in pairs if pivot in codes]))
    return {code: list(dict.fromkeys(texts))[:: every if code == pivot else 1] for code, texts in sorted(found.items())}


class GramTfIdf:
    """The floor: letter n-grams up to four, counts times ln((1 + n) / (1 + df)) + 1, as sparse unit vectors."""

    buckets = 2**18

    def __init__(self, texts: Sequence[str]) -> None:
        counts = self._counts(texts)
        self.known: dict[tuple[str, ...], sparse.csr_matrix] = {}
        self.idf = np.log((1 + len(texts)) / (1 + np.asarray((counts > 0).sum(0)).ravel())) + 1

    def scores(
        self, left: Sequence[str], right: Sequence[str], around: tuple[np.ndarray, np.ndarray] | None = None
    ) -> Tensor:
        """Cosines, `(N, M)`; `around`: of what is left of each side's vectors behind its language's mean."""
        first, second = self._weighted(tuple(left)), self._weighted(tuple(right))
        found = (first @ second.T).toarray()
        if around is not None:
            mine, theirs = around
            along = [vectors @ mean for vectors, mean in zip((first, second), around, strict=True)]
            found -= (first @ theirs)[:, None] + second @ mine - mine @ theirs
            # |x - m|^2 of unit vectors; a text of no known n-gram is all zeros
            lengths = [
                np.sqrt(np.asarray(vectors.multiply(vectors).sum(1)).ravel() - 2 * dots + mean @ mean)
                for vectors, dots, mean in zip((first, second), along, around, strict=True)
            ]
            found /= np.maximum(lengths[0][:, None] * lengths[1], 1e-9)
        return torch.from_numpy(found.round(6))

    def mean(self, texts: Sequence[str]) -> np.ndarray:
        """The mean vector of some texts."""
        return np.asarray(self._weighted(tuple(texts)).mean(0)).ravel()

    def _weighted(self, texts: tuple[str, ...]) -> sparse.csr_matrix:
        if texts not in self.known:
            weighted = self._counts(texts).multiply(self.idf).tocsr()
            lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)))
            self.known[texts] = weighted.multiply(1 / np.where(lengths > 0, lengths, 1)).tocsr()
        return self.known[texts]

    def _counts(self, texts: Sequence[str]) -> sparse.csr_matrix:
        rows: list[int] = []
        columns: list[int] = []
        for row, text in enumerate(texts):
            places = [place for word in text.split() for place in _places(word, self.buckets)]
            rows += [row] * len(places)
            columns += places
        return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), self.buckets))


@lru_cache(maxsize=100_000)
def _places(word: str, buckets: int) -> tuple[int, ...]:
    return tuple(bucket(gram, buckets) for gram in ngrams(word, 4))


def length_scores(left: Sequence[str], right: Sequence[str]) -> Tensor:
    """The floor of floors: how near the numbers of letters are, `(N, M)`."""
    sides = [torch.tensor([len(text) for text in texts]).double() for texts in (left, right)]
    return -(sides[0][:, None].log() - sides[1].log()).abs()


def neighbours_by(scores: Callable[[Sequence[str], Sequence[str]], Tensor], column: Column, window: int) -> float:
    """`neighbours`, by scores of texts with each other."""
    texts = column.texts[:MOST]
    return _reciprocal_rank(scores(texts, texts), _near(column, window))


def words_in_common(left: Sequence[str], right: Sequence[str]) -> Tensor:
    """Jaccard's likeness of each two texts, `(N, M)`."""
    return torch.from_numpy(jaccards(left, right).round(6))


def _near(column: Column, window: int) -> Tensor:
    """Which of the first sentences stand in each other's window."""
    document_N, place_N = (numbers[:MOST] for numbers in column.positions())
    near_NN = (document_N[:, None] == document_N) & ((place_N[:, None] - place_N).abs() <= window)
    return near_NN.fill_diagonal_(False)
