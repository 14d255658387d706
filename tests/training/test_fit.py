"""The loop: learns, resumes to the bit, equals itself in two processes, and says what is wrong."""

import itertools
import json
import math
import os
import signal
import warnings

import pytest
import torch
from accelerate import Accelerator, DistributedType
from safetensors.torch import load_file

from antiphon.config import Config
from antiphon.data.sampling import batches
from antiphon.data.shards import write_shards
from antiphon.data.streaming import Stream
from antiphon.errors import Stopped
from antiphon.runs import Run, RunError, read_jsonl
from antiphon.training import checkpoint
from antiphon.training.feeding import FeedError
from antiphon.training.fit import Every, Train, TrainingError, fit
from tests.processes import run_in_processes
from tests.training.toy import Remembering, Toy, collate, rows

TRAIN = Train(steps=14, batch_size=8, lr=1e-2, save_every=4, log_every=1, weight_decay=0.1)


class Settings(Config):
    """A recipe's config, as far as a run needs one."""

    train: Train = TRAIN


def _fit(folder, *, train=TRAIN, dropout=0.3, every=(), data=None, seed=0, score=None, changed=False):
    run = Run(folder, Settings(), seed=seed, changed=changed)
    run.seed_all()
    learner = Toy(dropout=dropout)
    fit(learner, rows() if data is None else data, train, run, collate=collate(), every=every, score=score)
    return learner, run


def _state(learner):
    return torch.cat([value.detach().double().flatten() for value in learner.state_dict().values()])


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


def test_a_skipped_step_leaves_everything_but_the_report(tmp_path):
    """Parameters, their average and the buffers that the forward pass had filled are those from before."""
    bad = rows()
    bad[3] = {**bad[3], "id": "the bad one", "left": bad[3]["left"] * float("nan")}
    seen = []

    def note(moment):
        skipped = not math.isfinite(moment.losses["grad_norm"])
        seen.append((skipped, 3 in moment.batch["row"].tolist(), _state(moment.learner)))

    run = Run(tmp_path, Settings())
    run.seed_all()
    fit(Remembering(), bad, TRAIN.but(ema=0.9), run, collate=collate(), every=[Every(1, note)])
    for before, (skipped, has_bad, state) in itertools.pairwise(seen):
        assert skipped == has_bad
        assert torch.equal(before[2], state) == skipped
        assert state.isfinite().all()
    listed = read_jsonl(tmp_path / "quarantine.jsonl")
    assert len(listed) == sum(skipped for skipped, _, _ in seen) > 2
    assert all("the bad one" in line["row"].split(", ") for line in listed)
    assert all(len(line["row"].split(", ")) == 8 for line in listed)


def test_steps_skipped_in_a_row_are_counted_over_a_resume(tmp_path):
    bad = [{**row, "left": row["left"] * float("nan")} for row in rows()]
    train = TRAIN.but(save_every=1)
    with pytest.raises(RuntimeError, match="power cut"):
        _fit(tmp_path, data=bad, train=train, every=_die_at(4))
    with pytest.raises(TrainingError, match="5 steps in a row, up to step 5"):
        _fit(tmp_path, data=bad, train=train)


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(FeedError, match="no rows to train on"):
        _fit(tmp_path, data=[])


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_parts_of_a_learner_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType[kind])
    with pytest.raises(TrainingError, match=f"set up for {kind}, and fit trains whole copies"):
        _fit(tmp_path)


def test_a_frozen_learner_is_an_error(tmp_path):
    learner = Toy().requires_grad_(False)
    with pytest.raises(TrainingError, match="every parameter of the learner is frozen"):
        fit(learner, rows(), TRAIN, Run(tmp_path, Settings()), collate=collate())


def test_workers_change_nothing(tmp_path):
    alone, _ = _fit(tmp_path / "none")
    several, _ = _fit(tmp_path / "two", train=TRAIN.but(workers=2))
    assert torch.equal(_weights(alone), _weights(several))


