"""All measures of a space of several languages, by name, and those of its floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from antiphon.encoders.space import Space
from antiphon.recipes.ccp.measures import (
    KINDS,
    Embed,
    GramTfIdf,
    PairsOfTexts,
    accuracies,
    calibrations,
    found_first,
    geometry_of,
    language_probe,
    languages_of,
    length_scores,
    masked,
    neighbours,
    neighbours_by,
    pairs_of,
    summed_up,
    words_in_common,
)
from antiphon.recipes.ccp.rows import Column
from antiphon.runs import Measures

Sides = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class Trial:
    """What a space is measured on.

    Args:
        train: the sentences that calibrations are fitted on, by language.
        held: those of dev and test.
        outside: translated sentences of another kind, by pair of languages.
        pivot: the language that translations are looked for from and to.
        window: what counts as a neighbour.
        calibration: the one that `accuracy` is told under.
    """

    train: Mapping[str, Column]
    held: Mapping[str, Mapping[str, Column]]
    outside: PairsOfTexts
    pivot: str
    window: int
    calibration: str

    @cached_property
    def asked(self) -> dict[str, PairsOfTexts]:
        """Translations to be found: dev, test, and `test/outside`."""
        found: dict[str, PairsOfTexts] = {split: pairs_of(columns, self.pivot) for split, columns in self.held.items()}
        found["test/outside"] = self.outside
        return {name: pairs for name, pairs in found.items() if pairs}


def scores(embed: Embed, trial: Trial) -> Measures:
    """Translations under every calibration, without the words that both have, and neighbours; and the geometry.

    The probe of languages is read on every other document of the held-out splits, and on every other text outside.
    """
    embed = _remembered(embed)
    fitted = calibrations(embed, trial.train, trial.pivot)
    found: Measures = {}
    for name, pairs in trial.asked.items():
        for kind in KINDS:
            told = summed_up(accuracies(embed, pairs, fitted[kind]), trial.pivot)
            found |= {f"{name}/{kind}/{key}": value for key, value in told.items()}
            found |= {f"{name}/{key}": value for key, value in told.items() if kind == trial.calibration}
        without = {codes: masked(*sides) for codes, sides in pairs.items() if codes[1] == trial.pivot}
        hidden = summed_up(accuracies(embed, without, fitted[trial.calibration]), trial.pivot)
        found |= {f"{name}/masked": hidden["accuracy"]} if hidden else {}
    for split, columns in trial.held.items():
        vectors = {code: embed(column.texts) for code, column in columns.items()}
        ranks = [neighbours(vectors[code], columns[code], trial.window) for code in columns]
        found[f"{split}/neighbours"] = sum(ranks) / len(ranks)
        found |= {f"{split}/{key}": value for key, value in geometry_of(vectors, columns).items()}
    outside = {code: embed(texts) for code, texts in languages_of(trial.outside, trial.pivot).items()}
    if outside:
        even = {code: torch.arange(len(rows)) % 2 == 0 for code, rows in outside.items()}
        found["test/outside/language_probe"] = language_probe(outside, even)
    return found


def floor_scores(trial: Trial) -> Measures:
    """The same questions answered by letter n-grams, by words in common, by the length of the text, and by chance.

    Of the calibrations n-grams know `none` and `centre`, each told beside the other; where translations are measured
    under another one, their level is the centred one.
    """
    model = GramTfIdf([text for column in trial.train.values() for text in column.texts])
    means = {code: model.mean(column.texts) for code, column in trial.train.items()}
    usual = "none" if trial.calibration == "none" else "centre"

    def grams(codes: tuple[str, str], sides: Sides, kind: str) -> float:
        centred = kind == "centre" and all(code in means for code in codes)
        return _both(model.scores(*sides, around=(means[codes[0]], means[codes[1]]) if centred else None))

    found: Measures = {}
    for name, pairs in trial.asked.items():
        told: dict[str, dict[tuple[str, str], float]] = {}
        for codes, sides in pairs.items():
            values = {f"tfidf/{name}/{kind}": grams(codes, sides, kind) for kind in ("none", "centre")}
            values[f"tfidf/{name}"] = values[f"tfidf/{name}/{usual}"]
            values[f"jaccard/{name}"] = _both(words_in_common(*sides))
            values[f"length/{name}"] = _both(length_scores(*sides))
            values[f"chance/{name}"] = 1 / len(sides[0])
            for key, value in values.items():
                told.setdefault(key, {})[codes] = value
        for key, by_pair in told.items():
            found |= {f"{key}/{measure}": value for measure, value in summed_up(by_pair, trial.pivot).items()}
        hidden = [grams(codes, masked(*sides), usual) for codes, sides in pairs.items() if codes[1] == trial.pivot]
        found |= {f"tfidf/{name}/masked": sum(hidden) / len(hidden)} if hidden else {}
    for split, columns in trial.held.items():
        for floor, likeness in (("tfidf", model.scores), ("jaccard", words_in_common)):
            ranks = [neighbours_by(likeness, column, trial.window) for column in columns.values()]
            found[f"{floor}/{split}/neighbours"] = sum(ranks) / len(ranks)
    return found


def _both(scores_NM: Tensor) -> float:
    return (found_first(scores_NM) + found_first(scores_NM.T)) / 2


def _remembered(embed: Embed) -> Embed:
    """The same, each list of texts embedded once."""
    known: dict[tuple[str, ...], Tensor] = {}

    def remembered(texts: Sequence[str]) -> Tensor:
        key = tuple(texts)
        if key not in known:
            known[key] = embed(texts)
        return known[key]

    return remembered


@torch.inference_mode()
def embedded(space: Space, texts: Sequence[str]) -> Tensor:
    """As `space.embed`, in large padded batches, which is quicker for a bag of n-grams."""
    branch = space.branch("text").eval()
    parts = [branch(branch.encoder.collate(texts[at : at + 256])) for at in range(0, len(texts), 256)]
    return torch.cat(parts)
