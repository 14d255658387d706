"""What a source stands for: a path, the bytes of a file, or a Hugging Face dict of either."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import UserError


class BadInput(UserError, ValueError):
    """An input that cannot be used; the message is one line: what came, what was wanted, what to do."""


def name_of(source: Any) -> str:
    """How an error calls this source: its path, or how many bytes."""
    if isinstance(source, Mapping):
        return str(source["path"]) if source.get("path") else name_of(source.get("bytes"))
    if isinstance(source, bytes):
        return f"{len(source)} bytes"
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def content_of(source: Any) -> Path | bytes:
    """The file or the bytes that a source stands for."""
    if isinstance(source, Mapping):
        inside = source.get("bytes")
        source = source.get("path") if inside is None else inside
    if isinstance(source, bytes):
        if not source:
            raise BadInput("0 bytes: the file is empty")
        return source
    if not isinstance(source, str | Path):
        raise BadInput(f"got a {type(source).__name__}, wanted a path, bytes or a dict with 'bytes' or 'path'")
    path = Path(source)
    try:
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise BadInput(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        raise error if isinstance(error, BadInput) else BadInput(f"{str(source)[:80]!r}: {error}") from None
    return path


def bytes_of(content: Path | bytes, name: str) -> bytes:
    """All of it."""
    try:
        return content.read_bytes() if isinstance(content, Path) else content
    except OSError as error:
        raise BadInput(f"{name}: {error.strerror}") from None


def head_of(content: Path | bytes, size: int) -> bytes:
    """Its first `size` bytes."""
    if isinstance(content, bytes):
        return content[:size]
    try:
        with content.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise BadInput(f"{content}: {error.strerror}") from None
