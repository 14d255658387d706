"""Which sentence is drawn as another's positive or hard negative: our specification of the published idea.

sem is the cosine of a frozen guide g, surf half ROUGE-L's F1 and half the ratio of lengths. A naive rule finds what
looks alike, so its propensity is e+ = surf, and of a random negative e- = 1 - surf, both no less than `least`:

    w+(c) = 1[sem >= alpha] sem / e+        w-(c) = 1[sem <= beta] (1 - sem) / e-

Weights are cut at a percentile of theirs (the 95th) and divided by their sum (self-normalised inverse propensity
weights).

Axes: N texts, D width of the guide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.data.augment.text import crop_words, drop_words, repeat_words, swap_spans
from antiphon.decode import split_words
from antiphon.evaluation.floors import TfIdf, length_ratio

Positives = Literal["copy", "neighbours", "surface", "semantic", "weighted"]
Negatives = Literal["none", "surface", "semantic", "weighted"]
Chances = tuple[list[int], list[float]]
"""Places in a pool, and how likely each is: they sum to one, or there is no place at all."""

CHANGES: dict[str, Callable[[str, torch.Generator], str]] = {
    "repetition": partial(repeat_words, chance=0.2),
    "deletion": partial(drop_words, chance=0.2),
    "reorder": partial(swap_spans, share=0.2),
    "crop": lambda text, generator: crop_words(text, generator, most=max(1, round(0.7 * len(text.split())))),
    "template": lambda text, generator: f"that is to say, {text}",
}
"""What makes a positive out of the text itself."""


class Surface:
    """surf of one text and others, in [0, 1].

    Args:
        text: the one.
    """

    def __init__(self, text: str) -> None:
        self.text, self.words = text, split_words(text)
        self.places: dict[str, int] = {}
        for at, word in enumerate(self.words):
            self.places[word] = self.places.get(word, 0) | 1 << at

    def __call__(self, other: str) -> float:
        """surf: 1 for the same words in the same order."""
        words = split_words(other)
        f1 = 2 * self.common(words) / (len(self.words) + len(words)) if self.words and words else 0.0
        return 0.5 * f1 + 0.5 * length_ratio(self.text, other)

    def common(self, words: Sequence[str]) -> int:
        """The length of the longest common subsequence, a bit for each word (Hyyro 2004)."""
        rest = every = (1 << len(self.words)) - 1
        for word in words:
            met = rest & self.places.get(word, 0)
            rest = ((rest + met) | (rest - met)) & every
        return len(self.words) - rest.bit_count()


@dataclass(frozen=True)
class Pool:
    """All texts that may be drawn, the corpus first.

    Attributes:
        texts: the corpus, then what was made of it.
        origin: of each text the place in the corpus that it was made of; its own, for the corpus.
    """

    texts: list[str]
    origin: list[int]

    @property
    def corpus(self) -> int:
        """How many texts the corpus has."""
        return self.origin[-1] + 1 if self.origin else 0


def pool_of(corpus: Sequence[str], seed: int) -> Pool:
    """Each text of a corpus, and what every one of `CHANGES` makes of it."""
    texts, origin = list(corpus), list(range(len(corpus)))
    for at, text in enumerate(corpus):
        for number, change in enumerate(CHANGES.values()):
            made = change(text, torch.Generator().manual_seed(seed * 1_000_003 + at * len(CHANGES) + number))
            texts.append(made or text)
            origin.append(at)
    return Pool(texts, origin)


@dataclass(frozen=True)
class Draws:
    """What each text of the corpus draws from."""

    positives: list[Chances]
    negatives: list[Chances]


@dataclass(frozen=True)
class Candidates:
    """Of each text of the corpus its candidates' places, and how alike they look; sem comes from the guide."""

    positives: list[list[int]]
    negatives: list[list[int]]
    surface: list[dict[int, float]]


def candidates_of(pool: Pool, guide_ND: Float[Tensor, "n d"], *, near: int, seed: int) -> Candidates:
    """A copy, what was made of the text, and the `near` nearest by sem; as negatives those by surf, and as many random.

    Args:
        pool: N texts.
        guide_ND: unit vectors of the pool.
        near: K.
        seed: of the random ones.
    """
    count, generator = pool.corpus, torch.Generator().manual_seed(seed)
    unit = guide_ND[:count]
    nearest = [
        row.topk(min(near + 1, count)).indices.tolist() for part in torch.split(unit, 512) for row in part @ unit.T
    ]
    words = TfIdf(pool.texts[:count])(pool.texts[:count])
    own: list[list[int]] = [[] for _ in range(count)]
    for place, origin in enumerate(pool.origin):
        own[origin].append(place)
    positives, negatives, surfaces = [], [], []
    for at in range(count):
        surf = Surface(pool.texts[at])
        overlap = np.asarray((words[at] @ words.T).todense()).ravel()
        overlap[at] = -1
        likely = np.argsort(-overlap, kind="stable")[: 3 * near].tolist()
        alike = sorted(likely, key=lambda place: -surf(pool.texts[place]))[:near]
        others = torch.randint(count, (near,), generator=generator).tolist()
        positives.append([*own[at], *(place for place in nearest[at] if place != at)])
        negatives.append(sorted({*alike, *others} - {at}))
        surfaces.append({place: surf(pool.texts[place]) for place in {*positives[-1], *negatives[-1]}})
    return Candidates(positives, negatives, surfaces)


