"""Rows of the text-contrast recipe: what is done to texts, and the words that they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.data.augment import After, Step, whole
from antiphon.data.augment.text import (
    crop_words,
    drop_span,
    drop_words,
    mistype,
    repeat_words,
    swap_spans,
    swap_synonyms,
)
from antiphon.data.collate import Collate
from antiphon.data.wordnet import wordnet
from antiphon.decode import clean_text, split_words
from antiphon.encoders import Encoder
from antiphon.encoders.words import WordCnn

Row = dict[str, Any]

VIEWS: dict[str, Callable[[float], Step | None]] = {
    "none": lambda rate: None,
    "deletion": lambda rate: partial(drop_words, chance=rate),
    "span": lambda rate: partial(drop_span, share=rate),
    "reorder": lambda rate: partial(swap_spans, share=rate / 2),
    "repetition": lambda rate: partial(repeat_words, chance=rate),
    "crop": lambda rate: partial(_crop, share=1 - rate),
    "typos": lambda rate: partial(mistype, chance=rate),
    "synonyms": lambda rate: partial(swap_synonyms, chance=rate, synonyms=_synonyms),
}
"""What is done to a text, by the config's name for it, given how far."""


def training_rows(data: Any, columns: Sequence[str], classes: str | None) -> list[Row]:
    """Text, pair, name of the class, its number, and its share of the rows."""
    names = data[classes] if classes else [None] * len(data["id"])
    numbers = {name: number for number, name in enumerate(sorted(set(names), key=str))}
    counts = Counter(names)
    return [
        {
            "id": row,
            "text": text,
            "pair": pair,
            "name": name,
            "label": numbers[name],
            "share": counts[name] / len(names),
        }
        for row, text, pair, name in zip(data["id"], data[columns[0]], data[columns[-1]], names, strict=True)
    ]


def most_common(rows: Sequence[Row], count: int) -> set[str]:
    """The words that most texts have."""
    counts = Counter(word for row in rows for word in set(split_words(row["text"])))
    return {word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]}


def asked_words(rows: Sequence[Row], common: AbstractSet[str]) -> list[str]:
    """The words that texts may be asked for, as often as there are texts with them."""
    return [word for row in rows for word in sorted(set(split_words(row["text"])) - common)]


def word_shares(words: Sequence[str], encoder: WordCnn) -> Float[Tensor, " buckets"]:
    """How often each of the encoder's ids is among the words."""
    counts = torch.bincount(encoder.collate(words).values[:, 0], minlength=encoder.buckets + 1)
    return counts / counts.sum()


def collate_for(
    pairing: str,
    encoder: Encoder,
    rows: Sequence[Row],
    *,
    view: str,
    rate: float,
    labels: int,
    common: AbstractSet[str],
    replaced: float,
    seed: int,
) -> Collate:
    """The entries of a pairing, each text seen anew in every epoch; arguments are the config's."""
    change = VIEWS[view](rate)
    look = After(clean_text, *([] if change is None else [change]))
    augment: dict[str, Step] = {"text": look}
    of = {}
    if pairing == "words":
        names = [f"word{number}" for number in range(labels)]
        augment |= dict.fromkeys(names, After(clean_text, partial(one_word, common=common)))
        of = dict.fromkeys([*names, "whole"], "text")
    elif pairing == "tokens":
        drawn = [word for row in rows for word in split_words(row["text"])]
        augment["text"] = After(clean_text, partial(replace_words, by=drawn, chance=replaced))
        of["whole"] = "text"
    elif pairing != "label":
        of["view"] = "pair"
        augment["view"] = look
    entries = ["text", *of, *(["name"] if pairing == "label" else [])]
    return Collate(dict.fromkeys(entries, encoder), keep=("label", "share"), of=of, augment=augment, seed=seed)


def one_word(text: str, generator: torch.Generator, *, common: AbstractSet[str]) -> str | None:
    """A word of the text that it may be asked for; None where it has none."""
    words = sorted(set(split_words(text)) - common)
    return words[whole(len(words), generator)] if words else None


def replace_words(text: str, generator: torch.Generator, *, by: Sequence[str], chance: float) -> str:
    """Each word, with this chance, in exchange for one of these, drawn as often as it stands there."""
    words = split_words(text)
    hit = (torch.rand(len(words), generator=generator) < chance).tolist()
    new = [by[whole(len(by), generator)] if gone else word for word, gone in zip(words, hit, strict=True)]
    return " ".join(new) or text


def _synonyms() -> Mapping[str, Sequence[str]]:
    return wordnet().synonyms


def _crop(text: str, generator: torch.Generator, *, share: float) -> str:
    return crop_words(text, generator, most=max(1, round(share * len(text.split()))))
