"""Learning rate by step: a pure function, so that there is no scheduler state to save or to step twice."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["cosine", "linear", "constant"]


def rate_at(
    step: int, *, steps: int, peak: float, warmup: int = 0, shape: Shape = "cosine", floor: float = 0.0
) -> float:
    """The learning rate of step `step` (from 0).

    Args:
        steps: the whole run.
        peak: reached after `warmup` steps of linear rise.
        shape: of the fall from `peak` to `floor * peak` at the last step.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    fall = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[shape]
    return peak * (floor + (1 - floor) * fall)
