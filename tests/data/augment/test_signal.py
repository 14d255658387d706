"""Changes of many channels, by hand."""

from __future__ import annotations

import torch

from antiphon.data.augment.signal import drop_channels, mask_time

FRAMES = torch.ones(100, 12)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_channels_go_whole_and_one_stays() -> None:
    kept = 0.0
    for seed in range(100):
        out = drop_channels(FRAMES, generator(seed), chance=0.5)
        assert torch.equal(out, out[:1].expand_as(out))
        kept += float(out[0].sum())
        assert drop_channels(FRAMES, generator(seed), chance=1.0)[0].sum() == 1
    assert 5.5 < kept / 100 < 6.5


def test_spans_of_time_are_silent() -> None:
    widths = set()
    for seed in range(60):
        out = mask_time(FRAMES, generator(seed), masks=1, widest=0.1)
        silent = (out == 0).all(dim=1)
        assert torch.equal(out[~silent], FRAMES[~silent])
        widths.add(int(silent.sum()))
    assert widths == set(range(11))
