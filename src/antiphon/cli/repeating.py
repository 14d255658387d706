"""The runs that claims stand on: every arm on every seed, once, in a few processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import cast

from antiphon.data import sources
from antiphon.errors import Stopped, UserError
from antiphon.evaluation.claims import Claim
from antiphon.runs import Run, RunError
from antiphon.training.stopping import asked_to_stop

_WATCH = 0.5  # seconds between two looks at whether Ctrl-C or SIGTERM came


def runs_of(
    recipe: ModuleType, name: str, claims: Iterable[Claim], *, seeds: int | None = None, root: Path = Path("runs")
) -> list[Run]:
    """Each arm of these claims on each seed, once: one arm on all seeds, then the next.

    In this order runs side by side are of different seeds, and seldom wait for a start or floors that arms share.

    Args:
        recipe: the recipe's module.
        name: its name.
        claims: of the recipe.
        seeds: how many; each claim's own number where None.
        root: where run folders are.
    """
    found: dict[tuple[str, int], Run] = {}
    for claim in claims:
        for arm in (claim.better, claim.worse):
            config = recipe.laptop().but(**arm)
            for seed in range(seeds or claim.seeds):
                key = (config.fingerprint(), seed)
                if key not in found:
                    found[key] = Run.of(name, config, seed=seed, root=root)
    return list(found.values())


def usual_jobs() -> int:
    """One for each core up to four, each holding its model and data in memory; one where there is a GPU."""
    import torch

    return 1 if torch.cuda.is_available() else min(4, os.cpu_count() or 1)


def run_all(runs: Iterable[Run], *, jobs: int = 1, say: Callable[[str], None] = lambda _: None) -> None:
    """Run what has no result yet.

    Args:
        runs: of recipes that `recipes.get` knows.
        jobs: how many at a time. One runs in this process, on as many threads as torch was given; more in processes
            of one thread each, so that numbers can differ in their last bits from those of one job.
        say: told of each run that ended, with the time that is left by the mean so far.

    Raises:
        UserError: as the recipe raises it; runs that had begun go on from their checkpoints the next time.
        RunError: a process was killed from outside, as where memory ran out, or failed by a fault of the code.
        Stopped: Ctrl-C or SIGTERM came; checkpoints were written.
    """
    runs = list(runs)
    waiting = [run for run in runs if run.result is None]
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are already run")
    begun = time.monotonic()

    def ended(done: int, run: Run) -> None:
        took = time.monotonic() - begun
        left = took / done * (len(waiting) - done)
        rest = f"about {_minutes(left)} left" if left else "all done"
        say(f"[{done}/{len(waiting)}] {run.folder} after {_minutes(took)}, {rest}")

    if jobs == 1:
        with sources.kept():
            for done, run in enumerate(waiting, start=1):
                _run(run)
                ended(done, run)
    elif waiting:
        _run_side_by_side(waiting, jobs, ended)


def _run_side_by_side(waiting: list[Run], jobs: int, ended: Callable[[int, Run], None]) -> None:
    """Give each process a run, and another one when it is done.

    No queue is shared: a process that is killed while it holds the lock of one would keep the others waiting.
    """
    processes = [_Process() for _ in range(min(jobs, len(waiting)))]
    rest, busy, done = iter(waiting), dict[Connection, tuple[_Process, Run]](), 0

    def go_on(process: _Process) -> None:
        run = next(rest, None)
        if run is not None:
            with suppress(ConnectionError):  # of a process that has died, which `answer` tells
                process.pipe.send(run)
            busy[process.pipe] = process, run

    with asked_to_stop() as asked:
        try:
            for process in processes:
                go_on(process)
            while busy:
                for pipe in wait(list(busy), timeout=_WATCH):
                    process, run = busy.pop(cast(Connection, pipe))
                    process.answer(run)
                    done += 1
                    ended(done, run)
                    go_on(process)
                if asked.is_set():
                    raise Stopped("stopped: the same command goes on from here")
        finally:
            for process in processes:
                process.end()


class _Process:
    """A process that makes one run after another, on one thread."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there,))
        self.process.start()
        there.close()

    def answer(self, run: Run) -> None:
        """Wait for the end of a run; raise what stopped it."""
        try:
            error = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            if self.process.exitcode == 1:
                raise RunError(f"{run.folder} failed: see above; what it saved is kept") from None
            raise RunError(
                f"{run.folder}: its process was killed, as happens where memory runs out: fewer --jobs, and the same "
                "command goes on from here"
            ) from None
        if error is not None:
            raise error

    def end(self) -> None:
        """An idle process leaves; one that trains is asked to stop, and writes its checkpoint first."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _serve(pipe: Connection) -> None:
    import torch

    from antiphon.cli.app import warn_in_one_line

    warn_in_one_line()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks the processes to stop
    torch.set_num_threads(1)
    with sources.kept(), suppress(EOFError, ConnectionError):  # where the parent has closed the pipe
        while True:
            run = pipe.recv()
            try:
                _run(run)
            except UserError as error:
                pipe.send(error)
            else:
                pipe.send(None)


def _run(run: Run) -> None:
    from antiphon import recipes

    recipes.get(run.recipe).run(run.config, run)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
