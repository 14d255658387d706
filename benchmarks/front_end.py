"""Log-mel of short clips in one thread, against kaldi-native-fbank and the feature extractors of `transformers`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from antiphon.types import Padded
from benchmarks.measuring import Row, in_turns, version

CLIPS, SECONDS = 30, 2


def kaldi() -> Row:
    """Kaldi's filter banks, by Kaldi's own code without Kaldi."""
    import kaldi_native_fbank as knf

    def one(wave: np.ndarray) -> np.ndarray:
        options = knf.FbankOptions()
        options.frame_opts.dither, options.frame_opts.samp_freq, options.mel_opts.num_bins = 0.0, 16_000, 80
        banks = knf.OnlineFbank(options)
        banks.accept_waveform(16_000, wave * 32768)
        banks.input_finished()
        return np.stack([banks.get_frame(at) for at in range(banks.num_frames_ready)])

    # it works in float32, and its own distance to float64 is about 5e-4 on these clips
    return _row(_kaldi, lambda waves: [one(wave) for wave in waves], "kaldi-native-fbank", 2e-3)


def seamless() -> Row:
    """Kaldi's filter banks, by SeamlessM4T's extractor, which works in float64."""
    from transformers import SeamlessM4TFeatureExtractor

    extractor = SeamlessM4TFeatureExtractor()
    return _row(_kaldi, lambda waves: [extractor._extract_fbank_features(wave) for wave in waves], "transformers", 1e-4)


def whisper() -> Row:
    """Whisper's log-mel, by Whisper's extractor as it comes, which pads to 30 s."""
    from transformers import WhisperFeatureExtractor

    from antiphon.encoders.logmel import whisper_logmel

    extractor = WhisperFeatureExtractor()

    def peer(waves: list[np.ndarray]) -> list[np.ndarray]:
        features = extractor(waves, sampling_rate=16_000, return_tensors="np")["input_features"]
        return [clip.T[: SECONDS * 100] for clip in features]

    return _row(whisper_logmel, peer, "transformers", 1e-4)


def _kaldi(clips: Padded) -> Padded:
    from antiphon.encoders.logmel import kaldi_fbank

    return kaldi_fbank(clips)


@torch.inference_mode()
def _row(
    ours: Callable[[Padded], Padded], peer: Callable[[list[np.ndarray]], list[np.ndarray]], package: str, apart: float
) -> Row:
    torch.set_num_threads(1)
    waves = 0.1 * torch.randn(CLIPS, SECONDS * 16_000, generator=torch.Generator().manual_seed(0))
    clips, arrays = Padded(waves, torch.full((CLIPS,), SECONDS * 16_000)), list(waves.numpy())
    off = float(np.abs(ours(clips).values.numpy() - np.stack(peer(arrays))).max())
    if off > apart:
        raise SystemExit(f"the frames differ by {off:.1e}: a ratio of speeds would mean nothing")
    window = torch.randn(256, 512, dtype=torch.float64)
    sides: list[Callable[[], Any]] = [lambda: ours(clips), lambda: peer(arrays)]
    took, theirs, fft = in_turns(
        *sides, lambda: [torch.fft.rfft(window) for _ in range(24)], rounds=25, clock=time.process_time
    )
    sound = CLIPS * SECONDS
    return Row(
        ours=sound / took,
        peer=sound / theirs,
        unit="x real time, one thread",
        peer_name=version(package),
        reach=4.5,
        want="at least",
        bound=f"a float64 FFT of every window alone takes {fft / took * sound * 100 / (24 * 256):.0%} of ours",
        details={"largest_difference": off},
    )


ROWS = {"kaldi-banks": kaldi, "kaldi-banks-seamless": seamless, "whisper-logmel": whisper}
