"""Killed and run again is as if nothing had been; asked to stop, a run saves and says so."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from antiphon.training import checkpoint
from tests.faults.processes import start, wait_for
from tests.faults.trainings import KINDS, STEPS, logged, random_steps, sums, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folders of uninterrupted runs, by kind."""
    folder = tmp_path_factory.mktemp("whole")
    started = {kind: start(folder / f"log{at}", train, folder / f"{at}", kind) for at, kind in enumerate(KINDS)}
    for each in started.values():
        assert each.wait().code == 0, each.log.read_text()
    return {kind: folder / f"{at}" for at, kind in enumerate(KINDS)}


@pytest.mark.fault("SIGKILL at 20 random steps", "run again, all state at the end is equal to the bit")
@pytest.mark.parametrize("kind", KINDS)
def test_sigkill(kind, whole, tmp_path):
    seed = list(KINDS).index(kind)
    delays = random.Random(seed)
    for number, step in enumerate(random_steps(5, seed)):
        folder = tmp_path / f"run{number}"
        after = delays.choice([None, delays.uniform(0, 0.01)])
        killed = start(tmp_path / "log", train, folder, kind, die_at=step, die_after=after).wait()
        assert killed.code == -signal.SIGKILL, killed.said
        again = start(tmp_path / "log", train, folder, kind).wait()
        assert again.code == 0, again.said
        assert sums(folder) == sums(whole[kind])
        assert logged(folder) == logged(whole[kind])


def _train_and_die_in_a_save(folder: Path, line: int) -> None:
    """SIGKILL before the n-th line that `checkpoint.py` runs in the third save, which also deletes the first."""
    save, count = checkpoint.save, 0

    def trace(frame, event, _):
        nonlocal count
        if not frame.f_code.co_filename.endswith("training/checkpoint.py"):
            return None
        if event == "line":
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced(path, step, *args, **options):
        if step == 15:
            sys.settrace(trace)
        found = save(path, step, *args, **options)
        if step == 15:
            sys.settrace(None)
            (folder / "lines").write_text(str(count))
        return found

    checkpoint.save = traced
    train(folder, "rows, averaged, two workers", workers=0)


@pytest.mark.fault("SIGKILL inside a save", "there is always a whole newest checkpoint; equal to the bit")
def test_sigkill_inside_a_save(tmp_path):
    counted = start(tmp_path / "log", _train_and_die_in_a_save, tmp_path / "whole", 0).wait()
    assert counted.code == 0, counted.said
    lines = int((tmp_path / "whole/lines").read_text())
    assert lines > 100
    seen = set()
    for line in range(1, lines, lines // 12):
        folder = tmp_path / f"run{line}"
        assert start(tmp_path / "log", _train_and_die_in_a_save, folder, line).wait().code == -signal.SIGKILL
        seen.add(checkpoint.newest(folder / "checkpoints").name)
        again = start(tmp_path / "log", train, folder, "rows, averaged, two workers", workers=0).wait()
        assert again.code == 0, again.said
        assert sums(folder) == sums(tmp_path / "whole")
        assert len(list((folder / "checkpoints").iterdir())) == 2
    assert seen == {"step-00000010", "step-00000015"}  # before the rename and after it


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=pytest.mark.fault(name, "saves after the step, says so, ends with 130"))
        for name, number in (("SIGTERM", signal.SIGTERM), ("Ctrl-C", signal.SIGINT))
    ],
)
def test_asked_to_stop(number, whole, tmp_path):
    folder, kind = tmp_path / "run", "rows, averaged, two workers"
    running = start(tmp_path / "log", train, folder, kind, pause_at=8)
    wait_for(folder / "paused")
    (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)  # Ctrl-C goes to the data workers too
    (folder / "go").touch()
    ended = running.wait()
    assert ended.code == 130
    assert ended.line == "antiphon: stopped and saved after step 8: the same command goes on from here"
    assert start(tmp_path / "log", train, folder, kind).wait().code == 0
    assert sums(folder) == sums(whole[kind])


FILES = ("model.safetensors", "optimizer.safetensors", "generators.safetensors", "ema.safetensors", "state.json",
         "manifest.json")  # fmt: skip


@pytest.mark.fault("a file of the newest checkpoint cut, flipped or deleted", "reported, passed over, equal to the bit")
@pytest.mark.parametrize("harm", ["cut", "flip", "delete"])
def test_a_torn_checkpoint(harm, whole, tmp_path):
    kind = "stream, averaged, GradCache"
    assert start(tmp_path / "log", train, tmp_path / "killed", kind, die_at=13).wait().code == -signal.SIGKILL
    places = random.Random(harm)
    for name in FILES:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "killed", folder)
        file = folder / "checkpoints/step-00000010" / name
        data = bytearray(file.read_bytes())
        place = places.randrange(len(data))
        data[place] ^= 1 << places.randrange(8)
        if harm == "delete":
            file.unlink()
        else:
            file.write_bytes(data if harm == "flip" else data[:place])
        again = start(tmp_path / "log", train, folder, kind).wait()
        assert again.code == 0, again.said
        assert "step-00000010: " in again.said
        assert "passed over" in again.said
        assert sums(folder) == sums(whole[kind])


@pytest.mark.fault("every checkpoint torn", "each is reported, and the run begins anew")
def test_no_whole_checkpoint(whole, tmp_path):
    folder = tmp_path / "run"
    assert start(tmp_path / "log", train, folder, die_at=13).wait().code == -signal.SIGKILL
    for file in (folder / "checkpoints").glob("*/model.safetensors"):
        file.write_bytes(b"")
    again = start(tmp_path / "log", train, folder).wait()
    assert again.said.count("passed over") == 2
    assert sums(folder) == sums(whole["rows"])
    assert [line["step"] for line in logged(folder)] == list(range(1, STEPS + 1))
