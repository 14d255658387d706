"""Tux Paint's stamps: about 950 pictures, each with its name in many languages, written and read aloud.

From the Debian package tuxpaint-stamps-default. The recordings name the stamp; some stamps also have a sound
effect (a bark, an engine). Several stamps share a caption, some but for its
capitals: split by `concept` to keep them on one side.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from datasets import Dataset

from antiphon.data.cache import DataError
from antiphon.data.table import table
from antiphon.decode import BadInput, clean_text
from antiphon.decode.svg import check

DESCRIPTION = "Tux Paint stamps: pictures with spoken and written names in eight languages, and sound effects"
LICENCE = "GPL-2, (c) 2002-2022 Bill Kendrick and the Tux Paint contributors"
PACKAGE = "tuxpaint-stamps-default"

_log = logging.getLogger(__name__)


def load(folder: str | Path | None = None, *, min_recordings: int = 600) -> Dataset:
    """Rows of `id, image, text, concept, category, top, sound` and, for each language xx, `speech_xx` and `text_xx`.

    `id` is the path below the stamps folder without suffix, `text` the English caption, `concept` the
    same without capitals and full stop, `category` its folder
    and `top` the first part of that; None stands where a stamp has no recording, effect or translation. Where
    a stamp is there both as PNG and SVG the PNG is taken: it looks the same whatever draws it. Left out,
    counted in the log and in `rows.info.description`: captions without a picture, pictures without a caption
    (the `_mirror` views), drawings that are not self-contained, and recordings in languages with few of them.

    Args:
        folder: the unpacked package or its `stamps` folder; None gets the package through
            `antiphon.data.debian`.
        min_recordings: languages with fewer recordings have no columns. English is read aloud for 66 stamps
            only.

    Raises:
        DataError: no stamps there, or the package cannot be had.
    """
    root = _root(folder)
    files = {str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file()}
    spoken = _languages(files)
    languages = sorted(language for language, count in spoken.items() if count >= min_recordings)
    left = Counter({"recordings in rarer languages": sum(n for key, n in spoken.items() if key not in languages)})
    rows = [row for stem in _stems(files) if (row := _row(root, stem, files, languages, left)) is not None]
    if not rows:
        raise DataError(f"{root}: holds no stamps (pictures with a .txt beside them)")
    report = f"{len(rows)} stamps; left out: " + ", ".join(f"{n} {what}" for what, n in sorted(left.items()) if n)
    _log.info("stamps: %s", report)
    return table(rows, _kinds(languages), description=f"{DESCRIPTION}. {report}", licence=LICENCE)


def _root(folder: str | Path | None) -> Path:
    if folder is None:
        from antiphon.data.debian import get

        folder = get(PACKAGE)
    inside = Path(folder) / "usr/share/tuxpaint/stamps"
    root = inside if inside.is_dir() else Path(folder)
    if not root.is_dir():
        raise DataError(f"stamps: no folder {root}; give the unpacked {PACKAGE} as source.folder, or leave it out")
    return root


def _languages(files: set[str]) -> Counter[str]:
    """How many recordings each language has; `_desc.ogg` without a language is English."""
    found: Counter[str] = Counter()
    for file in files:
        stem, spoken, rest = file.rpartition("_desc")
        if stem and spoken and rest.endswith(".ogg"):
            found[rest[1:-4] if rest.startswith("_") else "en"] += 1
    return found


def _stems(files: set[str]) -> list[str]:
    return sorted({file[:-4] for file in files if file.endswith((".png", ".svg", ".txt"))})


def _row(
    root: Path, stem: str, files: set[str], languages: list[str], left: Counter[str]
) -> dict[str, str | None] | None:
    picture = next((stem + suffix for suffix in (".png", ".svg") if stem + suffix in files), None)
    if picture is None or stem + ".txt" not in files:
        left["captions without a picture" if picture is None else "pictures without a caption"] += 1
        return None
    if picture.endswith(".svg") and not _self_contained(root / picture):
        left["drawings that are not self-contained"] += 1
        return None
    names = _names(root / f"{stem}.txt")
    category = stem.rpartition("/")[0]
    row: dict[str, str | None] = {
        "id": stem,
        "image": str(root / picture),
        "text": names["en"],
        "concept": names["en"].casefold().rstrip("."),
        "category": category,
    }
    row |= {"top": category.partition("/")[0], "sound": _first(root, files, f"{stem}.ogg", f"{stem}.wav")}
    for language in languages:
        end = "_desc.ogg" if language == "en" else f"_desc_{language}.ogg"
        row[f"speech_{language}"] = _first(root, files, stem + end)
        row[f"text_{language}"] = names.get(language)
    return row


def _first(root: Path, files: set[str], *candidates: str) -> str | None:
    return next((str(root / file) for file in candidates if file in files), None)


def _self_contained(path: Path) -> bool:
    try:
        check(path.read_text(encoding="utf-8"), path.name)
    except BadInput as error:
        _log.info("stamps: %s", error)
        return False
    return True


def _names(path: Path) -> dict[str, str]:
    """The English name in the first line, then `xx.utf8=name` lines."""
    first, *others = path.read_text(encoding="utf-8").splitlines()
    names = {"en": clean_text(first)}
    for line in others:
        key, equals, name = line.partition(".utf8=")
        if equals and name.strip():
            names[key] = clean_text(name)
    return names


def _kinds(languages: list[str]) -> dict[str, str]:
    kinds = {
        "id": "text",
        "image": "image",
        "text": "text",
        "concept": "text",
        "category": "text",
        "top": "text",
        "sound": "sound",
    }
    for language in languages:
        kinds[f"speech_{language}"] = "sound"
        if language != "en":  # it is in `text`
            kinds[f"text_{language}"] = "text"
    return kinds