def test_an_average_is_resumed_to_the_bit_and_carried_at_the_end(tmp_path):
    train = TRAIN.but(ema=0.9)
    whole, run = _fit(tmp_path / "whole", train=train)
    with pytest.raises(RuntimeError, match="power cut"):
        _fit(tmp_path / "cut", train=train, every=_die_at(9))
    assert torch.equal(_weights(_fit(tmp_path / "cut", train=train)[0]), _weights(whole))
    assert torch.equal(_weights(_fit(tmp_path / "whole", train=train)[0]), _weights(whole))  # loaded, not repeated
    last, _ = _fit(tmp_path / "last")
    assert not torch.equal(_weights(last), _weights(whole))
    newest = checkpoint.newest(run.folder / "checkpoints")
    kept = load_file(newest / "ema.safetensors")
    assert all(torch.equal(kept[name], parameter) for name, parameter in whole.named_parameters())
    own = load_file(newest / "model.safetensors")
    assert all(torch.equal(own[name], parameter) for name, parameter in last.named_parameters())


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_best_is_kept_and_found_again(tmp_path, ema):
    """The score is of the averaged weights, in evaluation mode; a resumed run finds the same best."""
    train = TRAIN.but(ema=ema, score_every=2, keep=1)
    scores = {2: 0.1, 4: 0.7, 6: 0.7, 8: 0.2, 10: 0.0, 12: 0.5, 14: float("nan")}
    seen = {}

    def score(folder):
        steps = iter(sorted(scores)[len(list((folder / "scored").glob("*"))) :])

        def call(learner):
            assert not learner.training
            assert not torch.is_grad_enabled()
            step = next(steps)
            seen[folder.name, step] = _weights(learner)
            (folder / "scored").mkdir(exist_ok=True)
            (folder / f"scored/{step}").touch()
            return scores[step]

        return call

    _fit(tmp_path / "whole", train=train, score=score(tmp_path / "whole"))
    folder = tmp_path / "whole/checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000004", "step-00000014"]
    learner = Toy(seed=3)
    assert checkpoint.load_best(folder, learner).name == "step-00000004"
    assert torch.equal(_weights(learner), seen["whole", 4])
    with pytest.raises(RuntimeError, match="power cut"):
        _fit(tmp_path / "cut", train=train, score=score(tmp_path / "cut"), every=_die_at(9))
    _fit(tmp_path / "cut", train=train, score=score(tmp_path / "cut"))
    other = Toy(seed=3)
    assert checkpoint.load_best(tmp_path / "cut/checkpoints", other).name == "step-00000004"
    assert torch.equal(_weights(other), _weights(learner))


def _stream(folder):
    if not folder.exists():
        numbers = ({name: row[name].tolist() for name in row} for row in rows(40))
        write_shards(numbers, folder, rows_per_shard=7)
    return Stream(folder, block=17)


def _from_numbers(batch):
    return collate()([{**row, **{name: torch.tensor(row[name]) for name in ("left", "right")}} for row in batch])


def _fit_stream(folder, train=TRAIN, every=(), changed=False):
    run = Run(folder, Settings(), changed=changed)
    run.seed_all()
    learner = Toy(dropout=0.3)
    fit(learner, _stream(folder.parent / "shards"), train, run, collate=_from_numbers, every=every)
    return learner


@pytest.mark.parametrize("step", [5, 6, 9, 13])
def test_a_stream_is_resumed_to_the_row(tmp_path, step):
    train = TRAIN.but(save_every=3)
    whole = _fit_stream(tmp_path / "whole", train)
    with pytest.raises(RuntimeError, match="power cut"):
        _fit_stream(tmp_path / "cut", train, every=_die_at(step))
    resumed = _fit_stream(tmp_path / "cut", train.but(workers=2))
    assert torch.equal(_weights(resumed), _weights(whole))


def test_other_data_is_refused_unless_that_is_said(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        _fit(tmp_path, every=_die_at(9))
    with pytest.raises(TrainingError, match=r"step-00000008 was trained on other data \(rows: 24 -> 30\).* --changed"):
        _fit(tmp_path, data=rows(30))
    places = []
    _fit(tmp_path, data=rows(30), changed=True, every=[Every(1, lambda moment: places.append(moment.batch["row"]))])
    first = batches(30, batch_size=8, seed=0, epoch=3, drop_last=True)  # three epochs of 24 rows were begun
    assert places[0].tolist() == first[0]
    with pytest.raises(TrainingError, match="past train"):
        _fit(tmp_path, train=TRAIN.but(steps=9), changed=True, data=rows(30))


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
