"""Words that mean the same, and words that have an opposite, by WordNet 3.0 (the Debian package wordnet-base).

A word stands for its most frequent sense, by the counts that come with WordNet. Words are lemmas: "cars" is none. Read
from `data.<pos>`, `index.<pos>` and `cntlist.rev` as wndb(5WN) and cntlist(5WN) describe them.
(Miller 1995, "WordNet: a lexical database for English"; free, with its notice: see the package's copyright.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from antiphon.data.cache import DataError

PACKAGE = "wordnet-base"
_PARTS = {"1": "noun", "2": "verb", "3": "adj", "5": "adj", "4": "adv"}
"""Files, by the number of the kind of word in a sense's key; words without counts are looked for in this order."""

Sense = tuple[str, str]
"""A file, and the offset of a set of synonyms in it."""


@dataclass(frozen=True)
class Thesaurus:
    """What is known of single words of lower-case letters, each in its most frequent sense.

    Attributes:
        synonyms: the other words of that sense, sorted; words without any are left out.
        opposed: words that have an antonym in that sense.
    """

    synonyms: Mapping[str, tuple[str, ...]]
    opposed: frozenset[str]


@lru_cache(maxsize=1)
def wordnet(folder: str | Path | None = None) -> Thesaurus:
    """Read WordNet.

    Args:
        folder: the unpacked package; None gets it through `antiphon.data.debian`.

    Raises:
        DataError: no such files, or the package cannot be had.
    """
    root = _root(folder)
    senses = {name: dict(_index(root / f"index.{name}")) for name in dict.fromkeys(_PARTS.values())}
    frequent = _frequent(root / "cntlist.rev")
    chosen: dict[str, Sense] = {}
    for name, own in senses.items():
        for word, offsets in own.items():
            part, number = frequent.get(word, (name, 1))
            if word not in chosen and part == name:
                # counts of some twenty words are of senses that are no more
                chosen[word] = name, offsets[number - 1 if number <= len(offsets) else 0]
    synonyms: dict[str, tuple[str, ...]] = {}
    opposed: set[str] = set()
    for name in senses:
        told = dict(_synsets(root / f"data.{name}"))
        for word, (part, offset) in chosen.items():
            if part == name:
                words, with_antonym = told[offset]
                others = tuple(sorted(other for other in words if other != word and _single(other)))
                synonyms |= {word: others} if others else {}
                opposed |= {word} & with_antonym
    return Thesaurus(synonyms, frozenset(opposed))


def _root(folder: str | Path | None) -> Path:
    from antiphon.data.debian import get

    root = (get(PACKAGE) if folder is None else Path(folder)) / "usr/share/wordnet"
    if not (root / "cntlist.rev").is_file():
        raise DataError(f"wordnet: no {root / 'cntlist.rev'}; unpack {PACKAGE} there")
    return root


def _lines(path: Path) -> Iterator[list[str]]:
    """The fields of each line; lines of the licence begin with a space."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            yield line.split(" ")


def _index(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each single word with the offsets of its senses, the most frequent first."""
    for fields in _lines(path):
        if _single(fields[0]):
            offsets = [field for field in fields if field]  # a line ends in two spaces
            yield fields[0], offsets[-int(fields[2]) :]


def _frequent(path: Path) -> dict[str, tuple[str, int]]:
    """The part of speech of each word's most frequent sense, and the number of that sense there."""
    best: dict[str, tuple[int, str, int]] = {}
    for key, number, count in _lines(path):
        word, _, rest = key.partition("%")
        found = int(count), _PARTS[rest[0]], int(number)
        if word not in best or found[0] > best[word][0]:
            best[word] = found
    return {word: (part, number) for word, (_, part, number) in best.items()}


def _synsets(path: Path) -> Iterator[tuple[str, tuple[list[str], set[str]]]]:
    """Offset, words, and those of them that have an antonym."""
    for fields in _lines(path):
        count = int(fields[3], 16)
        words = [word.partition("(")[0].lower() for word in fields[4 : 4 + 2 * count : 2]]
        start = 5 + 2 * count
        pointers = [fields[at : at + 4] for at in range(start, start + 4 * int(fields[start - 1]), 4)]
        opposed = {words[int(source[:2], 16) - 1] for symbol, _, _, source in pointers if symbol == "!"}
        yield fields[0], (words, opposed)


def _single(word: str) -> bool:
    return word.isascii() and word.isalpha() and word.islower()
