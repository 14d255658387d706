"""Sound from MP4, M4A, WebM and Matroska files, by PyAV where it is installed (it is no dependency)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.decode.source import BadInput


def read_container(content: Path | bytes, name: str, limit: float) -> tuple[np.ndarray, int]:
    """The mono waveform of the first sound stream and its rate.

    Raises:
        BadInput: PyAV is absent, there is no sound, or it lasts longer than `limit` seconds.
    """
    from antiphon.decode.sound import check_header  # which imports this module, where it is needed

    with _opened(content, name) as (av, container):
        stream = container.streams.audio[0]
        rate = int(stream.rate)
        check_header(name, int((container.duration or 0) / av.time_base * rate), rate, limit)
        planes = av.AudioResampler(format="fltp", rate=rate)  # its own mono is 3 dB louder than the mean
        blocks: list[np.ndarray] = []
        samples = 0
        for frame in chain(container.decode(stream), [None]):  # None flushes the resampler
            for part in planes.resample(frame):
                blocks.append(part.to_ndarray().mean(axis=0))
                samples += len(blocks[-1])
            check_header(name, samples, rate, limit)  # a container may not know its own length
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def container_seconds(content: Path | bytes, name: str) -> float:
    """The length that a container announces, in seconds.

    Raises:
        BadInput: PyAV is absent, or the container announces nothing.
    """
    with _opened(content, name) as (av, container):
        if not container.duration:
            raise BadInput(f"{name}: announces no length: convert it to WAV or FLAC")
        return float(container.duration / av.time_base)


@contextmanager
def _opened(content: Path | bytes, name: str) -> Iterator[tuple[Any, Any]]:
    try:
        import av  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise BadInput(
            f"{name}: MP4, M4A, WebM and MKV need PyAV: pip install av, or convert to WAV, FLAC or OGG"
        ) from None
    try:
        with av.open(io.BytesIO(content) if isinstance(content, bytes) else str(content)) as container:
            if not container.streams.audio:
                raise BadInput(f"{name}: holds no sound")
            yield av, container
    except av.FFmpegError as error:
        raise BadInput(f"{name}: not readable as sound ({error.strerror})") from None
