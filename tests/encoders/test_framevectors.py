"""Vectors of frames as an encoder: sampled, scaled by what was measured, saved and read back."""

from __future__ import annotations

import pytest
import torch

from antiphon.decode import BadInput
from antiphon.encoders.framevectors import FrameVectors
from tests.encoders.tiny import check_alone_is_batch, check_round_trip


def _items(count=3, frames=5):
    return [7 + 2 * torch.randn(frames, 4, generator=torch.Generator().manual_seed(at)) for at in range(count)]


def _prepared():
    encoder = FrameVectors(4, frames=5)
    encoder.prepare([*_items(), None])
    return encoder


def test_alone_as_in_a_batch_and_saved(tmp_path):
    check_alone_is_batch(_prepared(), _items())
    again = check_round_trip(_prepared(), tmp_path, _items())
    assert torch.equal(again.mean, _prepared().mean)


def test_scaled_by_one_number():
    """By a loop: the mean of each place, and one deviation, so that places keep their ratio."""
    items = _items()
    lines = [line for item in items for line in item.double().tolist()]
    mean = [sum(line[d] for line in lines) / len(lines) for d in range(4)]
    square = sum((line[d] - mean[d]) ** 2 for line in lines for d in range(4)) / (4 * len(lines))
    encoder = _prepared()
    found = encoder(encoder.collate([items[1]])).tokens[0]
    for t in range(5):
        for d in range(4):
            assert found[t, d].item() == pytest.approx((items[1][t, d].item() - mean[d]) / square**0.5, abs=1e-5)


def test_frames_are_sampled_and_nothing_is_none():
    encoder = FrameVectors(4, frames=2)
    item = _items(1, 6)[0]
    batch = encoder.collate([item, None])
    assert torch.equal(batch.values[0], item[[1, 4]])
    assert batch.lengths.tolist() == [2, 0]
    assert encoder(batch).pooled[1].abs().sum() == 0


def test_what_does_not_fit():
    with pytest.raises(BadInput, match="frames of 4 numbers each, wanted 3"):
        FrameVectors(3, frames=2).collate(_items())
    with pytest.raises(BadInput, match="no vectors of frames to measure"):
        FrameVectors(3, frames=2).prepare([None])
