"""What is trained: a module that maps a batch to named losses; and the contrastive one, split where processes meet."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.distributed import gather_views
from antiphon.types import Padded, Views

Batch = dict[str, Any]
"""Columns of a batch: `Padded`, tensors and lists that share their first axis."""


class Learner(nn.Module, ABC):
    """Maps a batch to losses by name. The sum of them is trained; the parts are logged."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar losses by name."""

    def levels(self) -> dict[str, float]:
        """Numbers to log beside the losses, as they are now: a learned temperature, a gate."""
        return {}


@dataclass(frozen=True)
class Replay:
    """Gradients to push through one micro-batch: of the loss by its views, and by the loss's own parameters."""

    views: Views
    parameters: tuple[tuple[nn.Parameter, Tensor], ...] = ()

    def surrogate(self, views: Views) -> Tensor:
        """A scalar whose gradient is the wanted one: the inner product with the gradients."""
        terms = [(views[name] * grad).sum() for name, grad in self.views.items()]
        return sum(terms[1:], terms[0]) + sum((parameter * grad).sum() for parameter, grad in self.parameters)


class ContrastiveLearner(Learner):
    """A learner whose loss compares rows with each other.

    `embed` looks at each row by itself; `losses` sees the views of all rows, of all processes. Because of that split,
    GradCache and DDP are written once, for every contrastive loss. Rows are compared as a set: their order decides
    nothing.

    Attributes:
        gathers: whether `losses` is given the views of all processes. A learner whose losses meet the keys of other
            processes by themselves (`contrast_tiled(..., exchange=Ring())`) sets it False, and is given its own.
    """

    gathers: bool = True

    @abstractmethod
    def embed(self, batch: Batch) -> Views:
        """Views of this process's rows: vectors, and what else the losses need (labels, masks), a row each."""

    @abstractmethod
    def losses(self, views: Views) -> dict[str, Tensor]:
        """Losses from the views of all rows."""

    def met(self, views: Views) -> Views:
        """What `losses` is given: the views of all processes, where the learner gathers."""
        return gather_views(views) if self.gathers else views

    def forward(self, batch: Batch, replay: Replay | None = None) -> dict[str, Tensor]:
        """Embed, gather from all processes, compare; or, with `replay`, push cached gradients through the encoders."""
        views = self.embed(batch)
        if replay is not None:
            return {"replay": replay.surrogate(views)}
        return self.losses(self.met(views))


def split(batch: Batch, size: int) -> list[Batch]:
    """Micro-batches of `size` rows of like length, each without the padding that its rows share.

    Rows come in the order of their longest item, counted in numbers, of the columns whose items differ in length;
    where nothing is padded they keep their order. Every column of the batch is cut alike.
    """
    rows = batch_size(batch)
    order = _by_length(batch, rows)
    return [
        {name: _taken(column, order[at : at + size]) for name, column in batch.items()} for at in range(0, rows, size)
    ]


def _by_length(batch: Batch, rows: int) -> Tensor:
    longest = torch.zeros(rows, dtype=torch.int64)
    for column in batch.values():
        if isinstance(column, Padded) and _ragged(column):
            longest = longest.maximum(column.lengths.cpu() * math.prod(column.values.shape[2:]))
    return longest.argsort(stable=True)


def _ragged(column: Padded) -> bool:
    """Whether the items that are there differ in length."""
    there = column.lengths[column.present]
    return len(there) > 0 and bool(there.min() < there.max())


def _taken(column: Any, rows: Tensor) -> Any:
    if isinstance(column, Padded):
        return column[rows.to(column.lengths.device)].trimmed()
    return column[rows.to(column.device)] if isinstance(column, Tensor) else [column[row] for row in rows.tolist()]


def batch_size(batch: Batch) -> int:
    """How many rows a batch has.

    Raises:
        ValueError: its columns differ in length.
    """
    sizes = {name: len(column) for name, column in batch.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"the columns of a batch have one length, these have {sizes}")
    return next(iter(sizes.values()))


def to_device(batch: Batch, device: Any) -> Batch:
    """The batch with its tensors on a device."""
    return {
        name: column.to(device) if isinstance(column, Tensor | Padded) else column for name, column in batch.items()
    }
