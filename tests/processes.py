"""Runs a function in several gloo processes on this machine, and gives what each returned."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp


def run_in_processes(count: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """`function(*args)` in `count` processes; the results in the order of ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_child, (count, port, function, args, results), nprocs=count)
        return [results[rank] for rank in range(count)]


def _child(rank: int, count: int, port: int, function: Callable[..., Any], args: tuple, results: dict) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    dist.init_process_group("gloo", rank=rank, world_size=count)
    try:
        results[rank] = function(*args)
    finally:
        dist.destroy_process_group()
