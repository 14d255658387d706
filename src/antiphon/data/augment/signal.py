"""Changes of a recording of many channels `(T, C)`: EEG, MEG, sensors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.data.augment import whole

Frames = Float[Tensor, "t c"]


def drop_channels(frames: Frames, generator: torch.Generator, *, chance: float = 0.1) -> Frames:
    """Each channel set to zero with this chance; one always stays."""
    stays = torch.rand(frames.shape[1], generator=generator) >= chance
    if not stays.any():
        stays[whole(frames.shape[1], generator)] = True
    return frames * stays


def mask_time(frames: Frames, generator: torch.Generator, *, masks: int = 2, widest: float = 0.1) -> Frames:
    """Spans of time set to zero, each up to `widest` (a share of the whole) long."""
    out = frames.clone()
    for _ in range(masks):
        width = whole(int(widest * len(frames)) + 1, generator)
        start = whole(len(frames) - width + 1, generator)
        out[start : start + width] = 0
    return out
