"""What a command is given to read: files, folders, lines of text, and manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.errors import UserError

ENDINGS = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".bmp"),
    "speech": (".wav", ".flac", ".ogg", ".mp3", ".opus"),
    "video": (".mp4", ".mkv", ".avi", ".mov", ".webm"),
}
MANIFESTS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Item:
    """One thing to embed.

    Args:
        row: its name: a file's stem, a text file and a line of it, a manifest's id.
        value: a text, or a file, or its bytes, as an encoder's `collate` takes it.
        show: the text, or the file's path.
        label: what a manifest's column of labels says of it; None where there is none.
    """

    row: str
    value: Any
    show: str
    label: str | None = None


def items_of(paths: list[Path], signal: str, *, label: str | None = None) -> list[Item]:
    """The lines of text files, files, the files of folders, sorted, or a manifest's column of the signal's name.

    Args:
        paths: each a file, a folder or a manifest.
        signal: which files of a folder, and which column of a manifest.
        label: the column of labels, of manifests that have it.

    Raises:
        UserError: nothing there, or nothing of this signal in all of them.
    """
    items = [item for path in paths for item in _items(path, signal, label)]
    if not items:
        raise UserError(f"no {signal} in {', '.join(map(str, paths))}: look at --as and at the endings")
    return items


def files_of(path: Path, signal: str) -> list[Path]:
    """A file, or those files of a folder, sorted, whose endings fit the signal.

    Raises:
        UserError: nothing there.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    endings = ENDINGS.get("speech" if signal == "audio" else signal, ())
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in endings) if path.is_dir() else [path]


def lines_of(file: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        UserError: no such file, or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{file}: no such file or folder") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def _items(path: Path, signal: str, label: str | None) -> list[Item]:
    if path.is_file() and path.suffix.lower() in MANIFESTS:
        return _rows(path, signal, label)
    if signal != "text":
        return [Item(file.stem, file, str(file)) for file in files_of(path, signal)]
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    lines = [(file, number, line) for file in files for number, line in enumerate(lines_of(file), start=1)]
    return [Item(f"{file.name}:{number}", line, line) for file, number, line in lines if line.strip()]


def _rows(path: Path, signal: str, label: str | None) -> list[Item]:
    from antiphon.data.sources import folder

    rows = folder.load(path, sound=signal if signal in ("speech", "audio", "sound") else "speech")
    if signal not in rows.column_names:
        raise UserError(f"{path}: no column {signal!r}; it has {', '.join(rows.column_names)}")
    labels = rows[label] if label in rows.column_names else [None] * len(rows)
    return [
        Item(row, value, value if isinstance(value, str) else str(value["path"]), None if name is None else str(name))
        for row, value, name in zip(rows["id"], rows[signal], labels, strict=True)
        if value is not None
    ]
