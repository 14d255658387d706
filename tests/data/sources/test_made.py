"""Made rows: the same for the same seed, and learnable across signals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.data import sources
from antiphon.data.sources import load, made, names
from antiphon.data.sources.made import COLOURS, SHAPES
from antiphon.decode import decode_audio, decode_image
from antiphon.errors import UserError


def test_rows_are_the_same_whatever_their_number() -> None:
    few, many = load("made", rows=5), load("made", rows=50)
    assert few[4] == many[4]
    assert load("made", rows=5, seed=1)[4]["image"] != few[4]["image"]
    assert list(many["id"]) == sorted(many["id"])


def test_concepts_take_turns() -> None:
    count = len(SHAPES) * len(COLOURS)
    rows = load("made", rows=2 * count)
    assert len(set(rows["concept"])) == len(set(rows["label"])) == count
    assert rows[0]["concept"] == rows[count]["concept"]
    assert rows[0]["text"] == "a red circle"
    assert "an orange star" in rows["text"]


def test_options_hold() -> None:
    row = load("made", rows=1, size=32, rate=8_000)[0]
    assert decode_image(row["image"]).size == (32, 32)
    wave = decode_audio(row["speech"], 8_000)
    assert 0.3 < len(wave) / 8_000 < 0.8


def test_signals_tell_the_concept() -> None:
    """A ridge regression from picture or sound to concept, on rows that it was not fitted on."""
    rows = load("made", rows=48 * 12)
    labels = torch.tensor(rows["label"])
    pictures = torch.stack([_picture(row["image"]) for row in rows])
    sounds = torch.stack([_sound(row["speech"]) for row in rows])
    for features in (pictures, sounds):
        centred = (features - features[:480].mean(0)) / (features[:480].std(0) + 1e-3)
        x = torch.cat([centred, torch.ones(len(rows), 1)], dim=1)
        onehot = torch.nn.functional.one_hot(labels).float()
        weights = torch.linalg.solve(x[:480].T @ x[:480] + 10 * torch.eye(x.shape[1]), x[:480].T @ onehot[:480])
        right = ((x[480:] @ weights).argmax(1) == labels[480:]).float().mean()
        assert right > 0.5, float(right)  # chance is 0.02


def _picture(source: object) -> torch.Tensor:
    """Centred on the shape: darkness by place, and the mean colour of the shape."""
    pixels = np.asarray(decode_image(source)).astype(np.float32) / 255
    shape = pixels.min(axis=2) < 0.75
    rows, columns = np.nonzero(shape)
    crop = np.zeros((64, 64), np.float32)
    crop[: np.ptp(rows) + 1, : np.ptp(columns) + 1] = shape[
        rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
    ]
    grown = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(crop[: np.ptp(rows) + 1, : np.ptp(columns) + 1])[None, None], 8
    )
    colour = torch.from_numpy(np.median(pixels[shape], axis=0))
    tint = torch.outer(torch.cat([colour, colour**2, torch.ones(1)]), torch.cat([grown.flatten(), torch.ones(1)]))
    return tint.flatten()


def _sound(source: object) -> torch.Tensor:
    wave = decode_audio(source)
    wave = torch.nn.functional.pad(wave, (0, 16_000 - len(wave)))
    power = torch.stft(wave, 1024, 512, window=torch.hann_window(1024), return_complex=True).abs()[10:80]
    return torch.log1p(torch.nn.functional.adaptive_avg_pool2d(power[None], (70, 12))).flatten()


def test_sources_are_found_and_errors_name_them() -> None:
    files = sorted(Path(made.__file__).parent.glob("[a-z]*.py"))
    assert names() == [file.stem for file in files]
    assert {"folder", "hub", "made", "shards", "stamps"} <= set(names())
    with pytest.raises(UserError, match=r"no source 'stamp': there are actions, captions, .*, stamps, "):
        load("stamp")
    with pytest.raises(UserError, match="made has no option row: it has rows, seed"):
        load("made", row=3)


def test_a_source_is_read_once_where_it_is_kept():
    outside = sources.load("made", rows=4)
    with sources.kept():
        first = sources.load("made", rows=4)
        assert first is not outside
        assert sources.load("made", rows=4) is first
        assert len(sources.load("made", rows=5)) == 5
        with sources.kept():
            assert sources.load("made", rows=4) is first
        assert sources.load("made", rows=4) is first
    assert sources.load("made", rows=4) is not first
