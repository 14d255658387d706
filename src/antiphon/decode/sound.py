"""Sound: read by soundfile (libsndfile), channels averaged, resampled by soxr."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.decode.source import BadInput, content_of, head_of, name_of
from antiphon.decode.tails import cut_short

MAX_SECONDS = 600.0
"""Longest sound that is decoded unless the caller says otherwise."""
RATES = (1_000, 384_000)
"""Sampling rates that are believed, in Hz."""
_BLOCK = 1 << 16


def decode_audio(source: Any, rate: int = 16_000, *, max_seconds: float | None = None) -> Float[Tensor, " t"]:
    """A mono waveform at `rate`; channels are averaged.

    Args:
        source: a path, the bytes of a file, a dict `{"bytes", "path"}` or `{"array", "sampling_rate"}`, or a
            waveform that is already mono at `rate` (a 1-D float tensor or array).
        rate: samples per second that are wanted.
        max_seconds: longest sound that is accepted, default `MAX_SECONDS`; longer ones are refused by their
            header.

    Raises:
        BadInput: missing, empty, cut short, unreadable or too long; NaN or infinite samples; a rate outside
            `RATES`.
    """
    limit = MAX_SECONDS if max_seconds is None else max_seconds
    held, held_rate = _held(source, rate)
    name = name_of(source)
    if held is None:
        wave, came = _read_sound(content_of(source), name, limit)
    else:
        wave, came = _waveform(held, name), held_rate
        check_header(name, len(wave), came, limit)
    return torch.from_numpy(np.ascontiguousarray(_resample(_sane(wave, name), came, rate, name)))


def probe_seconds(source: Any, *, rate: int = 16_000) -> float:
    """How long a sound lasts, in seconds, from its header alone.

    Args:
        source: as for `decode_audio`.
        rate: the rate of a waveform that comes without one.

    Raises:
        BadInput: missing, empty or unreadable.
    """
    held, held_rate = _held(source, rate)
    if held is not None:
        return len(_waveform(held, name_of(source))) / held_rate
    content, name = content_of(source), name_of(source)
    if _needs_av(content):
        from antiphon.decode.containers import container_seconds

        return container_seconds(content, name)
    with _opened(content, name) as sound:
        return float(sound.frames / sound.samplerate)


def _held(source: Any, rate: int) -> tuple[Any, int]:
    """The samples that a source carries in memory and their rate, or None where they must be decoded."""
    if isinstance(source, Mapping) and source.get("array") is not None:
        if not source.get("sampling_rate"):
            raise BadInput("a dict with 'array' but no 'sampling_rate': give both")
        return source["array"], int(source["sampling_rate"])
    return (source, rate) if isinstance(source, Tensor | np.ndarray) else (None, rate)


def _waveform(samples: Any, name: str) -> np.ndarray:
    wave = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else np.asarray(samples)
    if wave.ndim != 1:
        raise BadInput(f"{name}: samples of shape {wave.shape}, wanted one axis: average the channels")
    if wave.dtype.kind != "f":
        raise BadInput(f"{name}: samples are {wave.dtype}, wanted floats in -1..1: divide by the full scale")
    return wave.astype(np.float32)


def _sane(wave: np.ndarray, name: str) -> np.ndarray:
    if len(wave) == 0:
        raise BadInput(f"{name}: no samples")
    wrong = len(wave) - int(np.isfinite(wave).sum())
    if wrong:
        raise BadInput(f"{name}: {wrong} of {len(wave)} samples are NaN or infinite")
    return wave


def check_header(name: str, frames: int, rate: int, limit: float) -> None:
    """Refuse a sound by what its header says: samples, samples per second, and the limit in seconds."""
    low, high = RATES
    if not low <= rate <= high:
        raise BadInput(f"{name}: {rate} samples per second, wanted {low} to {high}: is the header right?")
    if frames > limit * rate:
        raise BadInput(f"{name}: {frames / rate:.1f} s, the limit is {limit:g} s: cut it, or raise max_seconds")


@contextmanager
def _opened(content: Path | bytes, name: str) -> Iterator[Any]:
    import soundfile

    try:
        sound = soundfile.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else str(content))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a path that ends in .raw
        raise _unreadable(name, error) from None
    with sound:
        try:
            yield sound
        except soundfile.SoundFileError as error:
            raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> BadInput:
    reason = str(error).rpartition(": ")[2].strip() or "unknown"
    return BadInput(f"{name}: not readable as sound ({reason}): give WAV, FLAC, OGG or MP3")


def _read_sound(content: Path | bytes, name: str, limit: float) -> tuple[np.ndarray, int]:
    if _needs_av(content):
        from antiphon.decode.containers import read_container

        return read_container(content, name, limit)
    with _opened(content, name) as sound:
        rate = sound.samplerate
        # an MP3 without a Xing or Info frame does not know its length: libsndfile guesses, far too long
        known = sound.format != "MP3" or re.search(rb"Xing|Info", head_of(content, _BLOCK)) is not None
        frames = sound.frames if known else 0
        check_header(name, frames, rate, limit)
        missing = cut_short(content)
        if missing:
            raise BadInput(f"{name}: {missing}: the file is cut short, fetch or record it again")
        blocks, read = [], 0
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):  # sound.blocks() pads with old data
            blocks.append(block.mean(axis=1))
            read += len(block)
            check_header(name, read, rate, limit)
    if read < frames:
        raise BadInput(f"{name}: {read} of the {frames} samples that its header announces: it is cut short")
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def _needs_av(content: Path | bytes) -> bool:
    """True for MP4/M4A and Matroska/WebM, which libsndfile does not read."""
    head = head_of(content, 12)
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3"


def _resample(wave: np.ndarray, came: int, wanted: int, name: str) -> np.ndarray:
    if came == wanted:
        return wave
    import soxr

    out = soxr.resample(wave, came, wanted, quality="HQ")
    if len(out) == 0:
        raise BadInput(f"{name}: {len(wave)} samples at {came} Hz are too few to give one at {wanted} Hz")
    return np.asarray(out, dtype=np.float32)
