"""Low-rank adaptation of linear layers (LoRA, Hu et al. 2021, arXiv 2106.09685): y = W x + (alpha / r) B A x.

W is frozen; A `(r, in)` starts as a small Gaussian and B `(out, r)` as zeros, so that training starts from the layer as
it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from antiphon.errors import WrongValue


class LowRank(nn.Module):
    """A frozen linear layer, and a low-rank map that is added to it.

    Args:
        whole: the layer W.
        rank: r.
        alpha: the map's weight is alpha / r.
        dropout: on the map's input.
    """

    def __init__(self, whole: nn.Linear, rank: int, *, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        if not 1 <= rank <= min(whole.weight.shape):
            shape = tuple(whole.weight.shape)
            raise WrongValue(f"rank={rank}: a layer of {shape} takes 1 to {min(shape)}")
        self.whole = whole.requires_grad_(False)
        self.rate = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Parameter(torch.randn(rank, whole.in_features, dtype=whole.weight.dtype) / rank)
        self.up = nn.Parameter(torch.zeros(whole.out_features, rank, dtype=whole.weight.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """`(..., in)` to `(..., out)`."""
        out: Tensor = self.whole(inputs) + linear(linear(self.dropout(inputs), self.down), self.up) * self.rate
        return out


def add_low_rank(
    module: nn.Module, rank: int, *, alpha: float, dropout: float = 0.0, only: Sequence[str] = ()
) -> list[str]:
    """Freeze a module, and put `LowRank` in the place of its linear layers; gives their names, sorted.

    Args:
        only: the layers' own names, as "q_proj"; none means all.

    Raises:
        WrongValue: no linear layer has such a name.
    """
    module.requires_grad_(False)
    found = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and (not only or name.rpartition(".")[2] in only)
    }
    if not found:
        raise WrongValue(f"no linear layer {'named ' + ', '.join(only) if only else ''} in {type(module).__name__}")
    for name, layer in sorted(found.items()):
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, LowRank(layer, rank, alpha=alpha, dropout=dropout))
    return sorted(found)


@torch.no_grad()
def merge_low_rank(module: nn.Module) -> None:
    """Put plain linear layers back: W + (alpha / r) B A."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, LowRank):
            layer.whole.weight += layer.up @ layer.down * layer.rate
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, layer.whole)
