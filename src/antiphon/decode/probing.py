"""How long a sound lasts, asked of its header once: files that did not change since are not opened again."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from antiphon.decode.sound import probe_seconds
from antiphon.decode.source import BadInput, content_of


def cached_seconds(source: Any, *, rate: int = 16_000) -> float:
    """As `probe_seconds`; a file's answer is kept for as long as its size and its time of change stay.

    Args:
        source: as for `decode_audio`.
        rate: the rate of a waveform that comes without one.

    Raises:
        BadInput: missing, empty or unreadable.
    """
    held = source.get("bytes") is None and source.get("array") is None if isinstance(source, dict) else True
    path = source.get("path") if isinstance(source, dict) and held else source
    if not isinstance(path, str | Path):
        return probe_seconds(source, rate=rate)
    content = content_of(path)
    assert isinstance(content, Path)
    try:
        found = content.stat()
    except OSError as error:
        raise BadInput(f"{content}: {error.strerror}") from None
    return _seconds(content.absolute(), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _seconds(path: Path, size: int, changed: int) -> float:
    return probe_seconds(path)