def thresholds(guide_ND: Float[Tensor, "n d"], alpha: float, beta: float, *, seed: int) -> tuple[float, float]:
    """The cosines below which shares `alpha` and `beta` of random pairs lie."""
    first, second = torch.randint(len(guide_ND), (2, 20_000), generator=torch.Generator().manual_seed(seed))
    cosines = (guide_ND[first] * guide_ND[second]).sum(1)[first != second]
    return float(cosines.quantile(alpha)), float(cosines.quantile(beta))


def draws_of(
    positives: Positives,
    negatives: Negatives,
    pool: Pool,
    found: Candidates,
    guide_ND: Float[Tensor, "n d"],
    bounds: tuple[float, float],
    *,
    least: float,
    cut: float | None,
) -> Draws:
    """Chances of the candidates, under a rule for each side.

    Args:
        positives: copy: the text itself, as SimCSE has it; neighbours: one of the nearest by sem, evenly; surface: by
            1 / e alone; semantic: by sem alone; weighted: by w.
        negatives: none, or as above.
        pool: as the candidates'.
        found: of the corpus.
        guide_ND: as `candidates_of`.
        bounds: alpha and beta, as cosines.
        least: of a propensity.
        cut: the quantile of the weights that the highest are cut at; None leaves them.
    """

    def by_weight(rule: str, side: str, places_of: list[list[int]]) -> list[Chances]:
        weights = [
            [_weight(rule, side, float(guide_ND[at] @ guide_ND[place]), found.surface[at][place], bounds, least)
             for place in places]
            for at, places in enumerate(places_of)
        ]  # fmt: skip
        every = [weight for row in weights for weight in row if weight > 0]
        top = float(np.quantile(every, cut)) if every and cut is not None else float("inf")
        return [_chances(places, [min(w, top) for w in row]) for places, row in zip(places_of, weights, strict=True)]

    if positives in ("copy", "neighbours"):
        drawn = [
            _evenly([at] if positives == "copy" else [place for place in places if pool.origin[place] != at] or [at])
            for at, places in enumerate(found.positives)
        ]
    else:
        drawn = by_weight(positives, "positive", found.positives)
    none: list[Chances] = [([], [])] * len(drawn)
    return Draws(drawn, none if negatives == "none" else by_weight(negatives, "negative", found.negatives))


def same_class(draws: Draws, classes: Sequence[str]) -> dict[str, float]:
    """How often what is drawn is of the text's own class: `right_positives`, the text itself left out, and
    `wrong_negatives`; either is not there where nothing is drawn.

    Args:
        draws: of texts that nothing else was made of.
        classes: of the texts.
    """
    found = {}
    for name, side in (("right_positives", draws.positives), ("wrong_negatives", draws.negatives)):
        shares = []
        for at, (places, chances) in enumerate(side):
            others = [(p, chance) for p, chance in zip(places, chances, strict=True) if p != at]
            if others:
                right = sum(chance for p, chance in others if classes[p] == classes[at])
                shares.append(right / sum(chance for _, chance in others))
        if shares:
            found[name] = sum(shares) / len(shares)
    return found


def _weight(rule: str, side: str, sem: float, surf: float, bounds: tuple[float, float], least: float) -> float:
    alpha, beta = bounds
    fits = sem >= alpha if side == "positive" else sem <= beta
    meaning = max(sem, 0.0) if side == "positive" else 1 - sem
    propensity = min(max(surf if side == "positive" else 1 - surf, least), 1.0)
    if rule == "surface":
        return 1 / propensity
    return meaning * fits / (1.0 if rule == "semantic" else propensity)


def _evenly(places: list[int]) -> Chances:
    return places, [1 / len(places)] * len(places)


def _chances(places: list[int], weights: list[float]) -> Chances:
    total = sum(weights)
    kept = [(place, weight / total) for place, weight in zip(places, weights, strict=True) if weight > 0]
    return [place for place, _ in kept], [chance for _, chance in kept]
