"""Low-rank adaptation of linear layers (LoRA, Hu et al. 2021, arXiv 2106.09685): y = W x + (alpha / r) B A x.

W is frozen; A `(r, in)` starts as a small Gaussian and B `(out, r)` as zeros, so that training starts from the layer as
it was.

With weights decomposed (DoRA, Liu et al. 2024, arXiv 2402.09353, eq. 5): y = m V / |V| x, V = W + (alpha / r) B A. The
size m learns too, and starts as |W|; |V| is a constant to the gradient (section 4.3). The paper takes the norm of each
column; its code, and `peft`, that of each output's weights, which is a row of `(out, in)`: so it is here.
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
        dropout: on the map's input; with `dora`, on the input of all that differs from W.
        dora: decompose the weights into size and direction.
    """

    def __init__(self, whole: nn.Linear, rank: int, *, alpha: float, dropout: float = 0.0, dora: bool = False) -> None:
        super().__init__()
        if not 1 <= rank <= min(whole.weight.shape):
            shape = tuple(whole.weight.shape)
            raise WrongValue(f"rank={rank}: a layer of {shape} takes 1 to {min(shape)}")
        self.whole = whole.requires_grad_(False)
        self.rate = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Parameter(torch.randn(rank, whole.in_features, dtype=whole.weight.dtype) / rank)
        self.up = nn.Parameter(torch.zeros(whole.out_features, rank, dtype=whole.weight.dtype))
        self.magnitude = nn.Parameter(whole.weight.detach().norm(dim=1)) if dora else None

    def forward(self, inputs: Tensor) -> Tensor:
        """`(..., in)` to `(..., out)`."""
        whole: Tensor = self.whole(inputs)
        dropped = self.dropout(inputs)
        added: Tensor = linear(linear(dropped, self.down), self.up) * self.rate
        if self.magnitude is None:
            return whole + added
        scale = self._scale()
        out: Tensor = whole + (scale - 1) * linear(dropped, self.whole.weight) + scale * added
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer that does the same, in the place of W."""
        weight = self._direction()
        self.whole.weight.copy_(weight if self.magnitude is None else weight * self._scale()[:, None])
        return self.whole

    def _direction(self) -> Tensor:
        """V, `(out, in)`."""
        return self.whole.weight + self.up @ self.down * self.rate

    def _scale(self) -> Tensor:
        """m / |V| of each output."""
        assert self.magnitude is not None
        scale: Tensor = self.magnitude / self._direction().detach().norm(dim=1)
        return scale


def add_low_rank(
    module: nn.Module,
    rank: int,
    *,
    alpha: float,
    dropout: float = 0.0,
    only: Sequence[str] = (),
    dora: bool = False,
) -> list[str]:
    """Freeze a module, and put `LowRank` in the place of its linear layers; gives their names, sorted.

    Args:
        only: the layers' own names, as "q_proj"; none means all.
        dora: as of `LowRank`.

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
        setattr(module.get_submodule(parent), own, LowRank(layer, rank, alpha=alpha, dropout=dropout, dora=dora))
    return sorted(found)


def merge_low_rank(module: nn.Module) -> None:
    """Put plain linear layers back: W + (alpha / r) B A, or m V / |V|."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, LowRank):
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, layer.merged())
