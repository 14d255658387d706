"""What CoLLAP trains on: long recordings and texts of many sentences, composed of single sounds, or the user's own.

A composed recording is clips of unlike kinds, one after the other, and its text a sentence for each, in their order.
Clips are cut to one length first, so that what is cached of each is what a whole recording would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from pydantic import PositiveInt, model_validator
from torch import Tensor

from antiphon.config import Config
from antiphon.data.cache import cache_folder
from antiphon.decode import BadInput, decode_audio
from antiphon.encoders.features import FeatureCache, encode_once
from antiphon.encoders.logmel import RATE
from antiphon.encoders.parts import Parts
from antiphon.encoders.waves import trim_silence
from antiphon.errors import UserError
from antiphon.evaluation.zste import stretch
from antiphon.runs import Run

WORDINGS = ("{}.", "The sound of {}.", "There is {}.", "One hears {}.", "Then comes {}.")
"""Sentences of a kind of sound; each is drawn by chance, so that a text is seldom seen twice."""

Row = dict[str, Any]


class Scenes(Config):
    """How recordings are composed."""

    fewest: PositiveInt = 6
    most: PositiveInt = 12
    """Clips of a recording, drawn evenly between the two, so that their number alone does not tell the text."""
    train: PositiveInt = 2000
    """How many recordings are composed for training."""
    asked: PositiveInt = 200
    """How many of dev and of test."""
    long: PositiveInt = 24
    """Clips of the longest recordings that are asked about."""

    @model_validator(mode="after")
    def _in_order(self) -> Scenes:
        if self.fewest > self.most:
            raise ValueError(f"fewest={self.fewest} is more than most={self.most}")
        return self


def clips_of(
    rows: Dataset, column: str, classes: str, seconds: float, tower: Parts, run: Run
) -> tuple[list[Tensor], list[str]]:
    """The vectors of clips of one length and loudness, and what they are; what cannot be used is noted and left out."""

    def clip(item: Any, _: torch.Generator) -> Tensor:
        wave = trim_silence(decode_audio(item, RATE))
        if not wave.any():
            raise BadInput("silence alone")
        return stretch(wave, round(seconds * RATE))

    def refused(at: int, error: BadInput) -> None:
        run.quarantine(column, rows[at]["id"], str(error))

    found = encode_once(tower, list(rows[column]), _cache(), view=(f"{seconds:g} s, trimmed", clip), refused=refused)
    kept = [(tokens, str(kind)) for tokens, kind in zip(found, rows[classes], strict=True) if tokens is not None]
    kinds = [kind for _, kind in kept]
    if len(set(kinds)) < 2:
        raise UserError(f"{len(kept)} clips of {len(set(kinds))} kinds: recordings are composed of two kinds or more")
    return [tokens for tokens, _ in kept], kinds


class Stock:
    """Encoded clips and sentences, to compose recordings and texts of.

    Args:
        clips: of each clip its one vector `(1, D)`.
        kinds: what each is.
        sound: the signal of the clips.
        text: frozen; gives a sentence's vector.
    """

    def __init__(self, clips: list[Tensor], kinds: list[str], sound: str, text: Parts) -> None:
        self.sound, self.clips = sound, clips
        self.of = {name: [at for at, kind in enumerate(kinds) if kind == name] for name in sorted(set(kinds))}
        self.sentences = {name: [form.format(name) for form in WORDINGS] for name in self.of}
        flat = [one for several in self.sentences.values() for one in several]
        self.words = dict(zip(flat, encoded(text, flat), strict=True))

    def rows(self, count: int, fewest: int, most: int, *, heard: int | None, seed: int) -> list[Row]:
        """Rows of a recording and its text: their parts' vectors, and the sentences as they are.

        Args:
            count: how many rows.
            fewest: parts of a recording.
            most: the same.
            heard: the recording is cut to so many parts from its start; its text stays whole.
            seed: of what is drawn.
        """
        generator = torch.Generator().manual_seed(seed)
        names = list(self.of)
        drawn = [self._drawn(names, fewest, most, generator) for _ in range(count)]
        numbers = {kinds: at for at, kinds in enumerate(sorted({kinds for kinds, _, _ in drawn}))}
        return [
            {
                "id": f"{at:06d}",
                "label": numbers[kinds],
                self.sound: torch.cat([self.clips[clip] for clip in clips])[:heard],
                "text": torch.cat([self.words[one] for one in said]),
                "said": said,
            }
            for at, (kinds, clips, said) in enumerate(drawn)
        ]

    def _drawn(
        self, names: list[str], fewest: int, most: int, generator: torch.Generator
    ) -> tuple[tuple[str, ...], list[int], list[str]]:
        """Kinds (none twice before all were taken), a clip of each, and a sentence of each."""

        def one_of(choices: Sequence[Any]) -> Any:
            return choices[int(torch.randint(len(choices), (), generator=generator))]

        parts = one_of(range(fewest, most + 1))
        order = [at for _ in range(-(-parts // len(names))) for at in torch.randperm(len(names), generator=generator)]
        kinds = tuple(names[int(at)] for at in order[:parts])
        return kinds, [one_of(self.of[kind]) for kind in kinds], [one_of(self.sentences[kind]) for kind in kinds]


def own_rows(data: Dataset, columns: dict[str, str], towers: dict[str, Parts], run: Run) -> list[Row]:
    """The user's rows, encoded; an item that cannot be used becomes None, and is noted.

    Args:
        data: with `id` and `label`.
        columns: of sounds and of texts, by signal.
        towers: frozen, by signal.
        run: where the quarantine list is.
    """
    rows: list[Row] = [
        {"id": one["id"], "label": one["label"], "said": []} for one in data.select_columns(["id", "label"])
    ]
    for signal, column in columns.items():

        def refused(at: int, reason: str, column: str = column) -> None:
            run.quarantine(column, rows[at]["id"], reason)

        for row, tokens in zip(rows, encoded(towers[signal], list(data[column]), refused), strict=True):
            row[signal] = tokens
    return rows


def longest(rows: Sequence[Row], signals: Sequence[str]) -> dict[str, int]:
    """The most parts that a row has, by signal."""
    return {name: max([1, *(len(row[name]) for row in rows if row[name] is not None)]) for name in signals}


def encoded(tower: Parts, items: Sequence[Any], refused: Callable[[int, str], None] | None = None) -> list[Any]:
    """The vectors of each item's parts; a few items at a time, for they are long."""
    if refused is None:
        return encode_once(tower, items, _cache(), batch_size=4)
    return encode_once(tower, items, _cache(), batch_size=4, refused=lambda at, error: refused(at, str(error)))


def _cache() -> FeatureCache:
    return FeatureCache(cache_folder() / "features")
