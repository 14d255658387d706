"""The user's own files: pairs by file name in a folder, or the rows of a manifest (CSV, TSV, JSONL, Parquet).

In a folder, files of one name are one row: `dog.png`, `dog.txt`, `dog.wav` are its `image`, `text` and
`speech`. A second suffix names the column where that is not enough: `dog.sound.wav`, `dog.speech_fr.ogg`, and
`dog.video.mp4`, for without it an mp4 or a webm is taken for a sound.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.data.cache import DataError
from antiphon.data.table import table
from antiphon.decode import BadInput, clean_text

DESCRIPTION = "your own files: pairs by name in a folder, or a CSV, TSV, JSONL or Parquet manifest"
LICENCE = "yours"

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg"),
    "sound": (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".m4a", ".mp4", ".webm"),
    "text": (".txt",),
    "video": (".mkv", ".avi", ".mov"),
}
_EITHER = (".mp4", ".webm")
"""A sound, but a video where the column says so."""
_MANIFESTS = (".csv", ".tsv", ".jsonl", ".parquet")
_SIGNALS = {"image": "image", "text": "text", "speech": "sound", "sound": "sound", "audio": "sound", "video": "video"}
_TEXTS = ("caption", "sentence", "transcript", "transcription")
_FILES = ("file_name", "filename", "file", "path")


def load(folder: str | Path, *, columns: Mapping[str, str] | None = None, sound: str = "speech") -> Dataset:
    """Rows with an `id` and the columns that are there; None where a row lacks one. Texts are cleaned, files
    are not opened, only looked for.

    In a manifest, columns named `image`, `text`, `speech`, `sound`, `audio` or `video` (also `speech_fr`) are what
    they say, `caption` and `transcript` are `text`, and a column of file names is a picture, a sound or a video by
    its suffixes. Paths are relative to the manifest. Other columns are kept: whole numbers as numbers, the rest
    as text.

    Args:
        folder: a folder, or a manifest file.
        columns: our names to the manifest's: `{"image": "file", "text": "title"}`; then no others are taken.
        sound: the column of sounds whose name does not say it.

    Raises:
        DataError: nothing there, two files for one place, a missing file or a text that cannot be used, by
            row.
    """
    path = Path(folder)
    if path.is_dir():
        if columns is not None:
            raise DataError(f"{path}: columns are for a manifest; in a folder, file names say the column")
        rows, kinds = _by_name(path, sound)
    elif path.is_file() and path.suffix.lower() in _MANIFESTS:
        rows, kinds = _by_manifest(path, columns, sound)
    else:
        raise DataError(f"{path}: not a folder, nor a file that ends in {', '.join(_MANIFESTS)}")
    return table(rows, kinds, description=f"{len(rows)} rows of {path.name}", licence=LICENCE)


# ---- a folder ----


def _by_name(root: Path, sound: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    rows: dict[str, dict[str, Any]] = {}
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        kind = _kind_of(path.name)
        if kind is None or not path.is_file():
            continue
        stem, _, named = path.stem.rpartition(".")
        if stem and _signal(named) == "video" and path.suffix.lower() in _EITHER:
            kind = "video"
        column = named if stem and _signal(named) == kind else {"sound": sound}.get(kind, kind)
        name = path.relative_to(root).with_name(stem if column == named and stem else path.stem).as_posix()
        row = rows.setdefault(name, {"id": name})
        if column in row:
            raise DataError(f"{path}: {name} has a second file for {column!r}; say which by a suffix: .{column}_b.")
        row[column] = _read_text(path) if kind == "text" else path
        found[column] = kind
    if not rows:
        raise DataError(f"{root}: no pictures, sounds, videos or texts there ({' '.join(sum(SUFFIXES.values(), ()))})")
    return list(rows.values()), {"id": "text"} | dict(sorted(found.items()))


def _kind_of(name: str) -> str | None:
    return next((kind for kind, ends in SUFFIXES.items() if name.lower().endswith(ends)), None)


def _signal(column: str) -> str | None:
    """The kind of a column by its name: `speech_fr` is a sound."""
    match = re.fullmatch(r"([a-z]+)(_\w+)?", column)
    return _SIGNALS.get(match[1]) if match else None


def _read_text(path: Path) -> str:
    try:
        return clean_text(path.read_bytes())
    except BadInput as error:
        raise DataError(f"{path}: {error}") from None


# ---- a manifest ----


def _by_manifest(
    path: Path, columns: Mapping[str, str] | None, sound: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    raw = _read(path)
    if not raw:
        raise DataError(f"{path}: no rows")
    theirs = list(dict.fromkeys(key for row in raw for key in row))
    absent = sorted(set((columns or {}).values()) - set(theirs))
    if absent:
        raise DataError(f"{path}: no column {', '.join(absent)}; it has {', '.join(theirs)}")
    pairs = list(columns.items()) if columns is not None else _our_names(raw, theirs, sound)
    kinds = {ours: _column_kind(ours, [row.get(key) for row in raw]) for ours, key in pairs if ours != "id"}
    id_key = dict(pairs).get("id")
    rows, wrong = [], []
    for number, row in enumerate(raw, start=1):
        made: dict[str, Any] = {"id": str(row[id_key]) if id_key else f"{number:09d}"}
        for ours, key in pairs:
            if ours == "id" or row.get(key) in (None, ""):
                continue
            try:
                made[ours] = _cell(row[key], kinds[ours], path.parent)
            except (BadInput, FileNotFoundError) as error:
                wrong.append(f"row {number}: {error}")
        rows.append(made)
    if wrong:
        more = f" (and {len(wrong) - 3} more rows)" if len(wrong) > 3 else ""
        raise DataError(f"{path}: {'; '.join(wrong[:3])}{more}")
    return rows, {"id": "text"} | kinds


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        match path.suffix.lower():
            case ".parquet":
                from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

                return list(parquet.read_table(path).to_pylist())
            case ".jsonl":
                return [_object(line, number) for number, line in enumerate(_lines(path), start=1) if line.strip()]
            case suffix:
                return _separated(_lines(path), "\t" if suffix == ".tsv" else ",")
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON ({error.msg})") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is a {type(row).__name__}, wanted an object")
    return row


def _separated(lines: Sequence[str], delimiter: str) -> list[dict[str, Any]]:
    rows = list(csv.DictReader(lines, delimiter=delimiter, strict=True))
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has another number of cells than the head")
    return [dict(row) for row in rows]


def _our_names(raw: Sequence[Mapping[str, Any]], theirs: Sequence[str], sound: str) -> list[tuple[str, str]]:
    taken = set(theirs)
    pairs = []
    for key in theirs:
        ours = key
        if key in _TEXTS and "text" not in taken:
            ours = "text"
        elif key in _FILES:
            kind = _column_kind(key, [row.get(key) for row in raw])
            ours = {"image": "image", "sound": sound}.get(kind, key)
            ours = key if ours in taken else ours
        taken.add(ours)
        pairs.append((ours, key))
    return pairs


def _column_kind(name: str, values: Sequence[Any]) -> str:
    there = [value for value in values if value not in (None, "")]
    signal = _signal(name)
    if signal is not None:
        return signal
    ends = {_kind_of(value) if isinstance(value, str) else None for value in there}
    if len(ends) == 1 and (kind := ends.pop()) in ("image", "sound"):
        return str(kind)
    whole = all(isinstance(v, int) or (isinstance(v, str) and re.fullmatch(r"-?\d{1,18}", v)) for v in there)
    return "number" if there and whole else "text"


def _cell(value: Any, kind: str, root: Path) -> Any:
    if kind == "number":
        return int(value)
    if kind == "text":
        return clean_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    file = root / str(value)
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    return file
