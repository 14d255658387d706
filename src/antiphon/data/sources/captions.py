"""Captions of sounds without the sounds: AudioCaps (Kim et al. 2019) and Clotho (Drossos et al. 2020), texts alone.

Read from `$ANTIPHON_DATA/audio_captions`: `audiocaps.train.tsv.gz`, `audiocaps.val.tsv` (id, clip, caption) and
`clotho.development.tsv.gz` (file, k, caption). A caption is of a kind of the source `events` if it mentions that kind
and no other one, by the word lists below.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import table

DESCRIPTION = "captions of sounds, texts alone: AudioCaps and Clotho, by the kind of event they mention"
LICENCE = "AudioCaps: MIT; Clotho: Tampere University licence, non-commercial with attribution"

SETS = {
    "audiocaps": ("audiocaps.train.tsv.gz", "clip", "id"),
    "audiocaps_val": ("audiocaps.val.tsv", "clip", "id"),
    "clotho": ("clotho.development.tsv.gz", "file", "k"),
}
"""By name: the file, its column of clips, and the column that tells a clip's captions apart."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "baby cry": ("baby", "babies", "infant", "infants", "toddler"),
    "bird": ("bird", "birds", "chirp", "chirps", "chirping", "tweet", "tweets", "tweeting"),
    "cat": ("cat", "cats", "kitten", "meow", "meows", "meowing"),
    "chainsaw": ("chainsaw", "chainsaws", "chain saw"),
    "chicken": ("chicken", "chickens", "hen", "hens", "cluck", "clucks", "clucking"),
    "clock tick": ("clock", "clocks", "tick", "ticks", "ticking", "ticktock"),
    "cow": ("cow", "cows", "cattle", "moo", "moos", "mooing"),
    "dog bark": ("dog", "dogs", "bark", "barks", "barking", "puppy"),
    "donkey": ("donkey", "donkeys", "bray", "brays", "braying"),
    "fire crackling": ("fire", "crackle", "crackles", "crackling", "campfire"),
    "frog": ("frog", "frogs", "croak", "croaks", "croaking", "toad", "toads"),
    "helicopter": ("helicopter", "helicopters", "chopper"),
    "lion": ("lion", "lions", "roar", "roars", "roaring"),
    "monkey": ("monkey", "monkeys", "ape", "apes", "chimpanzee"),
    "person sneeze": ("sneeze", "sneezes", "sneezing", "sneezed"),
    "rain": ("rain", "rains", "raining", "rainfall", "rainstorm"),
    "rooster": ("rooster", "roosters", "crow", "crows", "crowing"),
    "sea waves": ("wave", "waves", "surf", "ocean", "sea"),
    "sheep": ("sheep", "lamb", "lambs", "bleat", "bleats", "bleating", "baa"),
}
"""What tells that a caption mentions a kind of the source `events`; fixed before anything was measured."""

_KINDS = {"id": "text", "text": "text", "clip": "text", "kind": "text", "set": "text"}


def load(
    sets: Sequence[str] = ("audiocaps",),
    kinds: Sequence[str] | None = None,
    *,
    each: int | None = None,
    most: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Rows of `id, text, clip, kind, set`; `kind` is "" where a caption mentions none of the kinds, or several.

    Args:
        sets: of `SETS`.
        kinds: only captions of these; None takes all captions.
        each: at most so many of a kind, drawn by the seed; None takes all.
        most: at most so many in all, drawn by the seed; None takes all.
        seed: of the draws.

    Raises:
        DataError: a set is not there or not readable, or an unknown set or kind.
    """
    strangers = sorted(set(sets) - set(SETS)) + sorted(set(kinds or ()) - set(WORDS))
    if strangers or not sets:
        raise DataError(
            f"no captions of {', '.join(strangers) or 'no set'}: sets are {', '.join(SETS)}; kinds {', '.join(WORDS)}"
        )
    rows = [row for name in sets for row in _read(name)]
    rows = [row for row in rows if kinds is None or row["kind"] in kinds]
    random.Random(seed).shuffle(rows)
    if each is not None:
        seen: Counter[str] = Counter()
        rows = [row for row in rows if _counted(seen, row["kind"]) <= each]
    return table(rows[:most], _KINDS, description=DESCRIPTION, licence=LICENCE)


def mentions(text: str, words: Sequence[str]) -> bool:
    """Whether a text has one of the words, whole, in whatever case."""
    return _any_of(tuple(words)).search(text.lower()) is not None


@lru_cache(maxsize=1000)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")


def _counted(seen: Counter[str], kind: str) -> int:
    seen[kind] += 1
    return seen[kind]


def _read(name: str) -> list[dict[str, Any]]:
    file, clip, which = SETS[name]
    path = data_folder("audio_captions") / file
    if not path.is_file():
        raise DataError(f"{path}: no such file; the set {name} is read from it")
    lines = list(csv.DictReader(io.StringIO(_text(path)), delimiter="\t"))
    lacking = [column for column in (clip, which, "caption") if not lines or column not in lines[0]]
    if lacking:
        raise DataError(f"{path}: no column {', '.join(lacking)}, or no rows")
    rows, every = [], [word for words in WORDS.values() for word in words]
    for line in sorted(lines, key=lambda line: (line[clip], line[which])):
        said = line["caption"].strip()
        found = [kind for kind, words in WORDS.items() if mentions(said, words)] if mentions(said, every) else []
        own = {"id": f"{name}/{line[clip]}/{line[which]}", "text": said, "clip": f"{name}/{line[clip]}", "set": name}
        rows.append(own | {"kind": found[0] if len(found) == 1 else ""})
    return [row for row in rows if row["text"]]


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable ({' '.join(str(error).split())})") from None
