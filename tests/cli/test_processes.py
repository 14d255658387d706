"""The same command under torchrun's and accelerate's launchers: two processes, one run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import antiphon

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc-per-node", "2"],
    "accelerate": [
        "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_one_run(launcher, tmp_path):
    words = [
        sys.executable,
        "-m",
        *LAUNCHERS[launcher],
        "-m",
        "antiphon",
        "train",
        "clip",
        "--preset",
        "tiny",
        "--json",
    ]
    environment = {
        **os.environ, "PYTHONPATH": str(Path(antiphon.__file__).parents[1]), "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true", "ANTIPHON_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == 1
    folder = tmp_path / told[0]["run"]
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 21))
    assert (folder / "space/space.json").is_file()
