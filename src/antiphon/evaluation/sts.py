"""Semantic textual similarity: do cosines rank pairs of sentences as people do, and by more than the words in common?

Spearman's rank correlation of cosines and scores, over all pairs of a set at once (the "all" setting of SimCSE, arXiv
2104.08821, appendix B), which is what most papers since report.

Axes: N pairs, D width.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from jaxtyping import Float
from scipy.stats import rankdata, spearmanr
from torch import Tensor
from torch.nn.functional import cosine_similarity

from antiphon.data.pairs import Pairs, load
from antiphon.decode import split_words
from antiphon.evaluation.floors import jaccard, length_ratio, tfidf_cosines
from antiphon.runs import Measures

Embed = Callable[[Sequence[str]], Tensor]
"""Unit vectors of texts."""

_NEGATION = re.compile(r"\b(?:no|not|nobody|nothing)\b|n['\u2019]t\b", re.IGNORECASE)


def scored_pairs(task: str, split: str, limit: int | None = None) -> Pairs:
    """A set of the source `sts`, as a recipe's config names it."""
    options = {"task": task, "split": split}
    return Pairs(source="sts", options=options, columns=("text_1", "text_2"), limit=limit)


def scored_sets(dev: Sequence[Pairs], test: Sequence[Pairs]) -> dict[str, Dataset]:
    """The rows of scored pairs by `split/set`, as `similarities` takes them.

    Pairs of dev that a test set has too, but for case and signs, are left out: STS-B was put together from the sets of
    STS 2012 to 2017, and 405 of its 885 pairs of dev stand in those that recipes are measured on.
    """
    asked = {_set_name(pairs): load(pairs) for pairs in test}
    known = {pair for rows in asked.values() for pair in _unordered(rows)}
    sets = {}
    for pairs in dev:
        rows = load(pairs)
        sets[f"dev/{_set_name(pairs)}"] = rows.select(
            [at for at, pair in enumerate(_unordered(rows)) if pair not in known]
        )
    return sets | {f"test/{name}": rows for name, rows in asked.items()}


def sts(first_ND: Float[Tensor, "n d"], second_ND: Float[Tensor, "n d"], scores: Sequence[float]) -> float:
    """Spearman's correlation of cosines with scores, -1 to 1 (papers print it times 100).

    Raises:
        ValueError: fewer than three pairs, numbers that differ, or cosines or scores that are all alike.
    """
    if len(first_ND) != len(scores) or len(second_ND) != len(scores):
        raise ValueError(f"{len(first_ND)} and {len(second_ND)} vectors for {len(scores)} scores: wanted as many")
    return _spearman(cosine_similarity(first_ND.double(), second_ND.double(), dim=1).tolist(), scores)


def sts_floors(first: Sequence[str], second: Sequence[str], scores: Sequence[float]) -> Measures:
    """The same of what words alone tell: `jaccard`, `tfidf`, `length` (the ratio of lengths)."""
    pairs = list(zip(first, second, strict=True))
    return {
        "jaccard": _spearman([jaccard(a, b) for a, b in pairs], scores),
        "tfidf": _spearman(tfidf_cosines(first, second).tolist(), scores),
        "length": _spearman([length_ratio(a, b) for a, b in pairs], scores),
    }


def similarity(embed: Embed, rows: Any) -> Measures:
    """`sts` of scored pairs; `partial`, with what Jaccard tells taken off; `order` where relations are known.

    `order` is the chance that an entailment is nearer than a contradiction, which words in common get wrong in SICK.
    `sts_balanced` and `order_balanced` are the same of the pairs with as many words of negation on both sides, where
    they can be had: in SICK a "no" on one side mostly tells a contradiction, and a detector of it needs no meaning.

    Args:
        embed: unit vectors of texts.
        rows: of the source `sts`: `text_1`, `text_2`, `score`, and `relation`.
    """
    left, right = embed(list(rows["text_1"])), embed(list(rows["text_2"]))
    cosines, scores = (left * right).sum(1).tolist(), list(rows["score"])
    found = {"sts": sts(left, right, scores), "partial": partial_spearman(cosines, scores, _overlap(rows))}
    if _related(rows):
        found["order"] = above(cosines, list(rows["relation"]))
    places = balanced(rows)
    even = rows.select(places)
    if len(places) > 2 and len(set(even["score"])) > 1:
        found["sts_balanced"] = sts(left[places], right[places], list(even["score"]))
        if _related(even):
            found["order_balanced"] = above([cosines[at] for at in places], list(even["relation"]))
    return found


