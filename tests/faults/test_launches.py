"""Two processes under their launchers: one is killed and all start again; and two are as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import antiphon
from antiphon.data.shards import write_shards
from tests.faults.processes import start
from tests.faults.trainings import COUNT, STEPS, logged, sums, train

ROOT = Path(__file__).parents[2]
TORCHRUN = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "--max-restarts", "1"]
ACCELERATE = [
    "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip


def _launch(launcher: list[str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    rows = ({"id": f"r{at}", "number": at, "bad": None} for at in range(COUNT))
    write_shards(rows, folder.with_name(f"{folder.name}-shards"), rows_per_shard=11)
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else processes that start again meet the dead ones' addresses
        "PYTHONPATH": os.pathsep.join([str(Path(antiphon.__file__).parents[1]), str(ROOT)]),
    }  # fmt: skip
    command = [sys.executable, "-m", *launcher, "-m", "tests.faults.elastic", str(folder), *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.fault("one of two processes killed", "torchrun starts both again from the checkpoint; equal to the bit")
def test_a_killed_process(tmp_path):
    killed = _launch(TORCHRUN, tmp_path / "killed", "13")
    assert killed.returncode == 0, killed.stderr[-3000:]
    assert "Signal 9 (SIGKILL)" in killed.stderr or "exitcode: -9" in killed.stderr
    whole = _launch(TORCHRUN, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert sums(tmp_path / "killed") == sums(tmp_path / "whole")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.fault("accelerate launch, two processes", "the same result as one")
def test_two_are_as_one(tmp_path):
    two = _launch(ACCELERATE, tmp_path / "two")
    assert two.returncode == 0, two.stderr[-3000:]
    kind = "stream, averaged, GradCache"
    assert start(tmp_path / "log", train, tmp_path / "one", kind, plain=True).wait().code == 0
    for name in ("model", "ema"):
        files = [tmp_path / run / f"checkpoints/step-{STEPS:08d}/{name}.safetensors" for run in ("one", "two")]
        one, other = map(load_file, files)
        assert all(torch.allclose(one[key], other[key], atol=2e-6) for key in one)
