"""Symmetric InfoNCE, forward and backward, with a learned temperature: tiled, against the peers' losses."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from antiphon.objectives.tiled import contrast_tiled
from benchmarks.measuring import Row, extra_memory, in_turns, seconds

WIDTH = 384


def open_clip_losses() -> ModuleType:
    """The losses of open_clip: one file that needs torch alone, while the package needs torchvision.

    The environment variable OPEN_CLIP names a checkout to take them from; else they are those of the installed package.
    """
    path = Path(os.environ["OPEN_CLIP"], "src", "open_clip", "loss.py") if "OPEN_CLIP" in os.environ else _installed()
    spec = importlib.util.spec_from_file_location("open_clip_losses", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _installed() -> Path:
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("open_clip_torch is not installed: pip install --no-deps open_clip_torch")
    return Path(found.origin).with_name("loss.py")


def vectors(rows: int, width: int = WIDTH) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors of two views, alike as in the middle of training, and the scale."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(rows, width, generator=generator)
    right = left + torch.randn(rows, width, generator=generator)
    left, right = (torch.nn.functional.normalize(view, dim=1).requires_grad_() for view in (left, right))
    return left, right, torch.tensor(1 / 0.07, requires_grad=True)


def step(loss: Callable[..., Tensor], *tensors: Tensor) -> None:
    for tensor in tensors:
        tensor.grad = None
    loss(*tensors).backward()


def tiled(rows: str) -> Callable[[], None]:
    return partial(step, lambda left, right, scale: contrast_tiled(left, right, scale=scale), *vectors(int(rows)))


def open_clip(rows: str) -> Callable[[], None]:
    return partial(step, open_clip_losses().ClipLoss(), *vectors(int(rows)))


def cached(rows: str) -> Callable[[], None]:
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    from torch import nn

    loss = CachedMultipleNegativesRankingLoss(
        nn.Sequential(nn.Identity()), scale=1 / 0.07, mini_batch_size=512, directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )  # fmt: skip

    def step(left: Tensor, right: Tensor) -> None:
        left.grad = right.grad = None
        # The loss wants each view in mini-batches, and back-propagates each chunk by itself.
        loss.calculate_loss([list(left.split(512)), list(right.split(512))], with_backward=True)

    return partial(step, *vectors(int(rows))[:2])


def gemm_rate() -> float:
    """FLOP a second of one multiplication of a large matrix."""
    left, right = torch.randn(4096, 4096), torch.randn(4096, 4096)
    into = torch.empty(4096, 4096)
    (took,) = in_turns(lambda: torch.mm(left, right, out=into), rounds=3)
    return 2 * 4096**3 / took


def _shares(rows: int, took: float) -> dict[str, float]:
    rate = gemm_rate()
    return {"rows": rows, "width": WIDTH, "gemm_gflops": rate / 1e9, "gemm_share": 8 * rows**2 * WIDTH / rate / took}


def _bound(shares: dict[str, float]) -> str:
    return (
        f"8 B^2 D FLOP at the {shares['gemm_gflops']:.0f} GFLOP/s of torch.mm are {shares['gemm_share']:.0%} of the "
        "time; the rest is two exponentials a pair, six other passes over each tile, and the waits of the threads"
    )


def time(rows: int, peer: Callable[[str], Callable[[], None]], name: str, reach: float, rounds: int) -> Row:
    """Seconds of a step, in turns with a peer's."""
    took, theirs = in_turns(tiled(str(rows)), peer(str(rows)), rounds=rounds)
    shares = _shares(rows, took)
    return Row(took, theirs, "s", name, reach, "at most", bound=_bound(shares), details=shares)


def memory(rows: int, peer: str, name: str, reach: float) -> Row:
    """Extra MiB of a step."""
    ours, theirs = extra_memory("contrast:tiled", str(rows)), extra_memory(f"contrast:{peer}", str(rows))
    need = f"the gradients of both views and a scaled copy of one, twice ({4 * rows * WIDTH * 4 / 2**20:.0f} MiB)"
    return Row(
        ours, theirs, "MiB", name, reach, "at most", bound=f"{need}, and two tiles of 4 MiB", details={"rows": rows}
    )


def share() -> Row:
    """How much of the machine's rate of multiplication is left for a step, at 8,192 pairs."""
    left, right = torch.randn(4096, 4096), torch.randn(4096, 4096)
    into = torch.empty(4096, 4096)
    took, multiplied = in_turns(tiled("8192"), lambda: torch.mm(left, right, out=into), rounds=5)
    ours, rate = 8 * 8192**2 * WIDTH / took, 2 * 4096**3 / multiplied
    return Row(
        ours / 1e9, rate / 1e9, "GFLOP/s", "torch.mm of 4096 x 4096", 0.6, "at least",
        bound="torch.mm itself; see contrast-time-8192-open-clip for the rest of the time",
    )  # fmt: skip


def large() -> Row:
    """65,536 pairs once: time a pair against that at 8,192, in the same process."""
    (few,) = in_turns(tiled("8192"), rounds=3)
    many = seconds(tiled("65536"))
    return Row(
        many / 65536**2 * 1e9, few / 8192**2 * 1e9, "ns a pair of vectors", "ours at 8,192", 1.3, "at most",
        bound="the work is quadratic: equal time a pair", details={"seconds": many},
    )  # fmt: skip


def large_memory() -> Row:
    """65,536 pairs: the matrix of scores alone would be 16 GiB."""
    return Row(
        extra_memory("contrast:tiled", "65536"), 1024, "MiB", "1 GiB", 1.0, "at most",
        bound="the gradients of both views and a scaled copy of one, twice (384 MiB), and two tiles of 4 MiB",
    )  # fmt: skip


OPEN_CLIP = "ClipLoss of open_clip"
CACHED = "CachedMultipleNegativesRankingLoss(mini_batch_size=512) of sentence-transformers"

ROWS: dict[str, Callable[[], Row]] = {
    "contrast-time-8192-open-clip": lambda: time(8192, open_clip, OPEN_CLIP, 0.75, 3),
    "contrast-time-8192-cached": lambda: time(8192, cached, CACHED, 0.45, 3),
    "contrast-time-4096-open-clip": lambda: time(4096, open_clip, OPEN_CLIP, 1.0, 5),
    "contrast-memory-8192-open-clip": lambda: memory(8192, "open_clip", OPEN_CLIP, 1 / 9),
    "contrast-memory-8192-cached": lambda: memory(8192, "cached", CACHED, 1 / 3),
    "contrast-gemm-share": share,
    "contrast-time-65536": large,
    "contrast-memory-65536": large_memory,
}
