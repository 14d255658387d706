"""Ten times the rate for new parts, where the optimiser has one rate.

AdamW's steps do not depend on the size of gradients: a weight that is a factor times what is trained moves as if its
rate were that many times higher. (Weight decay shrinks it at the plain rate.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_ORIGINAL = re.compile(r"parametrizations\.(\w+)\.original$")


def faster(parts: Sequence[nn.Module], factor: float) -> None:
    """From now on the parameters of these parts move `factor` times as far; their values stay."""
    for part in parts:
        for module in list(part.modules()):
            for name, _ in list(module.named_parameters(recurse=False)):
                parametrize.register_parametrization(module, name, _Times(factor))


def plain(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module whose parts were made `faster`, with the names and values it would have without."""
    found = {}
    for name, value in module.state_dict().items():
        owner, _, _ = name.partition("parametrizations.")
        if "parametrizations." in name:
            held = module.get_submodule(owner.rstrip("."))
            value = getattr(held, _ORIGINAL.search(name)[1]).detach()  # type: ignore[index]
        found[_ORIGINAL.sub(r"\1", name)] = value
    return found


class _Times(nn.Module):
    """A factor before what is trained."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, trained: Tensor) -> Tensor:
        """The weight."""
        return trained * self.factor

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is trained."""
        return torch.div(weight, self.factor)
