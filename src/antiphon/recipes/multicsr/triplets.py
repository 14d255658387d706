"""Triplets of a sentence, what says the same and what contradicts it: written, scored, kept, and described.

A triplet is kept iff score+ >= high, score- <= low and score+ != score-; where score- > score+ the two change places
first, and a score that is no number drops it (the released `flan_filter.py`, preset 15, with high = low = 3: verified).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from antiphon.decode import split_words
from antiphon.evaluation.floors import jaccard
from antiphon.generation.written import Writer, Writing, Written, score_all, write_all
from antiphon.recipes.multicsr.prompts import ALIKE, CONTRARY, SAME
from antiphon.runs import Measures

Source = Literal["none", "plain", "contrastive"]
Curation = Literal["none", "scored", "random"]

NEGATIONS = frozenset({"no", "not", "nobody", "none", "never", "nothing", "nor", "neither", "cannot"})


@dataclass(frozen=True)
class Triplet:
    """A sentence, and what was written about it."""

    text: str
    same: str
    contrary: str
    score_same: float | None = None
    score_contrary: float | None = None


def write(
    texts: Sequence[str], source: Source, writer: Writer, kept: Written, cfg: Writing,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Triplet]:  # fmt: skip
    """A triplet of each text that something was written about, in their order.

    Args:
        texts: sentences.
        source: "plain" writes by the instruction alone; "contrastive" against the opposite one (`cfg.weight`).
        writer: who writes.
        kept: where it is kept.
        cfg: how.
        progress: called with how many were written, of twice as many as there are texts.
    """
    how = cfg if source == "contrastive" else cfg.but(weight=0.0)
    sides = [
        write_all(kept, writer, prompt, opposite, texts, how, progress=progress)
        for prompt, opposite in ((SAME, CONTRARY), (CONTRARY, SAME))
    ]
    found = [Triplet(*parts) for parts in zip(texts, *sides, strict=True)]
    return [one for one in found if one.same and one.contrary]


def score(
    triplets: Sequence[Triplet], writer: Writer, kept: Written, progress: Callable[[int], None] = lambda _: None
) -> list[Triplet]:
    """The same with the writer's own scores of how alike the text and each of the two are."""
    said = [[(one.text, one.same) for one in triplets], [(one.text, one.contrary) for one in triplets]]
    sides = [score_all(kept, writer, ALIKE, pairs, progress=progress) for pairs in said]
    return [replace(one, score_same=a, score_contrary=b) for one, a, b in zip(triplets, *sides, strict=True)]


def swapped(triplets: Sequence[Triplet]) -> list[Triplet]:
    """The likelier one of each pair as what says the same; triplets without two scores are dropped."""
    found = []
    for one in triplets:
        if one.score_same is None or one.score_contrary is None:
            continue
        turn = one.score_contrary > one.score_same
        found.append(Triplet(one.text, one.contrary, one.same, one.score_contrary, one.score_same) if turn else one)
    return found


def bounds_of(triplets: Sequence[Triplet], share: float) -> tuple[float, float]:
    """high and low by quantile, for a model whose scores mean little in themselves.

    Args:
        triplets: scored, and swapped.
        share: of score+ that are high enough, and of score- that are low enough.
    """
    same = [one.score_same for one in triplets if one.score_same is not None]
    contrary = [one.score_contrary for one in triplets if one.score_contrary is not None]
    if not same or not contrary:
        return 0.0, 0.0
    return float(np.quantile(same, 1 - share)), float(np.quantile(contrary, share))


def curated(triplets: Sequence[Triplet], high: float, low: float) -> list[Triplet]:
    """Those of the swapped triplets that the rule keeps."""
    return [
        one
        for one in triplets
        if one.score_same is not None
        and one.score_contrary is not None
        and one.score_same >= high
        and one.score_contrary <= low
        and one.score_same != one.score_contrary
    ]


def at_random(triplets: Sequence[Triplet], count: int, seed: int) -> list[Triplet]:
    """So many of them, in their order: the control of curation."""
    places = sorted(random.Random(f"{seed}/random").sample(range(len(triplets)), count))
    return [triplets[at] for at in places]


def described(triplets: Sequence[Triplet], asked: int) -> Measures:
    """What was written, as shares of the triplets, and Jaccard's likeness of words with the text.

    Args:
        triplets: all that something was written in.
        asked: of how many sentences.
    """
    found = {
        "written": len(triplets) / asked,
        "copied": _mean([split_words(one.text) == split_words(one.same) for one in triplets]),
        "copied_contrary": _mean([split_words(one.text) == split_words(one.contrary) for one in triplets]),
        "jaccard_same": _mean([jaccard(one.text, one.same) for one in triplets]),
        "jaccard_contrary": _mean([jaccard(one.text, one.contrary) for one in triplets]),
        "negated": _mean([_negated(one.contrary) and not _negated(one.text) for one in triplets]),
    }
    return {f"quality/{name}": value for name, value in found.items()}


def mixed(triplets: Sequence[Triplet]) -> list[Triplet]:
    """Each text with what was written about the next one: what words strangers have in common."""
    turned = [*triplets[1:], *triplets[:1]]
    return [replace(one, same=other.same, contrary=other.contrary) for one, other in zip(triplets, turned, strict=True)]


def without(texts: Sequence[str], sets: Mapping[str, object]) -> list[str]:
    """Texts that are in none of the sets of scored pairs, in the same words."""
    known = {
        tuple(split_words(text)) for rows in sets.values() for side in ("text_1", "text_2") for text in rows[side]  # type: ignore[index]
    }  # fmt: skip
    return [text for text in texts if tuple(split_words(text)) not in known]


def _negated(text: str) -> bool:
    return bool(NEGATIONS & set(split_words(text))) or "n't" in text.lower()


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if values else 0.0
