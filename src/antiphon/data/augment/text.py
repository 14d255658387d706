"""Changes of a text, by words (what stands between spaces)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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


def drop_span(text: str, generator: torch.Generator, *, share: float = 0.2) -> str:
    """A run of so large a share of the words left out (CLEAR, arXiv 2012.15466); one word always stays."""
    words = text.split()
    size = min(round(share * len(words)), len(words) - 1)
    start = whole(len(words) - size + 1, generator)
    return " ".join(words[:start] + words[start + size :])


def swap_spans(text: str, generator: torch.Generator, *, share: float = 0.2) -> str:
    """Two runs of words, each of so large a share of them, exchanged (CLEAR, arXiv 2012.15466)."""
    words = text.split()
    size = min(max(1, round(share * len(words))), len(words) // 2)
    first = whole(len(words) - 2 * size + 1, generator)
    second = first + size + whole(len(words) - first - 2 * size + 1, generator)
    between = words[first + size : second]
    moved = words[:first] + words[second : second + size] + between + words[first : first + size]
    return " ".join(moved + words[second + size :])


def repeat_words(text: str, generator: torch.Generator, *, chance: float = 0.1) -> str:
    """Each word said twice with this chance (ESimCSE, arXiv 2109.04380)."""
    words = text.split()
    twice = torch.rand(len(words), generator=generator) < chance
    return " ".join(f"{word} {word}" if again else word for word, again in zip(words, twice.tolist(), strict=True))


def mistype(text: str, generator: torch.Generator, *, chance: float = 0.1) -> str:
    """In each word, with this chance, two neighbouring letters exchanged."""
    words = text.split()
    hit = torch.rand(len(words), generator=generator) < chance
    for place, word in enumerate(words):
        if hit[place] and len(word) > 1:
            at = whole(len(word) - 1, generator)
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def swap_synonyms(
    text: str,
    generator: torch.Generator,
    *,
    chance: float = 0.1,
    synonyms: Callable[[], Mapping[str, Sequence[str]]],
) -> str:
    """Each word that has synonyms exchanged, with this chance, for one of them (CLEAR, arXiv 2012.15466).

    Args:
        synonyms: gives the synonyms of a word in lower case; asked when a text comes, since a thesaurus takes seconds.
    """
    words, of = text.split(), synonyms()
    hit = torch.rand(len(words), generator=generator) < chance
    for place, word in enumerate(words):
        others = of.get(word.lower(), ())
        if hit[place] and others:
            words[place] = others[whole(len(others), generator)]
    return " ".join(words)
