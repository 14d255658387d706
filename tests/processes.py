"""Runs a function in several gloo processes on this machine, and gives what each returned.

The processes stay, since each takes seconds to import torch; every call makes a new process group.
"""

from __future__ import annotations

import atexit
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch.multiprocessing as mp

_MOST = 240.0  # seconds that a call may take
_STANDING: list[tuple[mp.Process, Connection]] = []


def run_in_processes(count: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """`function(*args)` in `count` processes; the results in the order of ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    while len(_STANDING) < count:
        _STANDING.append(_started())
    asked = [pipe for _, pipe in _STANDING[:count]]
    for rank, pipe in enumerate(asked):
        pipe.send((rank, count, port, function, args))
    results, troubles = [], []
    for rank, pipe in enumerate(asked):
        if troubles or not pipe.poll(_MOST):
            troubles.append(f"process {rank} did not answer")
            continue
        try:
            told, trouble = pipe.recv()
        except EOFError:
            told, trouble = None, f"process {rank} died"
        results.append(told)
        troubles += [trouble] if trouble else []
    if troubles:
        _stop()
        raise RuntimeError("\n".join(troubles))
    return results


def _started() -> tuple[mp.Process, Connection]:
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,))
    process.start()
    there.close()
    return process, here


@atexit.register
def _stop() -> None:
    for process, pipe in _STANDING:
        pipe.close()
        process.terminate()
        process.join()
    _STANDING.clear()


def _serve(pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            rank, count, port, function, args = pipe.recv()
        except EOFError:
            return
        before = dict(os.environ)
        try:
            pipe.send((_in_group(rank, count, port, function, args), None))
        except Exception:
            pipe.send((None, traceback.format_exc()))
        os.environ.clear()
        os.environ.update(before)


def _in_group(rank: int, count: int, port: int, function: Callable[..., Any], args: tuple) -> Any:
    import torch.distributed as dist
    from accelerate.state import AcceleratorState, GradientState, PartialState

    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    for state in (AcceleratorState, GradientState, PartialState):  # what another call left
        state._reset_state()
    dist.init_process_group("gloo", rank=rank, world_size=count)
    try:
        return function(*args)
    finally:
        dist.destroy_process_group()
