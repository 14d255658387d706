"""Checkpoints that are whole or not there: written beside, flushed, summed, renamed.

    checkpoints/step-00000500/
        model.safetensors  optimizer.safetensors  generators.safetensors  state.json
        ema.safetensors    the moving average of the parameters, where the run keeps one
        manifest.json      SHA-256 and size of each of the above, written last

The newest whole checkpoint wins; a torn one is reported and passed over. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from antiphon.errors import UserError

_NAME = re.compile(r"step-(\d{8})")
_STATE = ("model", "optimizer", "generators")
_NEEDED = {*(f"{name}.safetensors" for name in _STATE), "state.json"}


class TornCheckpoint(UserWarning):
    """A checkpoint that does not match its manifest; an older one is used."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that cannot be written or does not fit; one line."""


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    state: Mapping[str, Any] | None = None,
    average: Mapping[str, Tensor] | None = None,
    keep: int = 2,
    best: int | None = None,
) -> Path:
    """Write the checkpoint of `step` below `folder`, and delete all but the newest `keep` and the best.

    Args:
        state: what else the loop must know, as JSON; `score` in it is what `load_best` goes by.
        average: of the parameters.
        keep: how many of the newest stay.
        best: a step whose checkpoint stays as well.

    Raises:
        CheckpointError: the disk is full or read-only; older checkpoints are left as they are.
    """
    target = folder / f"step-{step:08d}"
    beside = folder / f".{target.name}.{os.getpid()}"
    for left in folder.glob(".step-*"):  # by a process that was killed while it saved: only one trains here
        shutil.rmtree(left, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        _write(beside, {"step": step, **(state or {})}, model, optimizer, average)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise CheckpointError(
            f"{target}: not written ({getattr(error, 'strerror', None) or error}): older checkpoints are as they were; "
            "make room, and the same command goes on from the newest"
        ) from None
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    found = list(_folders(folder))
    for old in found[keep:]:
        if old.name != f"step-{best or 0:08d}":
            shutil.rmtree(old)
    return target


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint below `folder`, with a `TornCheckpoint` warning for each newer one that is not."""
    return next(_whole(folder), None)


def best(folder: Path) -> Path | None:
    """The whole checkpoint of the highest score below `folder`, the first of equals; None where none was scored."""
    scored = [(found["score"], -found["step"], path) for path in _whole(folder) if _has_score(found := _state(path))]
    return max(scored)[2] if scored else None


def load_best(folder: Path, model: nn.Module) -> Path:
    """Put the weights of the best-scored checkpoint into a model: the averaged ones where the run averages.

    Args:
        folder: `run.folder / "checkpoints"`.
        model: the learner that was trained, or a new one like it.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError: no whole checkpoint with a score, or one that does not fit.
    """
    found = best(folder)
    if found is None:
        raise CheckpointError(f"{folder}: no whole checkpoint with a score: give fit a score and train.score_every")
    _put_weights(found, model, _read(found, "model.safetensors"))
    averages = _average(found)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in averages:
                parameter.copy_(averages[name])
    return found


def load(checkpoint: Path, model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Put a checkpoint's state into model, optimizer and every generator; gives the loop's own state and the average.

    Raises:
        CheckpointError: the model or the optimizer is of another shape, or a file is no safetensors file.
    """
    weights, moments, generators = (_read(checkpoint, f"{name}.safetensors") for name in _STATE)
    _put_weights(checkpoint, model, weights)
    state = _state(checkpoint)
    try:
        _restore_optimizer(optimizer, moments, state.pop("optimizer"))
    except ValueError as error:
        raise CheckpointError(f"{checkpoint}: does not fit this learner's optimizer ({error})") from None
    _restore_generators(generators, state.pop("python"))
    return state, _average(checkpoint)


def _write(
    beside: Path,
    state: Mapping[str, Any],
    model: nn.Module,
    optimizer: Optimizer,
    average: Mapping[str, Tensor] | None,
) -> None:
    tensors, scalars = _optimizer_parts(optimizer)
    save_file(_contiguous(model.state_dict()), beside / "model.safetensors")
    save_file(tensors, beside / "optimizer.safetensors")
    if average is not None:
        save_file(_contiguous(average), beside / "ema.safetensors")
    generators, python = _generators()
    save_file(generators, beside / "generators.safetensors")
    described = {**state, "optimizer": scalars, "python": python}
    (beside / "state.json").write_text(json.dumps(described), encoding="utf-8")
    manifest = {path.name: _sum(path) for path in sorted(beside.iterdir())}
    (beside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in sorted(beside.iterdir()):
        _flush(path)
    _flush(beside)


def _whole(folder: Path) -> Iterator[Path]:
    for candidate in _folders(folder):
        fault = _fault(candidate)
        if fault is None:
            yield candidate
        else:
            warnings.warn(f"{candidate}: {fault}; passed over", TornCheckpoint, stacklevel=3)


def _state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return state


def _has_score(state: dict[str, Any]) -> bool:
    return state.get("score") is not None and math.isfinite(state["score"])


def _average(checkpoint: Path) -> dict[str, Tensor]:
    return _read(checkpoint, "ema.safetensors") if (checkpoint / "ema.safetensors").exists() else {}


def _read(checkpoint: Path, name: str) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(checkpoint / name)
        return tensors
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint / name}: not a safetensors file ({error}): delete the checkpoint") from None


def _put_weights(checkpoint: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    kept = {name: tuple(value.shape) for name, value in weights.items()}
    other = [
        f"{name}: {kept.get(name)} there, {own.get(name)} here"
        for name in sorted(own.keys() | kept.keys())
        if own.get(name) != kept.get(name)
    ]
    if other:
        raise CheckpointError(
            f"{checkpoint}: does not fit this learner ({'; '.join(other[:3])}{', ...' if len(other) > 3 else ''}): "
            "train in another folder"
        )
    model.load_state_dict(dict(weights))


def _folders(folder: Path) -> Iterator[Path]:
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    yield from sorted(found, reverse=True)


def _fault(checkpoint: Path) -> str | None:
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "no readable manifest"
    if not isinstance(manifest, dict) or not manifest.keys() >= _NEEDED:
        return "its manifest lacks files"
    for name, wanted in manifest.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            if _sum(path) != wanted:
                return f"{name} does not match its SHA-256 sum"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
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


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
