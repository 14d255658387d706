"""What the processes of the fault tests train: a toy with everything that a state can hold, fed in every way."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import torch
import torch._dynamo  # every optimizer imports it, slowly: so it is imported once, before the processes fork

from antiphon.config import Config
from antiphon.data.shards import write_shards
from antiphon.data.streaming import Stream
from antiphon.runs import Run
from antiphon.training import checkpoint
from antiphon.training.fit import Every, Train, fit
from tests.training.toy import Remembering, Toy, collate, rows

STEPS = 24
COUNT = 60
"""Rows: seven steps of eight an epoch, and four rows over."""

KINDS = {
    "rows": {},
    "stream": {},
    "rows, averaged, two workers": {"ema": 0.9, "workers": 2},
    "stream, averaged, GradCache": {"ema": 0.9, "microbatch": 3},
}


class Settings(Config):
    """A recipe's config."""

    train: Train = Train(
        steps=STEPS, batch_size=8, lr=1e-2, save_every=5, log_every=1, weight_decay=0.1, worker_timeout=60
    )


def train(
    folder: Path,
    kind: str = "rows",
    *,
    changed: bool = False,
    die_at: int | None = None,
    die_after: float | None = None,
    pause_at: int | None = None,
    bad: dict[int, str] | None = None,
    shards: Path | None = None,
    plain: bool = False,
    **settings,
) -> None:
    """Train in `folder`, until the end or a fault.

    Args:
        folder: of the run.
        kind: one of `KINDS`.
        changed: as `Run` takes it.
        die_at: SIGKILL after this step, before it is saved.
        die_after: SIGKILL so many seconds after step `die_at`, whatever goes on then.
        pause_at: after this step, write `paused` into the folder and wait for a file `go`.
        bad: rows by number that are "nan", or that "kill" or "hang" the process that collates them, the first time.
        shards: where a stream reads; written where absent.
        plain: without dropout, batch statistics and queue, so that two processes can equal one.
        settings: of `Train`.
    """
    torch.set_num_threads(1)
    config = Settings(train=Settings().train.but(**KINDS[kind] | settings))
    run = Run(folder, config, changed=changed)
    run.seed_all()
    every = [Every(1, lambda moment: _fault(moment.step, folder, die_at, die_after, pause_at))]
    made = [{"id": f"r{at}", "number": at, "bad": (bad or {}).get(at)} for at in range(COUNT)]
    data = made if not kind.startswith("stream") else _stream(made, shards or folder.with_name(f"{folder.name}-shards"))
    learner = Toy() if plain else Remembering(dropout=0.3)
    fit(learner, data, config.train, run, collate=_Numbers(folder), every=every)


def sums(folder: Path) -> str:
    """The checksums of all that the last checkpoint holds: equal sums are equal to the bit."""
    newest = checkpoint.newest(folder / "checkpoints")
    assert newest is not None
    assert newest.name == f"step-{STEPS:08d}"
    return (newest / "manifest.json").read_text()


def logged(folder: Path) -> list[dict]:
    """The logged lines, without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def _stream(made: list[dict], folder: Path) -> Stream:
    if not folder.exists():
        write_shards(made, folder, rows_per_shard=11)
    return Stream(folder, block=19)


class _Numbers:
    """Rows of `toy.rows` by their number; a bad one does what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows, self.collate = folder, rows(COUNT), collate()

    def __call__(self, batch):
        return self.collate([{**row, **self._row(row)} for row in batch])

    def _row(self, row):
        found, done = self.rows[row["number"]], self.folder / "bad row met"
        if row.get("bad") == "nan":
            return {**found, "left": found["left"] * float("nan")}
        if row.get("bad") is not None and not done.exists():
            done.touch()
            if row["bad"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)
        return found


def _fault(step: int, folder: Path, die_at: int | None, die_after: float | None, pause_at: int | None) -> None:
    if step == die_at and die_after is None:
        os.kill(os.getpid(), signal.SIGKILL)
    elif step == die_at:
        threading.Thread(target=_die, args=(die_after,), daemon=True).start()
    if step == pause_at:
        (folder / "paused").touch()
        while not (folder / "go").exists():
            time.sleep(0.005)


def _die(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def random_steps(count: int, seed: int) -> list[int]:
    """Steps to die at, drawn from all but the last."""
    return sorted(random.Random(seed).choices(range(1, STEPS), k=count))
