"""Data workers that die or hang end the run in one line, and soon; the same command goes on."""

from __future__ import annotations

import re
import time

import pytest

from tests.faults.processes import start
from tests.faults.trainings import sums, train

KILLED = pytest.mark.fault("a worker killed", "one line that names it, no deadlock; equal to the bit after")
HUNG = pytest.mark.fault("a worker hung", "one line after train.worker_timeout; equal to the bit after")
SAID = {
    "kill": r"data worker (\d+ was killed by signal: Killed|\d+ exited unexpectedly|died as it handed over a batch) "
    r"\(out of memory\?",  # as torch saw it
    "hang": r"a data worker gave nothing for 2 s \(train\.worker_timeout\)",
}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        pytest.param("kill", "rows", marks=KILLED),
        pytest.param("kill", "stream", marks=KILLED),
        pytest.param("hang", "rows", marks=HUNG),
    ],
)
def test_a_worker(bad, kind, tmp_path):
    folder, options = tmp_path / "run", {"bad": {33: bad}, "workers": 2, "worker_timeout": 2}
    began = time.monotonic()
    ended = start(tmp_path / "log", train, folder, kind, **options).wait()
    assert time.monotonic() - began < 40
    assert ended.code == 1
    (line,) = [line for line in ended.said.splitlines() if line.startswith("antiphon: ")]  # another worker may moan too
    assert re.search(SAID[bad], line), line
    assert "the same command goes on from the last checkpoint" in line
    again = start(tmp_path / "log", train, folder, kind, **options).wait()
    assert again.code == 0, again.said
    assert start(tmp_path / "log", train, tmp_path / "whole", kind).wait().code == 0
    assert sums(folder) == sums(tmp_path / "whole")
