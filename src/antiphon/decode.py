"""From what stands in a row (a path, bytes, a Hugging Face dict) to a waveform, a picture or a text.

Sound is read by soundfile (libsndfile) and resampled by soxr; pictures by Pillow, SVG by resvg
(`antiphon.svg`). Whatever cannot be used is refused as `BadInput`, in one line, and limits are checked before
anything is decoded.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from antiphon.tails import cut_short

MAX_SECONDS = 600.0
"""Longest sound that is decoded unless the caller says otherwise."""
MAX_PIXELS = 50_000_000
"""Largest picture that is decoded, in pixels."""
MAX_CHARACTERS = 100_000
"""Longest text."""
RATES = (1_000, 384_000)
"""Sampling rates that are believed, in Hz."""
SVG_SIDE = 512
"""Longer side at which SVG is drawn where no size is asked, in pixels: it has no pixels of its own."""

_RASTER = ("PNG", "JPEG", "WEBP", "GIF")
_BLOCK = 1 << 16


class BadInput(ValueError):
    """An input that cannot be used; the message is one line: what came, what was wanted, what to do."""


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
    name = _name(source)
    if held is None:
        wave, came = _read_sound(_content(source), name, limit)
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
        return len(_waveform(held, _name(source))) / held_rate
    content, name = _content(source), _name(source)
    if _needs_av(content):
        from antiphon.containers import container_seconds

        return container_seconds(content, name)
    with _opened(content, name) as sound:
        return float(sound.frames / sound.samplerate)


def decode_image(source: Any, *, size: int | None = None, vector: bool = True) -> Image.Image:
    """An RGB picture; what is transparent becomes white, a GIF gives its first frame, EXIF turns are applied.

    Args:
        source: a path, the bytes of a PNG, JPEG, WebP, GIF or SVG file, a dict `{"bytes", "path"}`, a PIL
            image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).
        size: longer side of the result in pixels, aspect kept; None keeps the picture's own (`SVG_SIDE` for
            SVG).
        vector: False refuses SVG altogether, as a server should for pictures of strangers.

    Raises:
        BadInput: missing, empty, cut short, unreadable, too large, or an SVG that reaches outside itself.
    """
    name = _name(source)
    if isinstance(source, Image.Image | np.ndarray):
        picture = _flatten(source if isinstance(source, Image.Image) else _pixels(source), name)
    else:
        content = _bytes(_content(source), name)
        if _is_svg(content):
            if not vector:
                raise BadInput(f"{name}: SVG is not accepted here: send a PNG, JPEG, WebP or GIF")
            from antiphon.svg import draw

            picture = _flatten(_open_raster(draw(content, name, size or SVG_SIDE), name), name)
        else:
            picture = _flatten(_open_raster(content, name), name)
    return picture if size is None else _scaled(picture, size)


def clean_text(source: Any) -> str:
    """A text without space around it, in Unicode form NFC.

    Raises:
        BadInput: not a text, not UTF-8, empty, or longer than `MAX_CHARACTERS`.
    """
    if isinstance(source, bytes):
        try:
            source = source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"text of {len(source)} bytes: not UTF-8 ({error.reason} at byte {error.start})"
            ) from None
    if not isinstance(source, str):
        raise BadInput(f"text: got a {type(source).__name__} ({source!r:.40}), wanted a string")
    if len(source) > MAX_CHARACTERS:
        raise BadInput(f"text of {len(source)} characters, the limit is {MAX_CHARACTERS}: cut it")
    if any("\ud800" <= letter <= "\udfff" for letter in source):
        raise BadInput(f"text {source!r:.60}: broken UTF-8 (a lone surrogate): read the file as UTF-8")
    text = unicodedata.normalize("NFC", source).strip()
    if not text:
        raise BadInput(f"text {source!r:.40}: empty: leave it out, or give None where a row has no text")
    return text


# ---- what a source is ----


def _name(source: Any) -> str:
    if isinstance(source, Mapping):
        return str(source["path"]) if source.get("path") else _name(source.get("bytes"))
    if isinstance(source, bytes):
        return f"{len(source)} bytes"
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _content(source: Any) -> Path | bytes:
    """The file or the bytes that a source stands for."""
    if isinstance(source, Mapping):
        inside = source.get("bytes")
        source = source.get("path") if inside is None else inside
    if isinstance(source, bytes):
        if not source:
            raise BadInput("0 bytes: the file is empty")
        return source
    if not isinstance(source, str | Path):
        raise BadInput(
            f"got a {type(source).__name__}, wanted a path, bytes or a dict with 'bytes' or 'path'"
        )
    path = Path(source)
    try:
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise BadInput(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        raise error if isinstance(error, BadInput) else BadInput(f"{str(source)[:80]!r}: {error}") from None
    return path


def _bytes(content: Path | bytes, name: str) -> bytes:
    try:
        return content.read_bytes() if isinstance(content, Path) else content
    except OSError as error:
        raise BadInput(f"{name}: {error.strerror}") from None


# ---- sound ----


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
        raise BadInput(
            f"{name}: {frames / rate:.1f} s, the limit is {limit:g} s: cut it, or raise max_seconds"
        )


@contextmanager
def _opened(content: Path | bytes, name: str) -> Iterator[Any]:
    import soundfile

    try:
        with soundfile.SoundFile(
            io.BytesIO(content) if isinstance(content, bytes) else str(content)
        ) as sound:
            yield sound
    except (soundfile.SoundFileError, TypeError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].strip() or "unknown"
        raise BadInput(f"{name}: not readable as sound ({reason}): give WAV, FLAC, OGG or MP3") from None


def _read_sound(content: Path | bytes, name: str, limit: float) -> tuple[np.ndarray, int]:
    if _needs_av(content):
        from antiphon.containers import read_container

        return read_container(content, name, limit)
    with _opened(content, name) as sound:
        rate = sound.samplerate
        # an MP3 without a Xing or Info frame does not know its length: libsndfile guesses, far too long
        known = sound.format != "MP3" or re.search(rb"Xing|Info", _head(content, _BLOCK)) is not None
        frames = sound.frames if known else 0
        check_header(name, frames, rate, limit)
        missing = cut_short(content)
        if missing:
            raise BadInput(f"{name}: {missing}: the file is cut short, fetch or record it again")
        blocks, read = [], 0
        while len(
            block := sound.read(_BLOCK, dtype="float32", always_2d=True)
        ):  # sound.blocks() pads with old data
            blocks.append(block.mean(axis=1))
            read += len(block)
            check_header(name, read, rate, limit)
    if read < frames:
        raise BadInput(f"{name}: {read} of the {frames} samples that its header announces: it is cut short")
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def _needs_av(content: Path | bytes) -> bool:
    """True for MP4/M4A and Matroska/WebM, which libsndfile does not read."""
    head = _head(content, 12)
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3"


def _head(content: Path | bytes, size: int) -> bytes:
    if isinstance(content, bytes):
        return content[:size]
    try:
        with content.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise BadInput(f"{content}: {error.strerror}") from None


def _resample(wave: np.ndarray, came: int, wanted: int, name: str) -> np.ndarray:
    if came == wanted:
        return wave
    import soxr

    out = soxr.resample(wave, came, wanted, quality="HQ")
    if len(out) == 0:
        raise BadInput(f"{name}: {len(wave)} samples at {came} Hz are too few to give one at {wanted} Hz")
    return np.asarray(out, dtype=np.float32)


# ---- pictures ----


def _is_svg(content: bytes) -> bool:
    """Markup, or gzip (which only SVG comes in here, and which is refused there)."""
    head = content[:4].lstrip(b"\xef\xbb\xbf")
    return content[:2] in (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff") or head.lstrip()[:1] == b"<"


def _open_raster(content: bytes, name: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # the limit below is lower than Pillow's
        try:
            picture = Image.open(io.BytesIO(content), formats=_RASTER)
            _check_size(picture, name)
            picture.load()
        except BadInput:
            raise
        except Image.DecompressionBombError as error:
            raise BadInput(f"{name}: {error}, the limit is {MAX_PIXELS}: scale it down") from None
        except Exception as error:  # Pillow's readers raise errors of many kinds on broken files
            reason = str(error).partition("<_io")[0].strip() or type(error).__name__
            raise BadInput(f"{name}: not readable as PNG, JPEG, WebP, GIF or SVG ({reason})") from None
    return picture


def _pixels(array: np.ndarray) -> Image.Image:
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] not in (3, 4))
    ):
        raise BadInput(
            f"array of {array.dtype} and shape {array.shape}: wanted uint8 (H, W), (H, W, 3) or (H, W, 4)"
        )
    if array.size == 0:
        raise BadInput(f"array of shape {array.shape}: nothing to see")
    return Image.fromarray(array)


def _check_size(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise BadInput(f"{name}: {width} x {height} pixels, the limit is {MAX_PIXELS}: scale it down")
    if width * height == 0:
        raise BadInput(f"{name}: {width} x {height} pixels: nothing to see")


def _flatten(picture: Image.Image, name: str) -> Image.Image:
    _check_size(picture, name)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits: Pillow would clip to white instead of scaling
        picture = Image.fromarray(
            (np.asarray(picture).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)
        )
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    over = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")


def _scaled(picture: Image.Image, size: int) -> Image.Image:
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return (
        picture
        if (width, height) == picture.size
        else picture.resize((width, height), Image.Resampling.BICUBIC)
    )
