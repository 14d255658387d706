"""Sound events: ESC-10 (Piczak 2015), ten kinds of everyday sounds, and recordings of ten kinds of animals.

Read from `$ANTIPHON_DATA/esc10` and `$ANTIPHON_DATA/animals`: each an `index.tsv` beside its `audio` folder. ESC-10
comes in folds that keep takes of one source recording together. The animals' files are numbered in the order in which
they were cut, so that neighbours may be takes of one recording: they are divided into as many contiguous folds, with a
gap between. Split by `fold`, and no take is on two sides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "sound events: ESC-10 and animals, by kind, in folds"
LICENCE = "ESC-10: CC BY 3.0; animals: none stated, for evaluation only"

SETS = ("esc10", "animals")
ANIMALS = {
    "Aslan": "lion", "Esek": "donkey", "Inek": "cow", "Kedi": "cat", "Kopek": "dog bark", "Koyun": "sheep",
    "Kurbaga": "frog", "Kus": "bird", "Maymun": "monkey", "Tavuk": "chicken",
}  # fmt: skip
"""The folders of the animals (in Turkish), and their kinds; dogs are of one kind with ESC-10's."""
_KINDS = {"id": "text", "audio": "sound", "text": "text", "kind": "text", "fold": "number", "set": "text"}


def load(
    sets: Sequence[str] = SETS,
    kinds: Sequence[str] | None = None,
    *,
    each: int | None = None,
    folds: int = 4,
    gap: int = 2,
) -> Dataset:
    """Rows of `id, audio, text, kind, fold, set`; `text` is "a sound of <kind>".

    Args:
        sets: of `SETS`.
        kinds: only these; None takes all.
        each: at most so many clips of a kind in a fold, the first ones by id; None takes all.
        folds: into how many the animals are divided; ESC-10 brings its own, from 1 on.
        gap: so many clips before each border between the animals' folds are left out.

    Raises:
        DataError: a set is not there or not readable, or nothing of a wanted set or kind.
    """
    strangers = sorted(set(sets) - set(SETS))
    if strangers or not sets:
        raise DataError(f"no set of sound events {', '.join(strangers) or '(none given)'}: there are {', '.join(SETS)}")
    rows = (_esc10() if "esc10" in sets else []) + (_animals(folds, gap) if "animals" in sets else [])
    missing = sorted(set(kinds or ()) - {row["kind"] for row in rows})
    if missing:
        raise DataError(f"no sounds of {missing[0]!r}: there are {', '.join(sorted({row['kind'] for row in rows}))}")
    wanted = [row | {"text": f"a sound of {row['kind']}"} for row in rows if kinds is None or row["kind"] in kinds]
    return table(wanted if each is None else _first(wanted, each), _KINDS, description=DESCRIPTION, licence=LICENCE)


def _first(rows: list[dict[str, Any]], each: int) -> list[dict[str, Any]]:
    """The first rows of every kind in every fold."""
    seen: Counter[tuple[str, int]] = Counter()
    kept = []
    for row in sorted(rows, key=lambda row: str(row["id"])):
        seen[row["kind"], row["fold"]] += 1
        if seen[row["kind"], row["fold"]] <= each:
            kept.append(row)
    return kept


def _esc10() -> list[dict[str, Any]]:
    folder, rows = _index("esc10", ("file", "category", "fold"))
    return [
        {
            "id": f"esc10/{Path(row['file']).stem}",
            "audio": folder / row["file"],
            "kind": row["category"],
            "fold": int(row["fold"]),
            "set": "esc10",
        }
        for row in rows
    ]


def _animals(folds: int, gap: int) -> list[dict[str, Any]]:
    folder, rows = _index("animals", ("file", "label"))
    series: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        series[row["label"]].append(row["file"])
    found = []
    for label, files in sorted(series.items()):
        kind = label.partition("-")[0]
        if kind not in ANIMALS:
            raise DataError(f"{folder / 'index.tsv'}: label {label!r} is none of {', '.join(ANIMALS)}")
        places = contiguous(len(files), folds, gap)
        found += [
            {
                "id": f"animals/{Path(file).parent.name}/{Path(file).stem}",
                "audio": folder / file,
                "kind": ANIMALS[kind],
                "fold": fold,
                "set": "animals",
            }
            for file, fold in zip(sorted(files), places, strict=True)
            if fold is not None
        ]
    return found


def contiguous(count: int, folds: int, gap: int) -> list[int | None]:
    """The folds, from 1 on, of items in order: blocks of nearly one size; None for the last `gap` before a border.

    Raises:
        DataError: a block would be empty.
    """
    if count < folds * (gap + 1):
        raise DataError(f"{count} clips do not fill {folds} folds with {gap} left out between them")
    of = [at * folds // count for at in range(count)]
    return [None if at + gap < count and of[at + gap] != of[at] else of[at] + 1 for at in range(count)]


def _index(name: str, columns: Sequence[str]) -> tuple[Path, list[dict[str, str]]]:
    folder = data_folder(name)
    return folder, read_tsv(folder / "index.tsv", columns)
