"""Changes of sound, by hand."""

from __future__ import annotations

import pytest
import torch

from antiphon.data.augment.audio import add_noise, crop, gain, shift, spec_augment, speed

WAVE = torch.sin(torch.arange(8000) * 0.2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gain_in_decibels() -> None:
    assert torch.allclose(gain(WAVE, generator(), low=20, high=20), WAVE * 10)


def test_noise_has_the_asked_ratio() -> None:
    noise = add_noise(WAVE, generator(), low=10, high=10) - WAVE
    assert float(10 * (WAVE.pow(2).mean() / noise.pow(2).mean()).log10()) == pytest.approx(10, abs=0.2)
    assert not add_noise(torch.zeros(100), generator()).any()


def test_shift_moves_and_fills_with_zeros() -> None:
    seen = set()
    for seed in range(30):
        moved = shift(torch.arange(1.0, 6.0), generator(seed), most=2)
        seen.add(tuple(moved.tolist()))
    assert seen == {(1, 2, 3, 4, 5), (0, 1, 2, 3, 4), (0, 0, 1, 2, 3), (2, 3, 4, 5, 0), (3, 4, 5, 0, 0)}
    assert not shift(torch.ones(2), generator(1), most=1000).any()


def test_crop_is_a_part() -> None:
    part = crop(torch.arange(100.0), generator(), size=10)
    assert torch.equal(part, torch.arange(float(part[0]), float(part[0]) + 10))
    assert len(crop(torch.arange(5.0), generator(), size=10)) == 5
    starts = {int(crop(torch.arange(12.0), generator(seed), size=10)[0]) for seed in range(30)}
    assert starts == {0, 1, 2}


def test_speed_changes_length_and_pitch() -> None:
    fast = speed(WAVE, generator(), low=1.25, high=1.25)
    assert len(fast) == 6400
    assert (fast - torch.sin(torch.arange(6400) * 0.25))[200:-200].abs().max() < 1e-2


def test_spec_augment_masks_within_its_bounds() -> None:
    frames = torch.randn(100, 40, generator=generator())
    for seed in range(20):
        out = spec_augment(frames, generator(seed), time_masks=1, band_masks=1, time_width=30, band_width=8)
        changed = out != frames
        rows, columns = changed.all(dim=1), changed.all(dim=0)
        assert rows.sum() <= 20  # time_share
        assert columns.sum() <= 8
        assert torch.equal(changed, rows[:, None] | columns[None, :])
        assert torch.all(out[changed] == frames.mean())
    assert torch.equal(spec_augment(frames, generator(), time_masks=0, band_masks=0), frames)
