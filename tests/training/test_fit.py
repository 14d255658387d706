"""The loop: learns, resumes to the bit, equals itself in two processes, and says what is wrong."""

import json
import os
import signal
import warnings

import pytest
import torch

from antiphon.config import Config
from antiphon.errors import Stopped
from antiphon.runs import Run, RunError
from antiphon.training import checkpoint
from antiphon.training.feeding import FeedError
from antiphon.training.fit import Every, Train, TrainingError, fit
from tests.processes import run_in_processes
from tests.training.toy import Toy, collate, rows

TRAIN = Train(steps=14, batch_size=8, lr=1e-2, save_every=4, log_every=1, weight_decay=0.1)


class Settings(Config):
    """A recipe's config, as far as a run needs one."""

    train: Train = TRAIN


def _fit(folder, *, train=TRAIN, dropout=0.3, every=(), data=None, seed=0):
    run = Run(folder, Settings(), seed=seed)
    run.seed_all()
    learner = Toy(dropout=dropout)
    fit(learner, rows() if data is None else data, train, run, collate=collate(), every=every)
    return learner, run


def _weights(learner):
    return torch.cat([parameter.detach().flatten() for parameter in learner.parameters()])


def _die_at(step):
    def die(moment):
        if moment.step == step:
            raise RuntimeError("power cut")

    return [Every(1, die)]


def test_learns(tmp_path):
    _, run = _fit(tmp_path, train=TRAIN.but(steps=80), dropout=0.0)
    losses = [line["loss"] for line in run.metrics()]
    assert losses[-1] < 0.7 * losses[0]


def test_same_seed_same_weights(tmp_path):
    assert torch.equal(_weights(_fit(tmp_path / "a")[0]), _weights(_fit(tmp_path / "b")[0]))
    assert not torch.equal(_weights(_fit(tmp_path / "a")[0]), _weights(_fit(tmp_path / "c", seed=1)[0]))


@pytest.mark.parametrize("step", [5, 7, 9, 13])
@pytest.mark.parametrize("microbatch", [None, 3])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, step, microbatch):
    train = TRAIN.but(microbatch=microbatch)
    whole, whole_run = _fit(tmp_path / "whole", train=train)
    with pytest.raises(RuntimeError, match="power cut"):
        _fit(tmp_path / "cut", train=train, every=_die_at(step))
    resumed, run = _fit(tmp_path / "cut", train=train)
    assert torch.equal(_weights(resumed), _weights(whole))
    wanted = [(line["step"], line["loss"]) for line in whole_run.metrics()]
    assert [(line["step"], line["loss"]) for line in run.metrics()] == wanted


def test_a_finished_run_is_loaded_not_repeated(tmp_path):
    first, _ = _fit(tmp_path)
    calls = []
    again, _ = _fit(tmp_path, every=[Every(1, calls.append)])
    assert torch.equal(_weights(again), _weights(first))
    assert calls == []


def test_a_torn_checkpoint_is_reported_and_passed_over(tmp_path):
    whole, _ = _fit(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        _fit(tmp_path / "cut", every=_die_at(9))
    newest = checkpoint.newest(tmp_path / "cut/checkpoints")
    assert newest.name == "step-00000008"
    model = newest / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-8])
    with pytest.warns(checkpoint.TornCheckpoint, match=r"model\.safetensors does not match"):
        resumed, _ = _fit(tmp_path / "cut")
    assert torch.equal(_weights(resumed), _weights(whole))


@pytest.mark.parametrize("name", ["manifest.json", "optimizer.safetensors", "state.json", "generators.safetensors"])
def test_a_missing_file_tears_a_checkpoint(tmp_path, name):
    _fit(tmp_path)
    newest = checkpoint.newest(tmp_path / "checkpoints")
    (newest / name).unlink()
    with pytest.warns(checkpoint.TornCheckpoint):
        assert checkpoint.newest(tmp_path / "checkpoints") != newest


def test_sigterm_saves_and_says_so(tmp_path):
    def ask(moment):
        if moment.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="after step 6"):
        _fit(tmp_path / "cut", every=[Every(1, ask)])
    resumed, _ = _fit(tmp_path / "cut")
    assert torch.equal(_weights(resumed), _weights(_fit(tmp_path / "whole")[0]))


def test_two_processes_equal_one(tmp_path):
    alone, run = _fit(tmp_path / "one", dropout=0.0)
    for name, microbatch in (("two", None), ("two-cached", 2)):
        found = run_in_processes(2, _fit_weights, str(tmp_path / name), microbatch)
        for weights in found:
            assert torch.allclose(torch.tensor(weights), _weights(alone), atol=2e-6)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [line["step"] for line in run.metrics()]
        assert lines[-1]["loss"] == pytest.approx(run.metrics()[-1]["loss"], abs=1e-5)


def _fit_weights(folder, microbatch):
    warnings.simplefilter("ignore")
    return _weights(_fit(folder, train=TRAIN.but(microbatch=microbatch), dropout=0.0)[0]).tolist()


def test_a_second_process_is_told(tmp_path):
    run = Run(tmp_path, Settings())
    with run.lock(), pytest.raises(RunError, match="another process is training here"):
        _fit(tmp_path)


def test_not_finite_gradients_are_skipped_then_stop_the_run(tmp_path):
    bad = rows()
    for row in bad:
        row["left"] = row["left"] * float("nan")
    with pytest.raises(TrainingError, match="not finite in 5 steps in a row"):
        _fit(tmp_path, data=bad)
    listed = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert len(listed) == 5
    assert "step skipped" in listed[0]


def test_one_bad_row_costs_its_steps_only(tmp_path):
    bad = rows()
    bad[3]["left"] = bad[3]["left"] * float("nan")
    learner, _ = _fit(tmp_path, data=bad)
    assert torch.isfinite(_weights(learner)).all()


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(FeedError, match="no rows to train on"):
        _fit(tmp_path, data=[])


def test_a_frozen_learner_is_an_error(tmp_path):
    learner = Toy().requires_grad_(False)
    with pytest.raises(TrainingError, match="every parameter of the learner is frozen"):
        fit(learner, rows(), TRAIN, Run(tmp_path, Settings()), collate=collate())


def test_workers_change_nothing(tmp_path):
    alone, _ = _fit(tmp_path / "none")
    several, _ = _fit(tmp_path / "two", train=TRAIN.but(workers=2))
    assert torch.equal(_weights(alone), _weights(several))


def test_rows_of_like_size_meet(tmp_path):
    """Sizes change which rows meet, and a size for every row is wanted."""
    sizes = [float(at % 5) for at in range(24)]
    seen = []

    def spread(moment):
        picked = [sizes[at] for at in moment.batch["row"].tolist()]
        seen.append(max(picked) - min(picked))

    run = Run(tmp_path, Settings())
    run.seed_all()
    fit(Toy(), rows(), TRAIN, run, collate=collate(), sizes=sizes, every=[Every(1, spread)])
    assert max(seen) <= 2  # 24 rows of five sizes in batches of eight
    with pytest.raises(ValueError, match="3 sizes for 24 rows"):
        fit(Toy(), rows(), TRAIN, Run(tmp_path / "b", Settings()), collate=collate(), sizes=[1.0, 2.0, 3.0])
