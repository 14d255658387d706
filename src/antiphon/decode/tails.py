"""Sees that a sound file ends too early where libsndfile would give what is there and say nothing (WAV, AIFF,
OGG)."""

from __future__ import annotations

import io
import struct
from pathlib import Path

_OPEN_ENDED = (0, 0xFFFFFFFF, 0xFFFFFFFF - 36)
"""What programs that write a WAV into a pipe put as its size."""
_OGG_PAGE_MOST = 27 + 255 + 255 * 255


def cut_short(content: Path | bytes) -> str | None:
    """What is missing at the end of a sound file, in words, or None where nothing seems to be.

    WAV and AIFF announce the size of their samples; the last page of an OGG must be whole. An OGG that ends
    exactly between two pages cannot be told from a recording that was never closed, and passes.
    """
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            return _chunks(file, size, b"data", "<")
        if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            return _chunks(file, size, b"SSND", ">")
        return _ogg(file, size) if head[:4] == b"OggS" else None


def _chunks(file: io.BufferedIOBase, size: int, wanted: bytes, order: str) -> str | None:
    while len(head := file.read(8)) == 8:
        name, announced = struct.unpack(f"{order}4sI", head)
        there = size - file.tell()
        if name == wanted:
            short = announced > there and announced not in _OPEN_ENDED
            return f"{there} of {announced} bytes of samples" if short else None
        file.seek(announced + announced % 2, io.SEEK_CUR)
    return None


def _ogg(file: io.BufferedIOBase, size: int) -> str | None:
    file.seek(max(0, size - _OGG_PAGE_MOST))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return "its last page has no whole header"
    announced = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return f"{len(page)} of {announced} bytes of its last page" if announced > len(page) else None
