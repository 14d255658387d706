"""Disks that are full or read-only, and a folder that two runs want: one line, and nothing lost."""

from __future__ import annotations

import os
import signal

import pytest

from antiphon.training import checkpoint
from tests.faults.processes import start, wait_for
from tests.faults.trainings import STEPS, sums, train


def _train_and_fill(folder, *, leave):
    """Train; after step 7 fill the disk but for so many bytes."""
    from antiphon.runs import Run

    log = Run.log

    def fill(self, step, **values):
        log(self, step, **values)
        if step == 7:
            filler = folder.parent / "filler"
            with filler.open("wb", buffering=0) as file:
                free = os.statvfs(folder)
                file.write(bytes(free.f_bavail * free.f_frsize))
                with pytest.raises(OSError, match="No space left"):
                    file.write(bytes(1))
                file.truncate(file.tell() - leave)

    Run.log = fill
    train(folder)


@pytest.mark.fault("disk full during a save", "one line, older checkpoints whole; with room again, equal to the bit")
def test_full_disk(small_disk, tmp_path):
    folder = small_disk / "run"
    ended = start(tmp_path / "log", _train_and_fill, folder, leave=16384).wait()
    assert ended.code == 1
    assert "step-00000010: not written" in ended.line
    assert "No space left on device" in ended.line
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000005"]
    assert checkpoint.newest(folder / "checkpoints").name == "step-00000005"
    _goes_on(small_disk, folder, tmp_path)


@pytest.mark.fault("disk full between saves", "one line that names the file; with room again, equal to the bit")
def test_full_disk_for_the_log(small_disk, tmp_path):
    folder = small_disk / "run"
    ended = start(tmp_path / "log", _train_and_fill, folder, leave=0).wait()
    assert ended.code == 1
    assert "No space left on device" in ended.line
    assert str(folder) in ended.line
    _goes_on(small_disk, folder, tmp_path)


def _goes_on(disk, folder, tmp_path):
    (disk / "filler").unlink()
    again = start(tmp_path / "log", train, folder).wait()
    assert again.code == 0, again.said
    assert start(tmp_path / "log", train, tmp_path / "whole").wait().code == 0
    assert sums(folder) == sums(tmp_path / "whole")


@pytest.mark.fault("read-only folder", "one line at once, also of a run that was begun; writable again, it goes on")
def test_read_only(read_only, tmp_path):
    (tmp_path / "runs").mkdir()
    folder = tmp_path / "runs/run"
    assert start(tmp_path / "log", train, folder, die_at=13).wait().code == -signal.SIGKILL
    unlock = read_only(tmp_path / "runs")
    for name in ("run", "new"):
        ended = start(tmp_path / "log", train, tmp_path / "runs" / name).wait()
        assert ended.code == 1
        assert f"runs/{name}: cannot be written (Read-only file system)" in ended.line
    unlock()
    assert start(tmp_path / "log", train, folder).wait().code == 0
    assert sums(folder)


@pytest.mark.fault("two runs in one folder", "the second is told at once; the first is not touched")
def test_two_runs(tmp_path):
    folder = tmp_path / "run"
    first = start(tmp_path / "log", train, folder, pause_at=7)
    wait_for(folder / "paused")
    second = start(tmp_path / "other log", train, folder).wait()
    assert second.code == 1
    assert "another process is training here" in second.line
    (folder / "go").touch()
    assert first.wait().code == 0
    assert start(tmp_path / "log", train, tmp_path / "whole").wait().code == 0
    assert sums(folder) == sums(tmp_path / "whole")


@pytest.mark.fault("the first of two runs is killed", "its lock goes with it: the next one goes on")
def test_a_lock_is_not_left(tmp_path):
    folder = tmp_path / "run"
    first = start(tmp_path / "log", train, folder, pause_at=7)
    wait_for(folder / "paused")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert (folder / ".lock").exists()
    assert start(tmp_path / "log", train, folder).wait().code == 0
    assert checkpoint.newest(folder / "checkpoints").name == f"step-{STEPS:08d}"
