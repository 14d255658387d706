from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor

from antiphon.encoders.logmel import kaldi_fbank, mel_filters, whisper_logmel
from antiphon.types import Padded
from tests.encoders.tiny import wave

SIZES = (1, 100, 150, 199, 200, 201, 399, 400, 401, 559, 560, 1600, 1601, 24_000)
FRONTS = [whisper_logmel, kaldi_fbank]


def padded(*waves: torch.Tensor) -> Padded:
    lengths = torch.tensor([len(one) for one in waves])
    return Padded(torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True), lengths)


def clips() -> list[torch.Tensor]:
    return [wave(2, seed)[:size] for seed, size in enumerate(SIZES)]


def slaney(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def kaldi(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def triangle(at: float, low: float, middle: float, high: float) -> float:
    return max(0.0, min((at - low) / (middle - low), (high - at) / (high - middle)))


def inverse(scale, mel: float) -> float:
    low, high = 0.0, 20_000.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if scale(middle) < mel else (low, middle)
    return low


def slow_filters(bands: int, fft: int, kind: str) -> np.ndarray:
    scale, start = (slaney, 0.0) if kind == "slaney" else (kaldi, 20.0)
    mels = np.linspace(scale(start), scale(8000.0), bands + 2)
    filters = np.zeros((fft // 2 + 1, bands))
    for f in range(fft // 2 + (kind == "slaney")):
        for m in range(bands):
            hertz = f * 16_000 / fft
            if kind == "slaney":
                low, middle, high = (inverse(scale, mel) for mel in mels[m : m + 3])
                filters[f, m] = triangle(hertz, low, middle, high) * 2 / (high - low)
            else:
                filters[f, m] = triangle(scale(hertz), *mels[m : m + 3])
    return filters


def slow_whisper(samples: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Frame by frame in float64, on the clip with 30 s of silence behind it and its mirror before it."""
    long = np.concatenate([samples.astype(np.float64), np.zeros(480_000)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    rows = []
    for at in range(0, len(samples), 160):
        frame = np.array([long[abs(i)] for i in range(at - 200, at + 200)])
        power = np.abs(np.fft.rfft(frame * window)) ** 2
        rows.append(np.log10(np.maximum(power @ filters, 1e-10)))
    log = np.array(rows)
    return (np.maximum(log, log.max() - 8) + 4) / 4


def slow_kaldi(samples: np.ndarray, filters: np.ndarray) -> np.ndarray:
    long = np.concatenate([samples.astype(np.float64) * 32768, np.zeros(max(0, 400 - len(samples)))])
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    rows = []
    for at in range(0, len(long) - 399, 160):
        frame = long[at : at + 400] - long[at : at + 400].mean()
        emphasised = np.array([frame[i] - 0.97 * frame[max(0, i - 1)] for i in range(400)])
        power = np.abs(np.fft.rfft(emphasised * window, 512)) ** 2
        rows.append(np.log(np.maximum(power @ filters, np.finfo(np.float32).eps)))
    return np.array(rows)


@pytest.mark.parametrize(("bands", "fft", "kind"), [(80, 400, "slaney"), (128, 400, "slaney"), (80, 512, "kaldi")])
def test_filters_equal_a_slow_loop(bands, fft, kind):
    np.testing.assert_allclose(mel_filters(bands, fft, kind), slow_filters(bands, fft, kind), atol=1e-6)


@pytest.mark.parametrize(
    ("front", "slow", "kind", "fft"),
    [(whisper_logmel, slow_whisper, "slaney", 400), (kaldi_fbank, slow_kaldi, "kaldi", 512)],
)
def test_frames_equal_a_slow_float64_loop(front, slow, kind, fft):
    ours = front(padded(*clips()))
    filters = slow_filters(80, fft, kind)
    for row, frames, clip in zip(ours.values, ours.lengths, clips(), strict=True):
        theirs = slow(clip.numpy(), filters)
        assert theirs.shape == (int(frames), 80)
        np.testing.assert_allclose(row[:frames], theirs, atol=1e-3 if slow is slow_kaldi else 1e-4)
        assert not row[frames:].any()


@pytest.mark.parametrize("bands", [80, 128])
def test_whisper_equals_the_extractor_of_transformers(bands):
    extractor = WhisperFeatureExtractor(feature_size=bands)
    items = [*clips(), wave(29.99), wave(30.0)]
    ours = whisper_logmel(padded(*items), bands=bands)
    for row, frames, clip in zip(ours.values, ours.lengths.tolist(), items, strict=True):
        assert frames == math.ceil(len(clip) / 160)
        theirs = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt").input_features[0].T
        mirrored = int(len(clip) == 480_000)  # at 30 s that extractor mirrors the end: see the docstring
        torch.testing.assert_close(row[: frames - mirrored], theirs[: frames - mirrored], atol=1e-4, rtol=0)


def test_kaldi_equals_the_banks_of_seamless():
    extractor = SeamlessM4TFeatureExtractor()
    items = [clip for clip in clips() if len(clip) >= 400]
    ours = kaldi_fbank(padded(*items))
    for row, frames, clip in zip(ours.values, ours.lengths, items, strict=True):
        theirs = extractor._extract_fbank_features(clip.numpy())
        assert len(theirs) == frames
        np.testing.assert_allclose(row[:frames], theirs, atol=1e-4)


@pytest.mark.parametrize("front", FRONTS)
def test_a_clip_alone_equals_the_clip_in_a_batch(front):
    together = front(padded(*clips(), wave(3.0, 9)))
    for at, clip in enumerate(clips()):
        alone = front(padded(clip))
        assert alone.lengths[0] == together.lengths[at]
        frames = int(alone.lengths[0])
        torch.testing.assert_close(alone.values[0, :frames], together.values[at, :frames], atol=2e-5, rtol=0)


@pytest.mark.parametrize("front", FRONTS)
def test_what_stands_behind_a_clip_is_not_read(front):
    clean = padded(wave(0.5), wave(1.0, 1))
    dirty = torch.where(clean.mask, clean.values, torch.nan)
    assert torch.equal(front(Padded(dirty, clean.lengths)).values, front(clean).values)


@pytest.mark.parametrize(("front", "value"), [(whisper_logmel, -1.5), (kaldi_fbank, math.log(2**-23))])
def test_silence_is_flat_and_a_missing_clip_is_zero(front, value):
    out = front(Padded(torch.zeros(2, 1600), torch.tensor([1600, 0])))
    torch.testing.assert_close(out.values[0], torch.full_like(out.values[0], value))
    assert out.lengths[1] == 0
    assert not out.values[1].any()
    alone = front(Padded(torch.zeros(1, 1), torch.tensor([0])))
    assert alone.lengths.tolist() == [0]
    assert alone.values.shape == (1, 1, 80)
    assert not alone.values.any()


@pytest.mark.parametrize("front", FRONTS)
def test_gradients_reach_the_samples_even_after_a_call_in_inference_mode(front):
    mel_filters.cache_clear()
    with torch.inference_mode():
        front(padded(wave(0.1)))
    samples = wave(0.1)[None].requires_grad_()
    front(Padded(samples, torch.tensor([1600]))).values.sum().backward()
    assert samples.grad.isfinite().all()
    assert samples.grad.any()


@pytest.mark.parametrize("front", FRONTS)
def test_autocast_changes_nothing(front):
    clip = padded(wave(0.5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = front(clip).values
    assert torch.equal(inside, front(clip).values)
