"""Processes that train together: who am I, and a gather that has a gradient.

Each process computes the whole loss from all gathered views, and back-propagates into its own rows only. DDP
then *averages* gradients over the W processes, where a *sum* over rows is wanted: so the gather's backward
multiplies by W. The loss's own parameters (a temperature) get the full gradient on every process, and the
average leaves it as it is. `tests/test_distributed.py` holds this to a single-process float64 reference.
"""

from __future__ import annotations

import os
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
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], dtype=torch.int64, device=rows.device))
    lengths = [int(size) for size in sizes]
    padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
    padded[: len(rows)] = rows
    blocks = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(blocks, padded)
    return [block[:length] for block, length in zip(blocks, lengths, strict=True)]
