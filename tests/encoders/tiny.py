"""Tiny random checkpoints on disk, made waves, and the promise that every encoder keeps: alone = in a batch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import antiphon.encoders.weights as weights
from antiphon.data.cache import DataError, data_folder
from antiphon.encoders import Encoder


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed (the offline extra)")


def wave(seconds: float, seed: int = 0, rate: int = 16_000) -> torch.Tensor:
    """A voiced sound of a wandering pitch with noise, in -1..1."""
    generator = torch.Generator().manual_seed(seed)
    count = max(1, round(seconds * rate))
    time = torch.arange(count) / rate
    pitch = 100 + 30 * seed % 170 + 40 * torch.sin(6 * time + seed)
    phase = 2 * torch.pi * (pitch / rate).cumsum(0)
    tones = sum(torch.sin(k * phase) / k for k in range(1, 9))
    loud = 0.5 + 0.4 * torch.sin(9 * time + seed)
    return (0.2 * tones * loud + 0.01 * torch.randn(count, generator=generator)).float()


def real_clips(count: int) -> list[Path]:
    """Recordings of real people, of unequal length; skips the test where there are none."""
    try:
        folder = data_folder("fsdd")
    except DataError as error:
        pytest.skip(str(error))
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".flac", ".ogg", ".opus"))
    if len(found) < count:
        pytest.skip(f"{folder} holds {len(found)} recordings, {count} are wanted")
    return found[:: len(found) // count][:count]


def scatter(model: nn.Module, seed: int = 0, size: float = 0.1) -> nn.Module:
    """Weights that are large enough for every part of a model to show in its output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            value.copy_(centre + size * torch.randn(value.shape, generator=generator))
    return model


def save(model: Any, folder: Path, *others: Any) -> Path:
    scatter(model).save_pretrained(folder)
    for other in others:
        other.save_pretrained(folder)
    return folder


@torch.inference_mode()
def check_alone_is_batch(encoder: Encoder, items: Sequence[Any], *, atol: float = 1e-5) -> None:
    """Each present item alone, in a batch, and in the batch turned round with missing items; missing ones are zero."""
    encoder.eval()
    batch = encoder(encoder.collate([*items, None]))
    turned = encoder(encoder.collate([None, *reversed(items)]))
    check_padding(batch)
    check_padding(turned)
    assert not batch.mask[-1].any()
    assert not batch.pooled[-1].any()
    for at, item in enumerate(items):
        alone = encoder(encoder.collate([item]))
        assert alone.mask.any(), "a present item has no vector"
        for other, place in ((batch, at), (turned, len(items) - at)):
            assert int(other.mask[place].sum()) == int(alone.mask.sum())
            torch.testing.assert_close(unit(other.pooled[place]), unit(alone.pooled[0]), atol=atol, rtol=0)
            mine, whole = alone.tokens[0][alone.mask[0]], other.tokens[place][other.mask[place]]
            torch.testing.assert_close(unit(mine), unit(whole), atol=10 * atol, rtol=0)
    check_differ(batch.pooled[: len(items)])


def check_padding(encoded: Any) -> None:
    """Finite everywhere, and positions are real from the first on."""
    assert encoded.tokens.isfinite().all()
    assert encoded.pooled.isfinite().all()
    assert (encoded.mask.int().diff(dim=1) <= 0).all()


def check_differ(pooled: torch.Tensor) -> None:
    """Vectors of unlike items are unlike: an encoder that says the same to all would pass every other check."""
    away = torch.cdist(unit(pooled.double()), unit(pooled.double())) + torch.eye(len(pooled)) * 9
    assert away.min() > 1e-4, away.min()


@torch.inference_mode()
def check_round_trip(encoder: Encoder, folder: Path, items: Sequence[Any]) -> Encoder:
    """Saved and read back: the same vectors to the bit, and the same settings."""
    folder.mkdir(exist_ok=True)
    encoder.eval().save(folder)
    again = type(encoder).load(folder).eval()
    assert (again.width, again.signal, again.settings) == (encoder.width, encoder.signal, encoder.settings)
    old, new = (one(one.collate(items)) for one in (encoder, again))
    assert torch.equal(old.tokens, new.tokens)
    assert torch.equal(old.pooled, new.pooled)
    assert not list(folder.glob("*.bin"))
    return again


def check_gradients(encoder: Encoder, items: Sequence[Any]) -> None:
    """With missing items in the batch, every trainable weight gets a finite gradient, and none from the missing."""
    encoder.eval().zero_grad()
    encoder(encoder.collate(items)).pooled.square().sum().backward()
    together = {name: value.grad.clone() for name, value in encoder.named_parameters() if value.requires_grad}
    assert all(grad.isfinite().all() for grad in together.values())
    encoder.zero_grad()
    encoder(encoder.collate([item for item in items if item is not None])).pooled.square().sum().backward()
    apart = {name: value.grad for name, value in encoder.named_parameters() if value.requires_grad}
    least = 1e-3 * max(float(grad.abs().max()) for grad in apart.values())  # some, as of a key's bias, are zero
    for name, grad in apart.items():
        scale = max(least, float(grad.abs().max()))
        torch.testing.assert_close(together[name] / scale, grad / scale, atol=1e-3, rtol=0, msg=name)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(vectors, dim=-1)


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if a package were not installed."""
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(weights, "find_spec", lambda name: None if name == package else find_spec(name))
