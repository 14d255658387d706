"""Processes that train together: who am I, and a gather that has a gradient.

Each process computes the whole loss from all gathered views, and back-propagates into its own rows only. DDP
then *averages* gradients over the W processes, where a *sum* over rows is wanted: so the gather's backward
multiplies by W. The loss's own parameters (a temperature) get the full gradient on every process, and the
average leaves it as it is. `tests/test_distributed.py` holds this to a single-process float64 reference.

`Ring` is the other way: nobody gathers, blocks of keys go round, and each process computes its own rows of the loss.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from antiphon.types import Views


def world_size() -> int:
    """How many processes train together (1 without torch.distributed)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; as its launcher says, before the processes have met."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else int(os.environ.get("RANK", "0"))


def gather_views(views: Views) -> Views:
    """The views of all processes, rows in the order of the ranks; batches may be of unequal size."""
    if world_size() == 1:
        return views
    return {name: gather(view) for name, view in views.items()}


def gather(rows: Shaped[Tensor, b * rest]) -> Shaped[Tensor, n * rest]:
    """The rows of all processes, differentiable in the own rows (see the top of this file for the factor W)."""
    if world_size() == 1:
        return rows
    if rows.is_floating_point():
        return _Gather.apply(rows)  # type: ignore[no-any-return, no-untyped-call]
    return torch.cat(_all_gather(rows.contiguous()))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        blocks = _all_gather(rows.contiguous())
        ctx.start = sum(len(block) for block in blocks[: rank()])
        ctx.size = len(rows)
        return torch.cat(blocks)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0][ctx.start : ctx.start + ctx.size] * world_size()


def _all_gather(rows: Tensor) -> list[Tensor]:
    lengths = _all_lengths(rows)
    padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
    padded[: len(rows)] = rows
    blocks = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(blocks, padded)
    return [block[:length] for block, length in zip(blocks, lengths, strict=True)]


def _all_lengths(rows: Tensor) -> list[int]:
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], dtype=torch.int64, device=rows.device))
    return [int(size) for size in sizes]


class Ring:
    """Passes blocks of keys from process to process, so that none ever holds the keys of all.

    For `contrast_tiled(..., exchange=Ring())` and `sigmoid_tiled`: each process gives the views of its own rows, which
    must not have been gathered, and gets the loss of all rows. The gradients are those of `gather`: W times those of
    the own rows, and the full one of what all processes share. While a block is worked on the next one is on its way.
    Batches may be of unequal size. (Ring of keys: SigLIP, arXiv 2303.15343, section 3.3; Inf-CL, arXiv 2410.17243.)
    """

    def circulate(
        self, carried: tuple[Tensor, ...], sums: tuple[Tensor, ...] = ()
    ) -> Iterator[tuple[bool, tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """The own block, then those of the processes before; see `antiphon.objectives.tiles.Exchange`.

        Args:
            carried: tensors with a row for each key of this process; read only.
            sums: the same, changed in place by whoever holds the block; whole when the iterator ends.
        """
        count = world_size()
        if count == 1:
            yield True, carried, sums
            return
        sizes = _all_lengths(carried[0])
        block, totals = carried, sums
        for step in range(count):
            length = sizes[(rank() - step - 1) % count]
            coming = _Passing(block, length, 0) if step < count - 1 else None
            yield step == 0, block, totals
            totals = _Passing(totals, length, len(carried)).received()
            if coming is not None:
                block = coming.received()
        for home, total in zip(sums, totals, strict=True):
            home.copy_(total)

    def total(self, local: Tensor) -> Tensor:
        """The sum over processes."""
        return local if world_size() == 1 else _Total.apply(local)  # type: ignore[no-untyped-call]

    def own(self, rows: Tensor) -> Tensor:
        """The rows; their gradient is multiplied by W, because DDP averages where a sum is wanted."""
        return rows if world_size() == 1 else _Own.apply(rows)  # type: ignore[no-untyped-call]

    def shared(self, parameter: Tensor) -> Tensor:
        """The parameter; its gradient is summed over the processes."""
        return parameter if world_size() == 1 else _Shared.apply(parameter)  # type: ignore[no-untyped-call]


class _Passing:
    """Tensors on their way to the next process, while those of the process before come in."""

    def __init__(self, tensors: tuple[Tensor, ...], length: int, tag: int) -> None:
        self.sent = [tensor.contiguous() for tensor in tensors]  # kept until they have gone
        self.coming = tuple(tensor.new_empty((length, *tensor.shape[1:])) for tensor in tensors)
        after, before = (rank() + 1) % world_size(), (rank() - 1) % world_size()
        operations = []
        for number, (sent, coming) in enumerate(zip(self.sent, self.coming, strict=True), start=tag):
            operations += [dist.P2POp(dist.isend, sent, after, tag=number)] if sent.numel() else []
            operations += [dist.P2POp(dist.irecv, coming, before, tag=number)] if coming.numel() else []
        self.works = dist.batch_isend_irecv(operations) if operations else []

    def received(self) -> tuple[Tensor, ...]:
        """What came, once it is there."""
        for work in self.works:
            work.wait()
        return self.coming


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * world_size()


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor) -> Tensor:
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total
