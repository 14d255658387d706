"""Gradients that are not finite: the step is skipped and its rows told, and too many in a row end the run."""

from __future__ import annotations

import math
import signal

import pytest

from antiphon.data.sampling import batches
from antiphon.runs import read_jsonl
from tests.faults.processes import start
from tests.faults.trainings import COUNT, STEPS, logged, sums, train


@pytest.mark.fault("a NaN gradient", "its step is skipped, its rows are told, and nothing else is touched")
@pytest.mark.parametrize("kind", ["rows", "rows, averaged, two workers", "stream, averaged, GradCache"])
def test_nan(kind, tmp_path):
    ended = start(tmp_path / "log", train, tmp_path / "run", kind, bad={33: "nan"}).wait()
    assert ended.code == 0, ended.said
    lines = logged(tmp_path / "run")
    skipped = [line["step"] for line in lines if not math.isfinite(line["grad_norm"])]
    assert 2 <= len(skipped) <= 4  # once an epoch, where the row is not left over
    assert all(math.isfinite(line["loss"]) for line in lines if line["step"] not in skipped)
    told = read_jsonl(tmp_path / "run/quarantine.jsonl")
    assert [int(line["reason"].split()[1].rstrip(":")) for line in told] == skipped
    assert all("r33" in line["row"].split(", ") and len(line["row"].split(", ")) == 8 for line in told)
    if kind == "rows":
        first = next(batch for batch in batches(COUNT, batch_size=8, seed=0, epoch=0, drop_last=True) if 33 in batch)
        assert told[0]["row"] == ", ".join(f"r{at}" for at in first)


@pytest.mark.fault("a NaN gradient and SIGKILL", "equal to the bit")
def test_nan_and_kill(tmp_path):
    options = {"bad": {33: "nan"}}
    assert start(tmp_path / "log", train, tmp_path / "whole", **options).wait().code == 0
    assert start(tmp_path / "log", train, tmp_path / "run", die_at=14, **options).wait().code == -signal.SIGKILL
    assert start(tmp_path / "log", train, tmp_path / "run", **options).wait().code == 0
    assert sums(tmp_path / "run") == sums(tmp_path / "whole")


@pytest.mark.fault("NaN gradients in a row", "the run stops after train.patience of them, in one line")
def test_nan_in_a_row(tmp_path):
    ended = start(tmp_path / "log", train, tmp_path / "run", bad=dict.fromkeys(range(COUNT), "nan"), patience=3).wait()
    assert ended.code == 1
    assert "the gradient was not finite in 3 steps in a row, up to step 3: lower train.lr" in ended.line
    assert len(logged(tmp_path / "run")) == 2 < STEPS
