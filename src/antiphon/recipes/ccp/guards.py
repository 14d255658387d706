"""What keeps context prediction honest: the projection's norm, and the banks of negatives.

Axes: B rows, D width of a vector, H hidden width, E width of a projection, K keys of a bank.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from antiphon.encoders.heads import unit
from antiphon.objectives.negatives import MemoryQueue

Norm = Literal["asymmetric", "symmetric", "layer", "none"]


class RunningNorm(nn.Module):
    """Batch norm whose caller says which statistics it uses: those of these rows, or the running ones.

    Running statistics take no gradient; under them a row's output does not depend on the other rows.

    Args:
        width: H.
        momentum: how far each batch moves the running statistics; the first batches are averaged evenly.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, width: int, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, rows_BH: Float[Tensor, "b h"], *, together: bool) -> Float[Tensor, "b h"]:
        """Normalise: by the statistics of these rows, or by the running ones."""
        mean_H, variance_H = (rows_BH.mean(0), rows_BH.var(0, correction=0)) if together else (self.mean, self.variance)
        return (rows_BH - mean_H) * (variance_H + 1e-5).rsqrt() * self.weight + self.bias

    @torch.no_grad()
    def learn(self, rows_BH: Float[Tensor, "b h"]) -> None:
        """Move the running statistics by a batch; call it when all of the batch has been normalised."""
        rate = max(self.momentum, 1 / (1 + int(self.seen)))
        self.mean = self.mean.lerp(rows_BH.mean(0), rate)
        self.variance = self.variance.lerp(rows_BH.var(0, correction=0), rate)
        self.seen = self.seen + 1


class Projection(nn.Module):
    """g: a hidden layer with a norm, and a linear map; used in training only.

    Args:
        width: D.
        out: E.
        norm: asymmetric: queries are normalised by their batch, keys by running statistics; symmetric: both by their
            batch; layer: each row for itself; none.
    """

    def __init__(self, width: int, out: int, norm: Norm) -> None:
        super().__init__()
        self.kind = norm
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, out)
        self.norm = _norm(norm, width)

    def forward(self, vectors_BD: Float[Tensor, "b d"], *, query: bool) -> Float[Tensor, "b e"]:
        """Unit projections of queries or of keys."""
        hidden_BH = self.first(vectors_BD)
        if isinstance(self.norm, RunningNorm):
            hidden_BH = self.norm(hidden_BH, together=query or self.kind == "symmetric")
        else:
            hidden_BH = self.norm(hidden_BH)
        return unit(self.last(hidden_BH.relu()))

    def learn(self, *sides_BD: Float[Tensor, "b d"]) -> None:
        """Move the running statistics, if there are any, by both sides of a batch."""
        if isinstance(self.norm, RunningNorm):
            self.norm.learn(self.first(torch.cat(sides_BD)).detach())


def _norm(kind: Norm, width: int) -> nn.Module:
    if kind in ("asymmetric", "symmetric"):
        return RunningNorm(width)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


class Banks(nn.Module):
    """A queue of keys for each language, or one for all; each key with the number of its sentence.

    Args:
        languages: how many.
        size: keys that a language's queue holds; the one for all holds so many times `languages`, so that keys are as
            old in it, and as many of each language.
        width: E.
        shared: one queue for all languages.
    """

    def __init__(self, languages: int, size: int, width: int, *, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        # The number is the last of a key's numbers: whole in float32 up to 16 million.
        sizes = [size * languages] if shared else [size] * languages
        self.queues = nn.ModuleList(MemoryQueue(each, width + 1) for each in sizes)

    def of(self, language: int) -> tuple[Float[Tensor, "k e"], Int[Tensor, " k"], Bool[Tensor, " k"]]:
        """The keys that a query of this language meets, their numbers, and which places hold one."""
        queue = self._queue(language)
        return queue.keys[:, :-1], queue.keys[:, -1].long(), queue.filled

    def push(self, keys_BE: Float[Tensor, "b e"], numbers_B: Int[Tensor, " b"], languages_B: Int[Tensor, " b"]) -> None:
        """Write keys over the oldest of their languages."""
        rows_BW = torch.cat([keys_BE.detach().float(), numbers_B[:, None].float()], 1)
        if self.shared:
            self._queue(0).push(rows_BW)
            return
        for language in sorted(set(languages_B.tolist())):
            self._queue(language).push(rows_BW[languages_B == language])

    def _queue(self, language: int) -> MemoryQueue:
        queue = self.queues[0 if self.shared else language]
        assert isinstance(queue, MemoryQueue)
        return queue


def mean_cosine(keys_BE: Float[Tensor, "b e"]) -> float:
    """The mean cosine of different rows of unit vectors; near 1 they are all alike."""
    count = len(keys_BE)
    return float((keys_BE.sum(0).square().sum() - count) / max(1, count * (count - 1)))
