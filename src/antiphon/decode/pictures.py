"""Pictures: read by Pillow, SVG drawn by resvg; RGB, what is transparent on white."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from antiphon.decode.source import BadInput, bytes_of, content_of, name_of

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded, in pixels."""
SVG_SIDE = 512
"""Longer side at which SVG is drawn where no size is asked, in pixels: it has no pixels of its own."""
_RASTER = ("PNG", "JPEG", "WEBP", "GIF")


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
    name = name_of(source)
    if isinstance(source, Image.Image | np.ndarray):
        picture = _flatten(source if isinstance(source, Image.Image) else _pixels(source), name)
    else:
        content = bytes_of(content_of(source), name)
        if _is_svg(content):
            if not vector:
                raise BadInput(f"{name}: SVG is not accepted here: send a PNG, JPEG, WebP or GIF")
            from antiphon.decode.svg import draw

            picture = _flatten(_open_raster(draw(content, name, size or SVG_SIDE), name), name)
        else:
            picture = _flatten(_open_raster(content, name), name)
    return picture if size is None else _scaled(picture, size)


def _is_svg(content: bytes) -> bool:
    """Markup, or gzip (which only SVG comes in here, and which is refused there)."""
    head = content[:4].lstrip(b"\xef\xbb\xbf")
    return content[:2] in (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff") or head.lstrip()[:1] == b"<"


def _open_raster(content: bytes, name: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower than Pillow's
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
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise BadInput(f"array of {array.dtype} and shape {array.shape}: wanted uint8 (H, W), (H, W, 3) or (H, W, 4)")
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
        picture = Image.fromarray((np.asarray(picture).astype(np.float64) / 257).clip(0, 255).astype(np.uint8))
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    over = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")


def _scaled(picture: Image.Image, size: int) -> Image.Image:
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture if (width, height) == picture.size else picture.resize((width, height), Image.Resampling.BICUBIC)
