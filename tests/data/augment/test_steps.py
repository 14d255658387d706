"""What every step keeps: the same draw from the same generator, and what it was given stays as it was."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from antiphon.data.augment import After, audio, image, signal, text, uniform, whole

WAVE = torch.sin(torch.arange(4000) * 0.2)
FRAMES = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
STEPS = [
    (audio.gain, WAVE),
    (audio.add_noise, WAVE),
    (partial(audio.shift, most=100), WAVE),
    (partial(audio.crop, size=1000), WAVE),
    (audio.speed, WAVE),
    (audio.spec_augment, FRAMES),
    (partial(image.crop, size=32), PICTURE),
    (image.flip, PICTURE),
    (image.colour_jitter, PICTURE),
    (partial(text.drop_words, chance=0.5), "one two three four five six seven eight"),
    (partial(text.crop_words, most=3), "one two three four five six seven eight"),
    (partial(signal.drop_channels, chance=0.5), FRAMES),
    (signal.mask_time, FRAMES),
]


def content(item: Any) -> bytes:
    return bytes(
        item.encode()
        if isinstance(item, str)
        else item.tobytes()
        if isinstance(item, Image.Image)
        else item.numpy().tobytes()
    )


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_a_generator_decides(place: int) -> None:
    step, item = STEPS[place]
    before = content(item)
    drawn = [content(step(item, torch.Generator().manual_seed(seed))) for seed in (*range(8), 0)]
    assert drawn[0] == drawn[-1]
    assert len(set(drawn)) > 1
    assert content(item) == before


def test_after_decodes_and_then_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    assert After(str.strip, lambda item, _: item + "!", lambda item, _: item * 2)(" a ", generator) == "a!a!"


def test_draws_stay_in_range() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = [uniform(2, 3, generator) for _ in range(200)]
    assert 2 <= min(numbers) < 2.1 < 2.9 < max(numbers) <= 3
    assert {whole(3, generator) for _ in range(100)} == {0, 1, 2}
