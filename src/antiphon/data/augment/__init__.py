"""Changes of a sample: small functions on decoded items that draw from a given generator.

`by_column(augment={"image": After(decode_image, partial(crop, size=96), flip)})` decodes, then changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Step = Callable[[Any, torch.Generator], Any]


class After:
    """Decode an item, then apply each step in turn: `f(item, generator)`.

    Args:
        decode: `decode_audio`, `decode_image`, `clean_text`, or what gives such an item.
        steps: functions of an item and a generator; bind their settings with `functools.partial`.
    """

    def __init__(self, decode: Callable[[Any], Any], *steps: Step) -> None:
        self.decode, self.steps = decode, steps

    def __call__(self, item: Any, generator: torch.Generator) -> Any:
        """The item, decoded and changed."""
        item = self.decode(item)
        for step in self.steps:
            item = step(item, generator)
        return item


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """One number between two."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def whole(below: int, generator: torch.Generator) -> int:
    """One whole number from 0 up to, and without, `below`."""
    return int(torch.randint(below, (), generator=generator))
