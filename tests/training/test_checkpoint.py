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
