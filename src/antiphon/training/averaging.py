"""An exponential moving average of what is trained: after each step, `average += (1 - decay) * (parameter - average)`.

Buffers (batch statistics, queues) are not averaged: they are part of the model's own state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The moving average of a model's trained parameters, from their values now.

    Args:
        model: parameters that need no gradient are left out.
        decay: of the average, in (0, 1); 0.999 remembers about the last 1000 steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.values: dict[str, Tensor] = {name: each.detach().clone() for name, each in self._parameters.items()}

    def update(self) -> None:
        """Move towards the parameters as they are now."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                self.values[name].lerp_(parameter, 1 - self.decay)

    def restart(self) -> None:
        """Forget: the average is the parameters as they are now."""
        self.load({name: parameter.detach() for name, parameter in self._parameters.items()})

    def load(self, values: dict[str, Tensor]) -> None:
        """Take over averages that were saved."""
        for name, value in values.items():
            self.values[name].copy_(value)

    def give(self) -> None:
        """Put the averages into the model, for good."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self.values[name])

    @contextmanager
    def given(self) -> Iterator[None]:
        """The model carries the averages inside the block, and its own parameters again after it."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.give()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(own[name])
