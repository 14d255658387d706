"""Resumed at awkward places, with other workers, with another config."""

from __future__ import annotations

import signal

import pytest

from antiphon.data.sampling import batches
from tests.faults.processes import start
from tests.faults.trainings import COUNT, STEPS, logged, sums, train

EPOCH = len(batches(COUNT, batch_size=8, seed=0, epoch=0, drop_last=True))


def _in_pieces(tmp_path, kind, steps, **settings):
    """Killed after each of these steps, and run to the end; beside a run that was not killed."""
    folder = tmp_path / "pieces"
    for step in steps:
        killed = start(tmp_path / "log", train, folder, kind, die_at=step, save_every=1).wait()
        assert killed.code == -signal.SIGKILL, killed.said
    last = start(tmp_path / "log", train, folder, kind, **{"save_every": 1} | settings).wait()
    assert last.code == 0, last.said
    assert start(tmp_path / "log", train, tmp_path / "whole", kind, save_every=1).wait().code == 0
    assert sums(folder) == sums(tmp_path / "whole")
    assert logged(folder) == logged(tmp_path / "whole")


AWKWARD = {
    "twice in one epoch": (EPOCH + 2, EPOCH + 4, EPOCH + 6),
    "at an epoch's end": (EPOCH + 1, 2 * EPOCH + 1),  # the step after the last one that was saved
    "at the first and last step": (1, 2, STEPS),
}


def _told(name):
    fault = pytest.mark.fault(f"resumed {name}", "the same rows, equal to the bit")
    return pytest.param(AWKWARD[name], id=name.replace(" ", "-"), marks=fault)


@pytest.mark.parametrize("kind", ["rows", "stream"])
@pytest.mark.parametrize("steps", [_told(name) for name in AWKWARD])
def test_awkward_places(kind, steps, tmp_path):
    _in_pieces(tmp_path, kind, steps)


@pytest.mark.fault("resumed with another number of workers", "the same order of rows, equal to the bit")
@pytest.mark.parametrize("kind", ["rows", "stream"])
def test_other_workers(kind, tmp_path):
    folder = tmp_path / "run"
    assert start(tmp_path / "log", train, folder, kind, die_at=9, workers=3).wait().code == -signal.SIGKILL
    refused = start(tmp_path / "log", train, folder, kind, workers=1).wait()
    assert "train.workers: 3 -> 1" in refused.line
    assert start(tmp_path / "log", train, folder, kind, workers=1, changed=True).wait().code == 0
    assert start(tmp_path / "log", train, tmp_path / "whole", kind).wait().code == 0
    assert sums(folder) == sums(tmp_path / "whole")


@pytest.mark.fault(
    "resumed with a changed config", "each difference is shown; refused, or done where --changed says so"
)
def test_other_config(tmp_path):
    folder = tmp_path / "run"
    assert start(tmp_path / "log", train, folder, die_at=13).wait().code == -signal.SIGKILL
    refused = start(tmp_path / "log", train, folder, lr=0.02, batch_size=6).wait()
    assert refused.code == 1
    assert "(train.batch_size: 8 -> 6; train.lr: 0.01 -> 0.02)" in refused.line
    assert len(logged(folder)) == 13
    changed = start(tmp_path / "log", train, folder, lr=0.02, batch_size=6, changed=True).wait()
    assert changed.code == 0, changed.said
    lines = logged(folder)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[10]["lr"] > 0.012 > lines[9]["lr"]


@pytest.mark.fault("a run that has ended, for more steps", "goes on where --changed says so")
def test_more_steps(tmp_path):
    folder = tmp_path / "run"
    assert start(tmp_path / "log", train, folder, steps=12, schedule="constant", warmup=0).wait().code == 0
    more = start(tmp_path / "log", train, folder, schedule="constant", warmup=0, changed=True).wait()
    assert more.code == 0, more.said
    assert start(tmp_path / "log", train, tmp_path / "whole", schedule="constant", warmup=0).wait().code == 0
    assert sums(folder) == sums(tmp_path / "whole")