def balanced(rows: Any) -> list[int]:
    """The places of pairs with as many of no, not, nobody, nothing and n't in one text as in the other."""
    sides = ([negations(text) for text in rows[side]] for side in ("text_1", "text_2"))
    return [at for at, (left, right) in enumerate(zip(*sides, strict=True)) if left == right]


def negations(text: str) -> int:
    """How many words of negation a text has: no, not, nobody, nothing, and those that end in n't."""
    return len(_NEGATION.findall(text))


def similarities(embed: Embed, sets: Mapping[str, Any]) -> Measures:
    """`similarity` of several sets, as `split/set/key`, and the means over a split's sets, as `split/key`.

    Args:
        embed: unit vectors of texts.
        sets: rows by `split/set`: "test/sts2013".
    """
    return _with_means(
        {f"{name}/{key}": value for name, rows in sets.items() for key, value in similarity(embed, rows).items()}
    )


def word_floors(sets: Mapping[str, Any]) -> Measures:
    """The same of words alone: `jaccard/split/set/sts` and so on, for `jaccard`, `tfidf` and `length`.

    `negation/split/set/order` is what a detector of negation would reach, that takes pairs for contradictions where the
    two sides have not as many of its words.
    """
    kinds: dict[str, Measures] = {}
    for name, rows in sets.items():
        even = rows.select(balanced(rows))
        for suffix, part in (("", rows), ("_balanced", even)):
            if len(part) < 3 or len(set(part["score"])) < 2:
                continue
            floors = sts_floors(list(part["text_1"]), list(part["text_2"]), list(part["score"]))
            for kind, value in floors.items():
                kinds.setdefault(kind, {})[f"{name}/sts{suffix}"] = value
            if _related(part):
                kinds["jaccard"][f"{name}/order{suffix}"] = above(_overlap(part), list(part["relation"]))
        if _related(rows):
            told = [-abs(negations(a) - negations(b)) for a, b in zip(rows["text_1"], rows["text_2"], strict=True)]
            kinds.setdefault("negation", {})[f"{name}/order"] = above(told, list(rows["relation"]))
    return {f"{kind}/{key}": value for kind, found in kinds.items() for key, value in _with_means(found).items()}


def above(values: Sequence[float], relations: Sequence[str]) -> float:
    """The chance that a value of an ENTAILMENT is above one of a CONTRADICTION (ties count half)."""
    named = {name: [v for v, r in zip(values, relations, strict=True) if r == name] for name in set(relations)}
    high, low = named["ENTAILMENT"], named["CONTRADICTION"]
    ranks = rankdata([*high, *low])[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def partial_spearman(found: Sequence[float], scores: Sequence[float], given: Sequence[float]) -> float:
    """Spearman's correlation of the first two with the third's part taken off; 0 for what only repeats the third."""
    a, b, c = (float(spearmanr(x, y).statistic) for x, y in ((found, scores), (found, given), (scores, given)))
    return (a - b * c) / math.sqrt(max((1 - b * b) * (1 - c * c), 1e-12))


def _set_name(pairs: Pairs) -> str:
    return str(pairs.options.get("task", pairs.source))


def _unordered(rows: Any) -> list[frozenset[str]]:
    sides = ([" ".join(split_words(text)) for text in rows[side]] for side in ("text_1", "text_2"))
    return [frozenset(pair) for pair in zip(*sides, strict=True)]


def _with_means(found: Measures) -> Measures:
    several: dict[str, list[float]] = {}
    for name, value in found.items():
        split, _, key = name.split("/")
        several.setdefault(f"{split}/{key}", []).append(value)
    return found | {name: sum(values) / len(values) for name, values in several.items()}


def _overlap(rows: Any) -> list[float]:
    return [jaccard(first, second) for first, second in zip(rows["text_1"], rows["text_2"], strict=True)]


def _related(rows: Any) -> bool:
    return "relation" in rows.column_names and {"ENTAILMENT", "CONTRADICTION"} <= set(rows["relation"])


def _spearman(found: Sequence[float], scores: Sequence[float]) -> float:
    if len(found) < 3 or len(set(scores)) < 2 or max(found) - min(found) < 1e-12:
        raise ValueError(
            f"{len(found)} pairs, {len(set(scores))} different scores, similarities from {min(found, default=0):g} to "
            f"{max(found, default=0):g}: a rank correlation wants three pairs or more that differ in both"
        )
    return float(spearmanr(found, scores).statistic)
