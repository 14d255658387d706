"""Videos: frames at even times, from MP4, WebM, Matroska or AVI by PyAV where it is installed (it is no dependency),
and from animated GIF, WebP or PNG by Pillow.

A video of so many seconds is divided into equal segments, and each gives the frame that is shown at its middle: so
frames are sampled by time, whatever the frame rate, and a short video repeats its frames.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageSequence
from torch import Tensor

from antiphon.decode.pictures import MAX_PIXELS, decode_image
from antiphon.decode.source import BadInput, content_of, head_of, name_of

MAX_SECONDS = 600.0
"""Longest video that is decoded unless the caller says otherwise."""
_ANIMATED = ("GIF", "WEBP", "PNG")

Timed = tuple[float, Any]
"""A frame, and from when on it is shown, in seconds."""


def decode_video(source: Any, frames: int, *, max_seconds: float | None = None) -> UInt8[Tensor, "{frames} h w 3"]:
    """So many RGB frames of a video, at the middles of as many equal segments of its time.

    Args:
        source: a path, the bytes of a file, a dict `{"bytes", "path"}`, or a uint8 tensor or array `(T, H, W, 3)`,
            whose frames are shown equally long.
        frames: how many.
        max_seconds: longest video that is accepted, default `MAX_SECONDS`.

    Raises:
        BadInput: missing, empty, cut short, unreadable, too long or too large; or PyAV is absent and needed.
    """
    if frames < 1:
        raise ValueError(f"frames={frames}: wanted one or more")
    name, limit = name_of(source), MAX_SECONDS if max_seconds is None else max_seconds
    if isinstance(source, Tensor | np.ndarray):
        held = _held(source)
        return held[_even(len(held), frames)].clone()
    content = content_of(source)
    if _is_picture(content):
        chosen = _by_pillow(content, name, frames, limit)
    else:
        chosen = _by_av(content, name, frames, limit)
    sizes = {frame.shape for frame in chosen}
    if len(sizes) > 1:
        raise BadInput(f"{name}: frames of {len(sizes)} sizes: wanted one throughout")
    return torch.from_numpy(np.stack(chosen))


def decode_vectors(source: Any, frames: int | None = None) -> Float[Tensor, "t d"]:
    """Vectors of a video's frames that were computed elsewhere, as float32.

    Args:
        source: `(T, D)` numbers, one line a frame, all shown equally long: a tensor, an array or lists.
        frames: so many, at the middles of as many equal segments; None takes all.

    Raises:
        BadInput: not such numbers, none, or one that is not finite.
    """
    try:
        held = source if isinstance(source, Tensor) else torch.from_numpy(np.asarray(source, dtype=np.float32))
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"not vectors of frames ({' '.join(str(error).split())[:80]}): wanted T lines of D numbers"
        ) from None
    if held.dim() != 2 or held.numel() == 0:
        raise BadInput(f"vectors of frames of shape {tuple(held.shape)}: wanted (T, D)")
    if not held.isfinite().all():
        raise BadInput("vectors of frames that are not all finite")
    return (held if frames is None else held[_even(len(held), frames)]).float()


def middles(seconds: float, frames: int) -> list[float]:
    """The middles of equal segments, in seconds."""
    return [(at + 0.5) * seconds / frames for at in range(frames)]


def shown(timed: Iterator[Timed], times: list[float]) -> list[Any]:
    """The frame that is shown at each of the rising times: the last one that has begun, or the first of all.

    Frames behind the last time are not asked for.
    """
    chosen: list[Any] = []
    last: Any = None
    for begins, frame in timed:
        while last is not None and len(chosen) < len(times) and times[len(chosen)] < begins:
            chosen.append(last)
        if len(chosen) == len(times):
            return chosen
        last = frame
    return chosen + [last] * (len(times) - len(chosen)) if last is not None else []


def _even(count: int, frames: int) -> list[int]:
    """The frames at the middles of so many equal segments of `count`."""
    return [(2 * at + 1) * count // (2 * frames) for at in range(frames)]


def _held(source: Any) -> Tensor:
    frames = source if isinstance(source, Tensor) else torch.from_numpy(np.ascontiguousarray(source))
    if frames.dtype != torch.uint8 or frames.dim() != 4 or frames.shape[3] != 3 or frames.numel() == 0:
        raise BadInput(f"frames of {frames.dtype} and shape {tuple(frames.shape)}: wanted uint8 (T, H, W, 3)")
    return frames


def _is_picture(content: Path | bytes) -> bool:
    head = head_of(content, 12)
    return head[:4] in (b"GIF8", b"\x89PNG") or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


# ---- by Pillow ----


def _by_pillow(content: Path | bytes, name: str, frames: int, limit: float) -> list[np.ndarray]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is looked at below
            with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=_ANIMATED) as file:
                _check_size(name, *file.size)
                lasts = [max(1, round(frame.info.get("duration", 0) or 100)) for frame in _frames(file)]  # milliseconds
                _check_length(name, sum(lasts) / 1000, limit)
                begins = [before / 1000 for before in accumulate(lasts, initial=0)]
                timed = ((begin, frame.copy()) for begin, frame in zip(begins, _frames(file), strict=False))
                chosen = shown(timed, middles(begins[-1], frames))
                return [np.asarray(decode_image(frame)) for frame in chosen]
    except BadInput:
        raise
    except Exception as error:  # Pillow's readers raise errors of many kinds on broken files
        reason = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise BadInput(f"{name}: not readable as an animated GIF, WebP or PNG ({reason})") from None


def _frames(file: Any) -> Iterator[Any]:
    for frame in ImageSequence.Iterator(file):
        frame.load()  # a WebP tells a frame's duration then
        yield frame


# ---- by PyAV ----


def _by_av(content: Path | bytes, name: str, frames: int, limit: float) -> list[np.ndarray]:
    try:
        import av
    except ImportError:
        raise BadInput(f"{name}: videos need PyAV: pip install av, or give an animated GIF or WebP") from None
    try:
        with av.open(io.BytesIO(content) if isinstance(content, bytes) else str(content)) as container:
            if not container.streams.video:
                raise BadInput(f"{name}: holds no pictures{', only sound' if container.streams.audio else ''}")
            stream = container.streams.video[0]
            _check_size(name, stream.width, stream.height)
            seconds = _seconds(container, stream, av.time_base, limit)
            _check_length(name, seconds, limit)
            times = middles(seconds, frames)
            timed = _Timed(container, stream)
            chosen = shown(iter(timed), times)
            if not chosen:
                raise BadInput(f"{name}: holds no frame that can be decoded")
            if timed.last + max(0.5, 0.1 * seconds) < times[-1]:
                raise BadInput(f"{name}: its frames end at {timed.last:.1f} of {seconds:.1f} s: it is cut short")
            return [_upright(frame) for frame in chosen]
    except av.FFmpegError as error:
        raise BadInput(f"{name}: not readable as video ({error.strerror})") from None


class _Timed:
    """Frames with their times from the first one on; `last` is the time of the last that was decoded."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.container, self.stream, self.last = container, stream, 0.0

    def __iter__(self) -> Iterator[Timed]:
        first: float | None = None
        for number, frame in enumerate(self.container.decode(self.stream)):
            time = frame.time if frame.time is not None else number / float(self.stream.average_rate or 25)
            first = time if first is None else first
            self.last = time - first
            yield self.last, frame


def _seconds(container: Any, stream: Any, base: int, limit: float) -> float:
    """How long the video lasts: as announced, or by its packets where nothing is."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration / base)
    ends = [0.0]
    for packet in container.demux(stream):
        if packet.pts is not None:
            ends.append(float((packet.pts + (packet.duration or 0)) * stream.time_base))
            if ends[-1] > limit:
                break
    container.seek(0)
    return max(ends)


def _upright(frame: Any) -> np.ndarray:
    """RGB, turned as the file says (telephones write films lying on their side)."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _check_size(name: str, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise BadInput(f"{name}: frames of {width} x {height} pixels, the limit is {MAX_PIXELS}")


def _check_length(name: str, seconds: float, limit: float) -> None:
    if seconds > limit:
        raise BadInput(f"{name}: {seconds:.1f} s, the limit is {limit:g} s: cut it, or raise max_seconds")
