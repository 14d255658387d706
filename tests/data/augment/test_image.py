"""Changes of a picture, by hand."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from antiphon.data.augment.image import colour_jitter, crop, flip

PICTURE = Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_crop_gives_the_size_and_can_give_all() -> None:
    for seed in range(20):
        assert crop(PICTURE, generator(seed), size=24, scale=(0.01, 1)).size == (24, 24)
    whole = crop(PICTURE, generator(), size=32, scale=(1, 1), aspect=(1.5, 1.5))
    assert whole.tobytes() == PICTURE.resize((32, 32), Image.Resampling.BICUBIC).tobytes()


def test_crop_takes_parts_of_the_asked_area() -> None:
    ramp = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (200, 1)))
    spans = []
    for seed in range(50):
        part = np.asarray(crop(ramp, generator(seed), size=50, scale=(0.25, 0.25), aspect=(1, 1))).astype(int)
        spans.append(part.max() - part.min())
    assert 95 <= min(spans) <= max(spans) <= 101


def test_flip() -> None:
    assert flip(PICTURE, generator(), chance=0) is PICTURE
    turned = np.asarray(flip(PICTURE, generator(), chance=1))
    assert (turned == np.asarray(PICTURE)[:, ::-1]).all()
    assert 30 < sum(flip(PICTURE, generator(seed)) is PICTURE for seed in range(100)) < 70


def test_colour_jitter_of_nothing_is_nothing() -> None:
    out = colour_jitter(PICTURE, generator(), brightness=0, contrast=0, saturation=0)
    assert out.tobytes() == PICTURE.tobytes()
    bright = [np.asarray(colour_jitter(PICTURE, generator(s), contrast=0, saturation=0)).mean() for s in range(40)]
    assert min(bright) < 0.8 * np.asarray(PICTURE).mean()
    assert max(bright) > 1.05 * np.asarray(PICTURE).mean()
