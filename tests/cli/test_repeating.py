"""The runs of claims: each once, in one process or in several, stopped and gone on with."""

import multiprocessing
import os
import signal
import threading
import time
from types import ModuleType

import pytest
import torch

from antiphon.cli import repeating
from antiphon.cli.repeating import run_all, runs_of
from antiphon.data import sources
from antiphon.errors import Stopped, UserError, WrongValue
from antiphon.evaluation.claims import Arm, Claim
from antiphon.recipes import clip
from antiphon.runs import Run, RunError

SHORT = clip.tiny().but(train__steps=2)


def _claims():
    names = {"metric": "accuracy", "floor": "chance", "seeds": 3}
    first = Claim("wide beats narrow", better=Arm(width=32), worse=Arm(width=8), **names)
    return [first, Claim("wide beats the middle", better=Arm(width=32), worse=Arm(width=16), **names)]


def test_every_arm_and_seed_once_arm_by_arm(tmp_path):
    recipe = ModuleType("toy")
    recipe.laptop = lambda: SHORT
    found = runs_of(recipe, "clip", _claims(), root=tmp_path)
    assert [(run.seed, run.config.width) for run in found] == [(s, w) for w in (32, 8, 16) for s in range(3)]
    assert len(runs_of(recipe, "clip", _claims(), seeds=2, root=tmp_path)) == 6


def test_processes_give_what_one_gives(tmp_path):
    told = {}
    results = []
    for jobs in (1, 2):
        runs = [Run.of("clip", SHORT.but(width=w), root=tmp_path / str(jobs)) for w in (8, 16, 32)]
        said = told[jobs] = []
        run_all(runs, jobs=jobs, say=said.append)
        results.append([{k: v for k, v in run.result.items() if "seconds" not in k} for run in runs])
        run_all(runs, jobs=jobs, say=said.append)
    for one, other in zip(*results, strict=True):
        assert one == pytest.approx(other, abs=1e-4)  # threads sum in other orders
    for said in told.values():
        assert [line.split()[0] for line in said] == ["[1/3]", "[2/3]", "[3/3]", "3"]
        assert "left" in said[0]
        assert said[2].endswith("all done")
        assert said[3] == "3 of 3 runs are already run"


def _looked(_):
    if sources.load("made", rows=4) is not sources.load("made", rows=4) or torch.get_num_threads() != 1:
        raise WrongValue("read twice, or on several threads")


def _serve_looks(pipe):
    repeating._run = _looked
    repeating._serve(pipe)


def test_a_process_reads_a_source_once_on_one_thread(monkeypatch, tmp_path):
    monkeypatch.setattr(repeating, "_serve", _serve_looks)
    said = []
    run_all([Run.of("clip", SHORT, seed=seed, root=tmp_path) for seed in range(2)], jobs=2, say=said.append)
    assert len(said) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_users_mistake_in_a_run_is_the_users_to_mend(tmp_path, jobs):
    bad = SHORT.but(data__options={"folder": str(tmp_path / "nowhere")}, data__source="folder")
    good = Run.of("clip", SHORT, root=tmp_path)
    with pytest.raises(UserError, match="nowhere") as one_line:
        run_all([Run.of("clip", bad, root=tmp_path), good], jobs=jobs)
    assert "\n" not in str(one_line.value)


@pytest.mark.parametrize(
    ("killed", "number", "error", "told"),
    [
        ("all", signal.SIGTERM, Stopped, "the same command goes on from here"),
        ("one", signal.SIGKILL, RunError, "its process was killed, .* fewer --jobs"),
    ],
)
def test_killed_processes_leave_what_they_did(tmp_path, killed, number, error, told):
    runs = [Run.of("clip", clip.tiny().but(train__steps=2000), seed=seed, root=tmp_path) for seed in range(3)]

    def kill():
        while sum(bool(run.metrics()) for run in runs) < 2:  # both processes train
            time.sleep(0.1)
        os.kill(os.getpid() if killed == "all" else multiprocessing.active_children()[0].pid, number)

    watching = threading.Thread(target=kill)
    watching.start()
    with pytest.raises(error, match=told):
        run_all(runs, jobs=2)
    watching.join()
    assert not multiprocessing.active_children()
    assert not any(run.result for run in runs)
    saved = [run for run in runs if list((run.folder / "checkpoints").glob("step*"))]
    assert len(saved) >= (2 if killed == "all" else 1)  # what was killed at once has no checkpoint yet
    assert not (runs[2].folder / "checkpoints").exists()  # it was waiting
