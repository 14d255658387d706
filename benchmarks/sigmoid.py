"""The sigmoid loss of SigLIP in training: tiled, against open_clip's in chunks, which keeps what backward needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import torch

from antiphon.objectives.tiled import sigmoid_tiled
from benchmarks.contrast import WIDTH, gemm_rate, open_clip_losses, step, vectors
from benchmarks.measuring import Row, extra_memory, in_turns

COUNT, CHUNK = 8192, 512


def tiled() -> Callable[[], None]:
    def loss(left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return sigmoid_tiled(left, right, scale=scale, bias=bias)

    return partial(step, loss, *vectors(COUNT), torch.tensor(-10.0, requires_grad=True))


def _peer() -> tuple[Callable[..., torch.Tensor], str]:
    """The peer's loss and its name. Chunks came after release 3.3.0: OPEN_CLIP names a checkout that has them."""
    made = open_clip_losses().SigLipLoss
    if "chunk_size" in inspect.signature(made).parameters:
        return made(chunk_size=CHUNK), f"SigLipLoss(chunk_size={CHUNK}) of open_clip, in a checkout later than 3.3.0"
    return made(), "SigLipLoss of open_clip, which has no chunks in this version"


def open_clip() -> Callable[[], None]:
    loss, _ = _peer()
    return partial(step, loss, *vectors(COUNT), torch.tensor(-10.0, requires_grad=True))


def memory() -> Row:
    """Extra MiB of one step."""
    return Row(
        extra_memory("sigmoid:tiled"), extra_memory("sigmoid:open_clip"), "MiB", _peer()[1], 1 / 6, "at most",
        bound="the gradients of both views, twice (48 MiB); before, a scaled copy of one and two tiles of 4 MiB",
    )  # fmt: skip


def time() -> Row:
    """Seconds of one step."""
    took, theirs = in_turns(tiled(), open_clip(), rounds=3)
    floor = 6 * COUNT**2 * WIDTH / gemm_rate()
    return Row(
        took, theirs, "s", _peer()[1], 1.0, "at most",
        bound=f"6 B^2 D FLOP at the rate of torch.mm: {floor:.2f} s, {floor / took:.0%} of ours",
    )  # fmt: skip


ROWS: dict[str, Callable[[], Row]] = {"sigmoid-memory-8192": memory, "sigmoid-time-8192": time}
