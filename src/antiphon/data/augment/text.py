"""Changes of a text, by words (what stands between spaces)."""

from __future__ import annotations

import torch

from antiphon.data.augment import whole


def drop_words(text: str, generator: torch.Generator, *, chance: float = 0.1) -> str:
    """Each word left out with this chance; one always stays."""
    words = text.split()
    stays = torch.rand(len(words), generator=generator) >= chance
    if not stays.any():
        stays[whole(len(words), generator)] = True
    return " ".join(word for word, kept in zip(words, stays.tolist(), strict=True) if kept)


def crop_words(text: str, generator: torch.Generator, *, most: int) -> str:
    """At most this many words in a row, from a random place."""
    words = text.split()
    start = whole(max(1, len(words) - most + 1), generator)
    return " ".join(words[start : start + most])
