"""Changes of a picture (PIL, RGB), as SimCLR and CLIP use them."""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageEnhance, ImageOps

from antiphon.data.augment import uniform, whole


def crop(
    picture: Image.Image,
    generator: torch.Generator,
    *,
    size: int,
    scale: tuple[float, float] = (0.5, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Image.Image:
    """A random part, scaled to `size` x `size` ("random resized crop").

    Args:
        picture: what is cut.
        generator: draws area, aspect and place.
        size: side of the result in pixels.
        scale: the part's area over the picture's.
        aspect: its width over its height; drawn on a log scale.
    """
    width, height = picture.size
    area = width * height * uniform(*scale, generator)
    ratio = math.exp(uniform(math.log(aspect[0]), math.log(aspect[1]), generator))
    across = min(width, max(1, round(math.sqrt(area * ratio))))
    down = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = whole(width - across + 1, generator), whole(height - down + 1, generator)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + across, top + down))


def flip(picture: Image.Image, generator: torch.Generator, *, chance: float = 0.5) -> Image.Image:
    """Left and right exchanged, with this chance. Not for pictures with letters in them."""
    return ImageOps.mirror(picture) if uniform(0, 1, generator) < chance else picture


def colour_jitter(
    picture: Image.Image,
    generator: torch.Generator,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> Image.Image:
    """Brightness, contrast and saturation, each times a factor of 1 ± its setting (at most 1)."""
    for enhance, most in (
        (ImageEnhance.Brightness, brightness),
        (ImageEnhance.Contrast, contrast),
        (ImageEnhance.Color, saturation),
    ):
        picture = enhance(picture).enhance(uniform(1 - most, 1 + most, generator))
    return picture
