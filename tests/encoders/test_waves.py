from __future__ import annotations

import io

import pytest
import soundfile
import torch
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from antiphon.decode import BadInput
from antiphon.encoders.waves import at_least, collate_waves, stacked_banks, standardised, trim_silence
from antiphon.types import Padded
from tests.encoders.tiny import wave


def test_collate_decodes_pads_and_keeps_the_place_of_what_is_missing():
    file = io.BytesIO()
    soundfile.write(file, wave(0.5, rate=8_000).numpy(), 8_000, format="FLAC")
    batch = collate_waves([wave(0.1), None, file.getvalue()])
    assert batch.lengths.tolist() == [1600, 0, 8000]
    assert batch.values.shape == (3, 8000)
    assert torch.equal(batch.values[0, :1600], wave(0.1))
    assert not batch.values[0, 1600:].any()
    assert collate_waves([None]).values.shape == (1, 1)
    assert collate_waves([]).lengths.dtype == torch.int64
    with pytest.raises(BadInput, match="not readable as sound"):
        collate_waves([b"no sound"])


def test_trim_cuts_silence_to_the_margin():
    loud = torch.sin(torch.arange(16_000) * 0.3)
    clip = torch.cat([torch.zeros(8_000), loud, torch.zeros(12_345)])
    cut, start = trim_silence(clip), _start(clip, trim_silence(clip))
    assert torch.equal(cut, clip[start : start + len(cut)])
    # a frame lasts 400 samples, so the edge is found to within a frame; 800 samples of silence are kept beside it
    assert 8_000 - 800 - 400 <= start <= 8_000 - 800
    assert 24_000 + 800 <= start + len(cut) <= 24_000 + 800 + 400


def _start(clip: torch.Tensor, cut: torch.Tensor) -> int:
    return int(clip.nonzero()[0, 0]) - int(cut.nonzero()[0, 0])


@pytest.mark.parametrize(("decibels", "cut"), [(-37.0, False), (-43.0, True)])
def test_trim_draws_the_line_at_40_decibels_below_the_loudest_frame(decibels, cut):
    tone = torch.sin(torch.arange(16_000) * 0.3)
    clip = torch.cat([tone * 10 ** (decibels / 20), tone, tone * 10 ** (decibels / 20)]) * 0.01
    assert (len(trim_silence(clip)) < len(clip)) is cut


@pytest.mark.parametrize("clip", [torch.zeros(16_000), torch.zeros(399), wave(0.02), torch.zeros(1), wave(0.5)])
def test_trim_keeps_whole_what_has_no_silence_or_nothing_else(clip):
    assert torch.equal(trim_silence(clip), clip)


def test_trim_finds_a_click_in_the_last_samples():
    clip = torch.zeros(16_005)
    clip[-1] = 1.0
    assert len(trim_silence(clip)) < 1600
    assert trim_silence(clip)[-1] == 1.0


def test_collate_trims_where_asked_only():
    clip = torch.cat([torch.zeros(8_000), wave(0.5)])
    assert collate_waves([clip]).lengths.item() == 16_000
    assert collate_waves([clip, None], trim=True).lengths.tolist() == [len(trim_silence(clip)), 0]
    assert len(trim_silence(clip)) < 10_000


def test_standardised_equals_the_extractor_of_transformers():
    clips = [wave(0.5) + 0.3, wave(0.2, 1) * 0.01, torch.zeros(500), wave(1e-5)]
    ours = standardised(collate_waves([*clips, None]))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs = extractor([clip.numpy() for clip in clips], sampling_rate=16_000, padding=True, return_tensors="pt")
    torch.testing.assert_close(ours.values[:-1], theirs.input_values, atol=1e-4, rtol=1e-4)
    assert ours.mask[:-1].sum(1).tolist() == theirs.attention_mask.sum(1).tolist()
    assert not ours.values[-1].any()


def test_at_least_leaves_what_is_missing_missing():
    out = at_least(Padded(torch.ones(3, 2), torch.tensor([2, 0, 1])), 5)
    assert out.values.shape == (3, 5)
    assert out.lengths.tolist() == [5, 0, 5]
    assert at_least(Padded(torch.ones(1, 9), torch.tensor([9])), 5).lengths.tolist() == [9]


def test_stacked_banks_equal_the_extractor_of_seamless():
    clips = [wave(1.0), wave(0.633, 1), wave(0.3, 2) + 0.2, wave(0.0451, 3)]
    ours = stacked_banks(collate_waves(clips))
    theirs = SeamlessM4TFeatureExtractor()(
        [clip.numpy() for clip in clips], sampling_rate=16_000, padding=True, return_tensors="pt"
    )
    assert ours.lengths.tolist() == theirs.attention_mask.sum(1).tolist()
    width = theirs.input_features.shape[1]
    mask = ours.mask[:, :width, None]
    torch.testing.assert_close(ours.values[:, :width] * mask, theirs.input_features * mask, atol=1e-3, rtol=0)
    assert torch.equal(ours.mask[:, :width].long(), theirs.attention_mask.long())


def test_stacked_banks_of_silence_and_of_very_short_clips_are_defined():
    out = stacked_banks(collate_waves([torch.zeros(8_000), wave(0.001), None, wave(2.0)]))
    assert out.values.isfinite().all()
    assert out.lengths.tolist() == [24, 1, 0, 99]
    assert not out.values[0].any()
    assert not out.values[2].any()
