"""The runs that claims stand on: every arm on every seed, once, in a few processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path
from types import ModuleType

from antiphon.data import sources
from antiphon.errors import Stopped
from antiphon.evaluation.claims import Claim
from antiphon.runs import Run, RunError
from antiphon.training.stopping import asked_to_stop

_WATCH = 0.5  # seconds between two looks at whether Ctrl-C or SIGTERM came


def runs_of(
    recipe: ModuleType, name: str, claims: Iterable[Claim], *, seeds: int | None = None, root: Path = Path("runs")
) -> list[Run]:
    """Each arm of these claims on each seed, once: all arms of seed 0, then of seed 1, and so on.

    Args:
        recipe: the recipe's module.
        name: its name.
        claims: of the recipe.
        seeds: how many; each claim's own number where None.
        root: where run folders are.
    """
    found: dict[tuple[int, str], Run] = {}
    for claim in claims:
        for arm in (claim.better, claim.worse):
            config = recipe.laptop().but(**arm)
            for seed in range(seeds or claim.seeds):
                key = (seed, config.fingerprint())
                if key not in found:
                    found[key] = Run.of(name, config, seed=seed, root=root)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


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
        RunError: a process was killed from outside, as where memory ran out.
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
        return
    context = multiprocessing.get_context("spawn")
    no_more = context.Event()  # a pool hands out a task more than it has processes, which cannot be taken back
    pool = ProcessPoolExecutor(min(jobs, len(waiting)) or 1, context, initializer=_one_thread, initargs=(no_more,))
    with asked_to_stop() as asked, pool:
        futures: dict[Future[None], Run] = {pool.submit(_run, run): run for run in waiting}
        left, done = set(futures), 0
        try:
            while left:
                finished, left = wait(left, timeout=_WATCH, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    done += 1
                    ended(done, futures[future])
                if asked.is_set():
                    raise Stopped("stopped: the same command goes on from here")
        except BaseException as error:
            no_more.set()
            for child in multiprocessing.active_children():
                child.terminate()  # SIGTERM: a training writes its checkpoint first
            if isinstance(error, BrokenProcessPool):
                raise RunError(
                    "a process of a run was killed, as happens where memory runs out: fewer --jobs, and the same "
                    "command goes on from here"
                ) from None
            raise


def _one_thread(no_more: Event) -> None:
    import torch

    from antiphon.cli.app import warn_in_one_line

    warn_in_one_line()
    global _no_more
    _no_more = no_more
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks the processes to stop
    torch.set_num_threads(1)
    _OPEN.enter_context(sources.kept())


_no_more: Event | None = None
_OPEN = ExitStack()
"""What a process of the pool holds open as long as it lives."""


def _run(run: Run) -> None:
    from antiphon import recipes

    if _no_more is not None and _no_more.is_set():
        raise Stopped(f"{run.folder}: not begun")
    recipes.get(run.recipe).run(run.config, run)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
