"""What SPACE-2's vectors are worth: do turns lie as near as their trees are alike, and are intents told from few?

Every number is taken of vectors by a function from texts to rows of a matrix, dense or sparse, so that a space, words
alone and a published encoder are measured alike.

Axes: N turns or utterances, D width, C intents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from scipy.stats import spearmanr
from torch import Tensor

from antiphon.config import Config
from antiphon.data.pairs import Pairs, load
from antiphon.errors import UserError
from antiphon.evaluation.floors import jaccards
from antiphon.evaluation.geometry import effective_rank
from antiphon.evaluation.probe import fit_logistic
from antiphon.recipes.space2.rows import drawn
from antiphon.recipes.space2.trees import VIEWS, TreeCodes, combined_scores, view_scores
from antiphon.runs import Measures

Matrix = Any
"""An array or a CSR matrix of N rows."""
Embed = Callable[[Sequence[str]], Matrix]
"""Texts to vectors, of length one or zero."""
DRAWS = 5


class Asked(Config):
    """A set of utterances with intents, which pre-training never sees."""

    name: str
    data: Pairs
    test: Pairs | None = None
    """Where the set has a test file of its own; without, a fifth of each intent is kept for testing."""
    classes: str = "intent"


@dataclass(frozen=True)
class Intents:
    """Utterances, numbered intents, and which are examples, which are asked about in dev and in test."""

    texts: list[str]
    labels: np.ndarray
    places: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Turns:
    """Held-out turns, what their trees share, and which pairs count: those of different dialogs."""

    texts: list[str]
    plain: list[str]
    shared: np.ndarray
    by_view: np.ndarray
    combined: np.ndarray
    counts: np.ndarray


def read_intents(asked: Asked) -> Intents:
    """A tenth of each intent's examples is for dev; which rows are for what does not depend on the run's seed.

    Raises:
        UserError: a column that the source has not.
    """
    parts = {"pool": load(asked.data)} | ({"test": load(asked.test)} if asked.test else {})
    for rows in parts.values():
        if asked.classes not in rows.column_names:
            raise UserError(f"{asked.name}: no column {asked.classes}, the rows have {', '.join(rows.column_names)}")
    names = sorted(set(parts["pool"][asked.classes]))
    read = {part: rows.select_columns([asked.data.columns[0], asked.classes])[:] for part, rows in parts.items()}
    texts = [text for rows in read.values() for text in rows[asked.data.columns[0]]]
    labels = np.array([names.index(name) for rows in read.values() for name in rows[asked.classes]])
    examples = len(parts["pool"])
    order, sides = np.random.default_rng(0).permutation(examples), {"dev": 0.1, "test": 0.0 if asked.test else 0.2}
    places: dict[str, list[int]] = {"dev": [], "test": list(range(examples, len(texts))), "pool": []}
    for label in range(len(names)):
        own = order[labels[order] == label].tolist()
        dev, test = (round(share * len(own)) for share in sides.values())
        places["dev"] += own[:dev]
        places["test"] += own[dev : dev + test]
        places["pool"] += own[dev + test :]
    return Intents(texts, labels, {name: np.array(sorted(found)) for name, found in places.items()})


def intent_scores(embed: Embed, intents: Intents, *, shots: Sequence[int], seed: int, l2: float | None) -> Measures:
    """Accuracies on dev and test: by the nearest centroid of a few examples (mean of five draws) and of all of them.

    And by logistic regression on the most examples of `shots` (the first draw; not where `l2` is None).

    Raises:
        UserError: an intent has fewer examples than the most of `shots`.
    """
    vectors, labels, found = embed(intents.texts), intents.labels, dict[str, list[float]]()
    for name, chosen in _examples(intents, shots, seed):
        _add(found, name, intents, _by_centroid(vectors, chosen, labels))
        logistic = f"logistic/{max(shots)}"
        if l2 is not None and name == f"few_shot/{max(shots)}" and f"dev/{logistic}" not in found:
            _add(found, logistic, intents, _by_logistic(vectors, chosen, labels, l2))
    return {name: sum(values) / len(values) for name, values in found.items()}


def words_scores(intents: Intents, *, shots: Sequence[int], seed: int) -> Measures:
    """The same by words in common: of the intent whose examples' Jaccard indices have the highest mean."""
    found = dict[str, list[float]]()
    for name, chosen in _examples(intents, shots, seed):
        _add(found, name, intents, _by_words(intents.texts, chosen, intents.labels))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _examples(intents: Intents, shots: Sequence[int], seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """What is measured, and the places of the examples for it."""
    pool, labels = intents.places["pool"], intents.labels
    fewest = np.bincount(labels[pool]).min()
    if fewest < max(shots):
        raise UserError(f"shots={list(shots)}: an intent has {fewest} examples; ask for fewer")
    generator = np.random.default_rng(seed)
    for _ in range(DRAWS):
        order = generator.permutation(pool)
        for number in shots:
            chosen = np.concatenate([order[labels[order] == label][:number] for label in np.unique(labels)])
            yield f"few_shot/{number}", chosen
    yield "full/centroid", pool


def read_turns(rows: Sequence[Mapping[str, Any]], most: int, seed: int) -> Turns:
    """So many of the rows, by chance, and what their trees share."""
    chosen = drawn(rows, most, seed)
    codes = TreeCodes([row["tree"] for row in chosen])
    matrix = codes.matrix([row["tree"] for row in chosen])
    by_view = np.stack([each.toarray() for each in view_scores(matrix, codes.starts)]).astype(np.float32)
    dialogs = np.array([str(row["dialog"]) for row in chosen])
    return Turns(
        texts=[row["text"] for row in chosen],
        plain=[row["plain"] for row in chosen],
        shared=by_view.mean(0),
        by_view=by_view,
        combined=combined_scores(matrix, codes.starts).numpy(),
        counts=dialogs[:, None] != dialogs[None, :],
    )


def tree_scores(vectors: Matrix, turns: Turns) -> Measures:
    """Spearman's correlation of cosines with the mean over views of what trees share (`spearman`), with each view's
    and with the combined score; and nDCG of ranking all others, at 10 and over all, the mean share being the gain.
    """
    return ranking_scores(_dense(vectors @ vectors.T), turns)


def ranking_scores(cosines: np.ndarray, turns: Turns) -> Measures:
    """`tree_scores` of any likeness of every two turns."""
    upper = np.triu(turns.counts, 1)
    found = {"spearman": _spearman(cosines[upper], turns.shared[upper])}
    found["spearman_combined"] = _spearman(cosines[upper], turns.combined[upper])
    found |= {
        f"spearman_{view}": _spearman(cosines[upper], of_view[upper])
        for view, of_view in zip(VIEWS, turns.by_view, strict=True)
    }
    for name, most in (("ndcg_10", 10), ("ndcg", len(cosines))):
        found[name] = ndcg(cosines, turns.shared, turns.counts, most)
    return found


def ndcg(scores: np.ndarray, gains: np.ndarray, counts: np.ndarray, most: int) -> float:
    """Normalised discounted cumulative gain at `most`, the mean over rows that have any gain.

    Ties count against the ranking. Järvelin and Kekäläinen 2002, with linear gains.

    Args:
        scores: of every two rows.
        gains: what a pair is worth, >= 0.
        counts: True where a pair is ranked.
        most: ranks that count.
    """
    found = []
    for row, gain, ranked in zip(scores, gains, counts, strict=True):
        row, gain = row[ranked], gain[ranked]
        discounts = 1 / np.log2(2 + np.arange(min(most, len(gain))))
        best = (np.sort(gain)[::-1][:most] * discounts).sum()
        if best > 0:
            found.append((gain[np.lexsort((gain, -row))][:most] * discounts).sum() / best)
    return float(np.mean(found)) if found else 0.0


def bins(cosines: np.ndarray, turns: Turns, count: int = 8) -> list[tuple[float, float]]:
    """Mean cosine of pairs by how much their trees share, in equal bins that hold any."""
    upper = np.triu(turns.counts, 1)
    shared, values = turns.shared[upper], cosines[upper]
    place = np.minimum((shared * count).astype(int), count - 1)
    return [
        (float(shared[place == at].mean()), float(values[place == at].mean()))
        for at in range(count)
        if (place == at).any()
    ]


def projected(views: Float[Tensor, "n v p"], turns: Turns) -> list[list[float]]:
    """Spearman's correlation of each projection's cosines (rows) with each view's scores (columns)."""
    upper = np.triu(turns.counts, 1)
    return [
        [_spearman((of @ of.T).numpy()[upper], scores[upper]) for scores in turns.by_view]
        for of in torch.nn.functional.normalize(views, dim=2).unbind(1)
    ]


def ranks(views: Float[Tensor, "n v p"], vectors: np.ndarray) -> Measures:
    """Effective ranks of each projection, `rank/D`, and of h, `rank/h`: few directions are a collapse."""
    found = {f"rank/{view}": each for view, each in zip(VIEWS, views.unbind(1), strict=True)}
    return {
        name: effective_rank(each, centred=True)
        for name, each in (found | {"rank/h": torch.from_numpy(vectors)}).items()
    }


def means(by_set: Mapping[str, Measures]) -> Measures:
    """Each set's numbers, `test/banking77/few_shot/5`, and their mean, `test/few_shot/5`."""
    found: dict[str, list[float]] = {}
    for name, measures in by_set.items():
        for key, value in measures.items():
            side, what = key.split("/", 1)
            found.setdefault(key, []).append(value)
            found[f"{side}/{name}/{what}"] = [value]
    return {key: sum(values) / len(values) for key, values in found.items()}


def _spearman(found: np.ndarray, wanted: np.ndarray) -> float:
    """0 where either is constant: nothing is told."""
    if len(found) < 3 or np.ptp(found) < 1e-12 or np.ptp(wanted) == 0:
        return 0.0
    return float(spearmanr(found, wanted).statistic)


def _by_centroid(vectors: Matrix, chosen: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    counts = np.bincount(labels[chosen])
    mean = sparse.csr_matrix(
        (1 / counts[labels[chosen]], (labels[chosen], chosen)), shape=(len(counts), vectors.shape[0])
    )
    centroids = _dense(mean @ vectors)
    centroids = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return lambda places: (vectors[places] @ centroids.T).argmax(1)


def _by_words(texts: Sequence[str], chosen: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    counts = np.bincount(labels[chosen])
    mean = sparse.csr_matrix(
        (1 / counts[labels[chosen]], (np.arange(len(chosen)), labels[chosen])), shape=(len(chosen), len(counts))
    )
    examples = [texts[at] for at in chosen]

    def answer(places: np.ndarray) -> np.ndarray:
        parts = np.array_split(places, range(500, len(places), 500))  # all with all would be half a gigabyte
        return np.concatenate([(jaccards([texts[at] for at in part], examples) @ mean).argmax(1) for part in parts])

    return answer


def _by_logistic(
    vectors: Matrix, chosen: np.ndarray, labels: np.ndarray, l2: float
) -> Callable[[np.ndarray], np.ndarray]:
    examples = torch.from_numpy(_dense(vectors[chosen]))
    weights, bias = fit_logistic(examples, torch.from_numpy(labels[chosen]), l2=l2)
    return lambda places: (vectors[places] @ weights.numpy().T + bias.numpy()).argmax(1)


def _add(
    found: dict[str, list[float]], name: str, intents: Intents, answer: Callable[[np.ndarray], np.ndarray]
) -> None:
    for side in ("dev", "test"):
        places = intents.places[side]
        right = np.asarray(answer(places)).ravel() == intents.labels[places]
        found.setdefault(f"{side}/{name}", []).append(float(right.mean()))


def _dense(matrix: Matrix) -> np.ndarray:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
