"""Real processes that cost little: one server imports everything once, and each process is forked from it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.trainings"])


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said on both its outputs."""

    code: int
    said: str

    @property
    def line(self) -> str:
        """The one line on which a user's error is told."""
        told = [line for line in self.said.splitlines() if line.startswith("antiphon: ")]
        assert len(told) == 1, self.said
        assert "Traceback" not in self.said, self.said
        return told[0]


class Started:
    """A process that runs."""

    def __init__(self, log: Path, function: Callable[..., Any], args: tuple, options: dict) -> None:
        self.log = log
        self.process = _CONTEXT.Process(target=_run, args=(str(log), function, args, options))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def wait(self, seconds: float = 60) -> Ended:
        """Until it has ended."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still runs after {seconds} s:\n{self.log.read_text()}")
        return Ended(self.process.exitcode, self.log.read_text() if self.log.exists() else "")


def start(log: Path, function: Callable[..., Any], *args: Any, **options: Any) -> Started:
    """`function(*args, **options)` in a process of its own, which ends as the command line would."""
    return Started(log, function, args, options)


def wait_for(path: Path, seconds: float = 60) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path} after {seconds} s"
        time.sleep(0.005)


def _run(log: str, function: Callable[..., Any], args: tuple, options: dict) -> None:
    from antiphon.errors import Stopped, UserError

    os.setsid()  # a process group of its own, as a terminal gives
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    multiprocessing.set_start_method("fork", force=True)  # of its data workers, as in a process of a user
    code = 0
    try:
        function(*args, **options)
    except Stopped as stopped:
        sys.stderr.write(f"antiphon: {stopped}\n")
        code = 130
    except (UserError, OSError) as error:  # as antiphon.cli.app.main
        sys.stderr.write(f"antiphon: {error}\n")
        code = 1
    sys.exit(code)
