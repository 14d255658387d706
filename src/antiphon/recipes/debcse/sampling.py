"""Which sentence is drawn as another's positive or hard negative: our specification of the published idea.

sem is the cosine of a frozen guide g, surf half ROUGE-L's F1 and half the ratio of lengths. A naive rule finds what
looks alike, so its propensity is e+ = surf, and of a random negative e- = 1 - surf, both no less than `least`:

    w+(c) = 1[sem >= alpha] sem / e+        w-(c) = 1[sem <= beta] (1 - sem) / e-

Weights are cut at their 95th percentile and divided by their sum (self-normalised inverse propensity weights).

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

Rule = Literal["dropout", "neighbours", "surface", "semantic", "weighted", "unclipped"]

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
    """What each text of the corpus draws from: places in the pool, and chances that sum to one (or no place at all)."""

    positives: list[tuple[list[int], list[float]]]
    negatives: list[tuple[list[int], list[float]]]


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
    rule: Rule, pool: Pool, found: Candidates, guide_ND: Float[Tensor, "n d"], bounds: tuple[float, float], least: float
) -> Draws:
    """Chances of the candidates under a rule.

    Args:
        rule: dropout: the text itself, no negatives; neighbours: one of the nearest by sem, evenly, no negatives;
            surface: by 1 / e alone; semantic: by sem alone; weighted: w; unclipped: w, not cut.
        pool: as the candidates'.
        found: of the corpus.
        guide_ND: as `candidates_of`.
        bounds: alpha and beta, as cosines.
        least: of a propensity.
    """
    if rule in ("dropout", "neighbours"):
        positives = [
            [at] if rule == "dropout" else [place for place in places if pool.origin[place] != at] or [at]
            for at, places in enumerate(found.positives)
        ]
        return Draws([(one, [1 / len(one)] * len(one)) for one in positives], [([], [])] * len(positives))
    sides = []
    for side, places_of in (("positive", found.positives), ("negative", found.negatives)):
        weights = [
            [_weight(rule, side, float(guide_ND[at] @ guide_ND[place]), found.surface[at][place], bounds, least)
             for place in places]
            for at, places in enumerate(places_of)
        ]  # fmt: skip
        every = [weight for row in weights for weight in row if weight > 0]
        top = float(np.quantile(every, 0.95)) if every and rule != "unclipped" else float("inf")
        sides.append(
            [_chances(places, [min(w, top) for w in row]) for places, row in zip(places_of, weights, strict=True)]
        )
    return Draws(*sides)


def _weight(rule: Rule, side: str, sem: float, surf: float, bounds: tuple[float, float], least: float) -> float:
    alpha, beta = bounds
    fits = sem >= alpha if side == "positive" else sem <= beta
    meaning = max(sem, 0.0) if side == "positive" else 1 - sem
    propensity = min(max(surf if side == "positive" else 1 - surf, least), 1.0)
    if rule == "surface":
        return 1 / propensity
    return meaning * fits / (1.0 if rule == "semantic" else propensity)


def _chances(places: list[int], weights: list[float]) -> tuple[list[int], list[float]]:
    total = sum(weights)
    kept = [(place, weight / total) for place, weight in zip(places, weights, strict=True) if weight > 0]
    return [place for place, _ in kept], [chance for _, chance in kept]
