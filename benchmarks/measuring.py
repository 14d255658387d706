"""What a row is, and how its two sides are measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

THREADS = 2


@dataclass(frozen=True)
class Row:
    """One comparison. `ratio` is ours / peer, and is held against `reach`."""

    ours: float
    peer: float
    unit: str
    peer_name: str
    reach: float
    want: Literal["at most", "at least"]
    bound: str
    """What limits ours: a physical rate, measured in the same run where it can be."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours over the peer's."""
        return self.ours / self.peer

    @property
    def reached(self) -> bool:
        """Whether the ratio is where it should be."""
        return self.ratio <= self.reach if self.want == "at most" else self.ratio >= self.reach

    def described(self, name: str) -> dict[str, Any]:
        """As JSON."""
        return {"row": name, **asdict(self), "ratio": self.ratio, "reached": self.reached}


def in_turns(
    *sides: Callable[[], Any], rounds: int = 5, warm: int = 1, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The least seconds of each side over `rounds`, taken in turns after `warm` unmeasured rounds.

    Rows of one thread take `time.process_time` as their clock: another program's work is not counted.
    """
    took = [[seconds(side, clock) for side in sides] for _ in range(warm + rounds)][warm:]
    return [min(column) for column in zip(*took, strict=True)]


def paired_ratio(
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median over rounds of ours / peer, each round back to back: for differences of a few per cent."""
    ours(), peer()
    return statistics.median(seconds(ours, clock) / seconds(peer, clock) for _ in range(rounds))


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Wall seconds (or another clock's) of one call."""
    started = clock()
    call()
    return clock() - started


def extra_memory(side: str, *words: str) -> float:
    """MiB that a call adds at its peak, in a fresh process.

    The C library gives back what is freed at once there (`MALLOC_MMAP_THRESHOLD_`): else it keeps some of it, by chance
    from 360 to 580 MiB in runs of one and the same loss, and what a call needs cannot be seen.

    Args:
        side: "module:function" of this folder; the function gets `words`, makes its inputs, and gives the call.
    """
    command = [sys.executable, "-m", "benchmarks.measuring", side, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"},
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def version(*packages: str) -> str:
    """Names and versions of packages."""
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def _measure(side: str, words: list[str]) -> float:
    import importlib

    import torch

    torch.set_num_threads(THREADS)
    module, _, function = side.partition(":")
    call = getattr(importlib.import_module(f"benchmarks.{module}"), function)(*words)
    warm = torch.randn(2048, 64, requires_grad=True)  # what torch loads at its first product is no part of it
    (warm @ warm.T).logsumexp(1).sum().backward()
    del warm
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    call()
    return _status("VmHWM") - before


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2:])))
