"""Checkpoints: whole or not there, the newest whole one wins, and all state comes back to the bit."""

import random
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from antiphon.training import checkpoint


def _trained(seed=0, steps=3):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.8, 0.9))
    for _ in range(steps):
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def _state(model, optimizer):
    tensors = [*model.state_dict().values()]
    states = optimizer.state_dict()["state"]
    tensors += [states[place][name] for place in sorted(states) for name in sorted(states[place])]
    return [tensor.clone() for tensor in tensors]


def test_everything_comes_back(tmp_path):
    model, optimizer = _trained()
    optimizer.param_groups[0]["lr"] = 0.0123456789
    path = checkpoint.save(tmp_path, 3, model, optimizer, state={"seen": 7})
    wanted, drawn = _state(model, optimizer), (torch.rand(3), np.random.rand(3), random.random())  # noqa: NPY002
    other_model, other_optimizer = _trained(seed=9, steps=1)
    state, _ = checkpoint.load(path, other_model, other_optimizer)
    assert state == {"step": 3, "seen": 7}
    assert all(torch.equal(a, b) for a, b in zip(_state(other_model, other_optimizer), wanted, strict=True))
    assert other_optimizer.param_groups[0]["lr"] == 0.0123456789
    assert list(other_optimizer.param_groups[0]["betas"]) == [0.8, 0.9]
    assert torch.equal(torch.rand(3), drawn[0])
    assert np.array_equal(np.random.rand(3), drawn[1])  # noqa: NPY002
    assert random.random() == drawn[2]


def test_the_newest_few_are_kept(tmp_path):
    model, optimizer = _trained()
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, step, model, optimizer, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    assert checkpoint.newest(tmp_path).name == "step-00000004"


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "generators.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", ["cut", "flip", "delete"])
def test_a_harmed_file_is_seen(tmp_path, name, harm):
    model, optimizer = _trained()
    for step in (1, 2):
        checkpoint.save(tmp_path, step, model, optimizer)
    file = tmp_path / "step-00000002" / name
    data = bytearray(file.read_bytes())
    if harm == "delete":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.warns(checkpoint.TornCheckpoint, match=r"step-00000002: .* passed over"):
        assert checkpoint.newest(tmp_path).name == "step-00000001"


def test_a_full_disk_leaves_the_old_one(tmp_path, monkeypatch):
    model, optimizer = _trained()
    checkpoint.save(tmp_path, 1, model, optimizer)
    monkeypatch.setattr(checkpoint, "_flush", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(checkpoint.CheckpointError, match="No space left"):
        checkpoint.save(tmp_path, 2, model, optimizer)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.newest(tmp_path).name == "step-00000001"


def test_half_written_folders_are_not_checkpoints(tmp_path):
    model, optimizer = _trained()
    path = checkpoint.save(tmp_path, 1, model, optimizer)
    shutil.copytree(path, tmp_path / ".step-00000002.123")
    assert checkpoint.newest(tmp_path) == path
    assert checkpoint.newest(tmp_path / "none") is None


def test_nothing_is_pickled(tmp_path):
    model, optimizer = _trained()
    path = checkpoint.save(tmp_path, 1, model, optimizer)
    assert {file.suffix for file in path.iterdir()} == {".json", ".safetensors"}


def test_the_best_is_kept_beside_the_newest(tmp_path):
    model, optimizer = _trained()
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.9), (4, 0.1), (5, None)):
        best = 1 if step == 1 else 2
        checkpoint.save(tmp_path, step, model, optimizer, state={"score": score}, keep=2, best=best)
        with torch.no_grad():
            model[0].bias.fill_(step)  # so the checkpoint of step n has a bias of n - 1
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "4", "5"]
    other, _ = _trained(seed=5)
    assert checkpoint.load_best(tmp_path, other).name == "step-00000002"
    assert other[0].bias.tolist() == [1.0] * 3


def test_the_best_of_an_averaging_run_is_its_average(tmp_path):
    model, optimizer = _trained()
    average = {"0.weight": torch.full((3, 4), 7.0)}
    checkpoint.save(tmp_path, 1, model, optimizer, state={"score": 1.0}, average=average)
    other, _ = _trained(seed=5)
    checkpoint.load_best(tmp_path, other)
    assert torch.equal(other[0].weight, average["0.weight"])
    assert torch.equal(other[2].weight, model[2].weight)


def test_a_torn_best_is_reported_and_the_next_best_taken(tmp_path):
    model, optimizer = _trained()
    for step in (1, 2):
        checkpoint.save(tmp_path, step, model, optimizer, state={"score": float(step)})
    (tmp_path / "step-00000002/model.safetensors").write_bytes(b"")
    with pytest.warns(checkpoint.TornCheckpoint, match="step-00000002"):
        assert checkpoint.best(tmp_path).name == "step-00000001"


def test_without_a_score_there_is_no_best(tmp_path):
    model, optimizer = _trained()
    checkpoint.save(tmp_path, 1, model, optimizer)
    with pytest.raises(checkpoint.CheckpointError, match="no whole checkpoint with a score"):
        checkpoint.load_best(tmp_path, model)


def test_a_checkpoint_of_another_learner_is_refused_by_name(tmp_path):
    model, optimizer = _trained()
    path = checkpoint.save(tmp_path, 1, model, optimizer)
    other = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    with pytest.raises(checkpoint.CheckpointError, match=r"fit this learner \(0\.bias: \(3,\) there, \(5,\) here"):
        checkpoint.load(path, other, torch.optim.AdamW(other.parameters()))
    with pytest.raises(checkpoint.CheckpointError, match="does not fit this learner's optimizer"):
        checkpoint.load(path, model, torch.optim.AdamW(list(model.parameters())[1:]))


def test_what_a_killed_save_left_is_cleared(tmp_path):
    model, optimizer = _trained()
    path = checkpoint.save(tmp_path, 1, model, optimizer)
    shutil.copytree(path, tmp_path / ".step-00000002.123")
    checkpoint.save(tmp_path, 2, model, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


def test_a_manifest_must_name_every_file(tmp_path):
    model, optimizer = _trained()
    path = checkpoint.save(tmp_path, 1, model, optimizer)
    (path / "manifest.json").write_text("{}")
    with pytest.warns(checkpoint.TornCheckpoint, match="its manifest lacks files"):
        assert checkpoint.newest(tmp_path) is None
