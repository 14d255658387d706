"""Changes of a waveform `(T,)`, and of frames `(T, F)` by SpecAugment (Park 2019, arXiv 1904.08779)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.data.augment import uniform, whole

Wave = Float[Tensor, " _"]


def gain(wave: Wave, generator: torch.Generator, *, low: float = -6.0, high: float = 6.0) -> Wave:
    """Louder or softer, by a number of decibels between `low` and `high`."""
    return wave * 10 ** (uniform(low, high, generator) / 20)


def add_noise(wave: Wave, generator: torch.Generator, *, low: float = 10.0, high: float = 30.0) -> Wave:
    """White noise, at a signal-to-noise ratio between `low` and `high` decibels; silence stays silence."""
    ratio = uniform(low, high, generator)
    noise = torch.randn(wave.shape, generator=generator)
    return wave + noise * wave.pow(2).mean().sqrt() * 10 ** (-ratio / 20)


def shift(wave: Wave, generator: torch.Generator, *, most: int) -> Wave:
    """Moved by up to `most` samples either way; zeros come in, as many samples go out."""
    by = whole(2 * most + 1, generator) - most
    moved = torch.zeros_like(wave)
    if abs(by) < len(wave):
        moved[max(0, by) : len(wave) + min(0, by)] = wave[max(0, -by) : len(wave) - max(0, by)]
    return moved


def crop(wave: Wave, generator: torch.Generator, *, size: int) -> Wave:
    """`size` samples from a random place; a shorter wave stays whole."""
    if len(wave) <= size:
        return wave
    start = whole(len(wave) - size + 1, generator)
    return wave[start : start + size]


def speed(wave: Wave, generator: torch.Generator, *, low: float = 0.9, high: float = 1.1) -> Wave:
    """Faster or slower, pitch and all, by a factor between `low` and `high` (soxr)."""
    import soxr

    factor = uniform(low, high, generator)
    out = soxr.resample(wave.numpy(), factor, 1.0, quality="HQ")
    return torch.from_numpy(np.ascontiguousarray(out, dtype=np.float32))


def spec_augment(
    frames: Float[Tensor, "t f"],
    generator: torch.Generator,
    *,
    time_masks: int = 2,
    time_width: int = 40,
    time_share: float = 0.2,
    band_masks: int = 2,
    band_width: int = 15,
) -> Float[Tensor, "t f"]:
    """Spans of time and bands of frequency set to the mean of the frames; without the paper's time warp.

    Args:
        frames: for instance a log-mel spectrogram.
        generator: draws place and width of each mask, from zero up.
        time_masks: m_T of the paper.
        time_width: T, in frames.
        time_share: p, the most of the frames that one time mask covers.
        band_masks: m_F.
        band_width: F, in bands.
    """
    out, fill = frames.clone(), frames.mean()
    for axis, masks, widest in (
        (0, time_masks, min(time_width, int(time_share * frames.shape[0]))),
        (1, band_masks, min(band_width, frames.shape[1])),
    ):
        for _ in range(masks):
            width = whole(widest + 1, generator)
            start = whole(frames.shape[axis] - width + 1, generator)
            out.narrow(axis, start, width).fill_(fill)
    return out
