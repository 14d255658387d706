"""Files that are no models: a pickle is never opened, and a safetensors file that lies is refused in one line."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from antiphon.encoders.heads import Head
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space, SpaceError
from antiphon.training import checkpoint
from tests.training.toy import Toy


class Bomb:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def _file(header: object, data: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(begin: int, end: int, shape: list[int] = [4], kind: str = "F32") -> dict[str, object]:  # noqa: B006
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


ATTACKS = {
    "empty": b"",
    "shorter than its length": b"\1\2\3",
    "a header of 2^63 bytes": struct.pack("<Q", 1 << 63) + bytes(100),
    "a header longer than the file": struct.pack("<Q", 1 << 20) + b"{}",
    "a header of 100 MB and more": struct.pack("<Q", 100_000_001) + b"{" + bytes(100),
    "no JSON": _file(b"{'a': 1}"),
    "not UTF-8": _file(b'{"\xff\xfe": 1}'),
    "deep JSON": _file(b'{"a":' * 5000),
    "tensors that overlap": _file({"a": _tensor(0, 16), "b": _tensor(0, 16)}),
    "a hole": _file({"a": _tensor(0, 16), "b": _tensor(32, 48)}, bytes(48)),
    "data behind the last": _file({"a": _tensor(0, 16)}, bytes(4096)),
    "an end before the beginning": _file({"a": _tensor(16, 0)}),
    "an offset behind the file": _file({"a": _tensor(0, 1 << 40, [1 << 38])}),
    "a shape that overflows": _file({"a": _tensor(0, 16, [1 << 32, 1 << 32, 4])}),
    "a negative shape": _file({"a": _tensor(0, 16, [-4])}),
    "another size than its shape": _file({"a": _tensor(0, 16, [5])}),
    "a type that is none": _file({"a": _tensor(0, 16, [4], "PICKLE")}),
}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A saved space of one branch."""
    encoder = open_encoder("text", "scratch-tiny")
    return Space({"text": Branch(encoder, Head(encoder.width, 8))}).save(tmp_path_factory.mktemp("space") / "space")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a toy."""
    learner = Toy()
    optimizer = torch.optim.AdamW(learner.parameters())
    return checkpoint.save(tmp_path_factory.mktemp("saved"), 1, learner, optimizer)


def _put(saved: Path, folder: Path, name: str, content: bytes) -> Path:
    """A copy of the checkpoint with another file, whose sum the manifest has."""
    shutil.copytree(saved, folder / saved.name)
    (folder / saved.name / name).write_bytes(content)
    path = folder / saved.name / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))
    return checkpoint.newest(folder)


def _load(path: Path) -> None:
    learner = Toy()
    checkpoint.load(path, learner, torch.optim.AdamW(learner.parameters()))


def _one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and "safetensor" in str(error.value).lower()


@pytest.mark.fault("a safetensors file that lies, as checkpoint and in a space", "refused in one line")
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(attack, saved, space, tmp_path):
    content = ATTACKS[attack]
    for name in ("model", "optimizer", "generators"):
        found = _put(saved, tmp_path / name, f"{name}.safetensors", content)
        with pytest.raises(checkpoint.CheckpointError) as refused:
            _load(found)
        assert _one_line(refused)
    for name in ("text/head.safetensors", "text/encoder/model.safetensors"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(space, folder)
        (folder / name).write_bytes(content)
        with pytest.raises(SpaceError) as refused:
            Space.load(folder)
        assert _one_line(refused)


@pytest.mark.fault("a pickle bomb as a model, a checkpoint or in a space", "never unpickled, refused")
def test_pickle_bombs(saved, space, tmp_path):
    gone_off = tmp_path / "gone off"
    bombs = [pickle.dumps(Bomb(gone_off))]
    torch.save({"a": Bomb(gone_off)}, tmp_path / "bomb.pt")
    bombs.append((tmp_path / "bomb.pt").read_bytes())
    for number, bomb in enumerate(bombs):
        found = _put(saved, tmp_path / f"saved{number}", "model.safetensors", bomb)
        with pytest.raises(checkpoint.CheckpointError, match="not a safetensors file"):
            _load(found)
        folder = tmp_path / f"space{number}"
        shutil.copytree(space, folder)
        (folder / "text/encoder/model.safetensors").write_bytes(bomb)
        with pytest.raises(SpaceError, match="cannot be read"):
            Space.load(folder)
        model = tmp_path / f"model{number}"
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8).save_pretrained(
            model
        )
        (model / "pytorch_model.bin").write_bytes(bomb)
        with pytest.raises(OSError, match="safetensors"):
            open_encoder("text", str(model))
    assert not gone_off.exists()
    pickle.loads(bombs[0])
    assert gone_off.exists()  # it is a bomb
