"""Checkpoints that are whole or not there: written beside, flushed, summed, renamed.

    checkpoints/step-00000500/
        model.safetensors  optimizer.safetensors  generators.safetensors  state.json
        manifest.json      SHA-256 and size of each of the above, written last

The newest whole checkpoint wins; a torn one is reported and passed over. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

_NAME = re.compile(r"step-(\d{8})")


class TornCheckpoint(UserWarning):
    """A checkpoint that does not match its manifest; an older one is used."""


def save(folder: Path, step: int, model: nn.Module, optimizer: Optimizer, *, keep: int = 2, **state: Any) -> Path:
    """Write the checkpoint of `step` below `folder`, and delete all but the newest `keep`.

    Args:
        state: what else the loop must know, as JSON.

    Raises:
        OSError: the disk is full or read-only; older checkpoints are left as they are.
    """
    target = folder / f"step-{step:08d}"
    beside = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        tensors, scalars = _optimizer_parts(optimizer)
        save_file(_contiguous(model.state_dict()), beside / "model.safetensors")
        save_file(tensors, beside / "optimizer.safetensors")
        generators, python = _generators()
        save_file(generators, beside / "generators.safetensors")
        described = {"step": step, "optimizer": scalars, "python": python, **state}
        (beside / "state.json").write_text(json.dumps(described), encoding="utf-8")
        manifest = {path.name: _sum(path) for path in sorted(beside.iterdir())}
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in beside.iterdir():
            _flush(path)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
        _flush(folder)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    for old in list(_folders(folder))[keep:]:
        shutil.rmtree(old)
    return target


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint below `folder`, with a `TornCheckpoint` warning for each newer one that is not."""
    for candidate in _folders(folder):
        fault = _fault(candidate)
        if fault is None:
            return candidate
        warnings.warn(f"{candidate}: {fault}; passed over", TornCheckpoint, stacklevel=2)
    return None


def load(checkpoint: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Put a checkpoint's state into model, optimizer and every generator; gives the loop's own state."""
    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    _restore_optimizer(optimizer, load_file(checkpoint / "optimizer.safetensors"), state.pop("optimizer"))
    _restore_generators(load_file(checkpoint / "generators.safetensors"), state.pop("python"))
    return state


def _folders(folder: Path) -> Iterator[Path]:
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    yield from sorted(found, reverse=True)


def _fault(checkpoint: Path) -> str | None:
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "no readable manifest"
    for name, wanted in manifest.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _sum(path) != wanted:
            return f"{name} does not match its SHA-256 sum"
    return None


def _sum(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _optimizer_parts(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for place, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{place}.{name}"] = value.detach().clone().contiguous()
            else:
                scalars[f"{place}.{name}"] = value
    return tensors, {"scalars": scalars, "groups": state["param_groups"]}


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], described: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for path, value in [*tensors.items(), *described["scalars"].items()]:
        place, _, name = path.partition(".")
        state.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": described["groups"]})


def _generators() -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{place}": state for place, state in enumerate(torch.cuda.get_rng_state_all())}
    _, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    tensors["numpy"] = torch.from_numpy(np.asarray(keys, dtype=np.int64))
    version, internal, spare = random.getstate()
    tensors["random"] = torch.tensor(internal, dtype=torch.int64)
    return tensors, {"numpy": [position, has_gauss, gauss], "random": [version, spare]}


def _restore_generators(tensors: dict[str, Tensor], python: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([tensors[name] for name in sorted(tensors) if name.startswith("cuda")])
    position, has_gauss, gauss = python["numpy"]
    np.random.set_state(("MT19937", tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, spare = python["random"]
    random.setstate((version, tuple(tensors["random"].tolist()), spare))
