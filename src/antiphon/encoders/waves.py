"""Recordings to the inputs of speech encoders: samples, silence cut, standardised samples, stacked filter banks.

Axes: B clips, S samples, T frames, M mel bands. No clip's values depend on the batch that it comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from antiphon.decode import decode_audio
from antiphon.encoders.logmel import HOP, RATE, SIZE, kaldi_fbank
from antiphon.encoders.pooling import masked_mean
from antiphon.types import Padded, length_mask

SILENCE = 1e-4
"""Power below the loudest frame's, as a ratio, at which a frame counts as silent: -40 dB."""
MARGIN = RATE // 20
"""Samples that are kept before the first and behind the last loud frame: 50 ms."""


def collate_waves(items: Sequence[Any], *, trim: bool = False) -> Padded:
    """Recordings (files, bytes, waveforms) to 16 kHz mono samples `(B, S)`; None becomes a clip of length zero.

    Args:
        items: as `decode_audio` takes them.
        trim: cut the silence before and behind each clip, see `trim_silence`.

    Raises:
        BadInput: an item that cannot be decoded.
    """
    waves = [torch.zeros(0) if item is None else decode_audio(item, RATE) for item in items]
    waves = [trim_silence(wave) for wave in waves] if trim else waves
    lengths = torch.tensor([len(wave) for wave in waves], dtype=torch.int64)
    values = torch.zeros(len(waves), max([1, *lengths.tolist()]))
    for row, wave in zip(values, waves, strict=True):
        row[: len(wave)] = wave
    return Padded(values, lengths)


def trim_silence(wave: Float[Tensor, " s"]) -> Float[Tensor, " t"]:
    """Cut what comes more than 50 ms before the first and behind the last frame that is not silent.

    A frame is 25 ms, one every 10 ms; it is silent where its mean square is more than 40 dB below that of the loudest
    frame. A clip without a loud frame (digital silence) is kept whole, and so is one shorter than a frame.
    """
    if len(wave) < SIZE:
        return wave
    frames = pad(wave, (0, -(len(wave) - SIZE) % HOP)).unfold(0, SIZE, HOP)
    power = frames.double().square().mean(1)
    loud = ((power > 0) & (power >= SILENCE * power.max())).nonzero()[:, 0]
    if len(loud) == 0:
        return wave
    first, last = int(loud[0]) * HOP, int(loud[-1]) * HOP + SIZE
    return wave[max(0, first - MARGIN) : last + MARGIN]


def standardised(clips: Padded) -> Padded:
    """Each clip to zero mean and unit variance over its samples, as most wave models were trained."""
    mask = clips.mask
    centred = torch.where(mask, clips.values - masked_mean(clips.values[:, :, None], mask), 0.0)
    variance = masked_mean(centred.square()[:, :, None], mask)
    return Padded(centred / (variance + 1e-7).sqrt(), clips.lengths)


def at_least(clips: Padded, samples: int) -> Padded:
    """Shorter clips lengthened by zeros to so many samples; missing ones stay missing."""
    values = pad(clips.values, (0, max(0, samples - clips.values.shape[1])))
    return Padded(values, torch.where(clips.present, clips.lengths.clamp(min=samples), 0))


def stacked_banks(clips: Padded) -> Padded:
    """w2v-BERT's input `(B, T / 2, 2 * M)`: 80 Kaldi banks, standardised by clip and band, two frames side by side.

    A last odd frame is dropped, as `SeamlessM4TFeatureExtractor` does.

    differs: a clip of a single frame is kept, beside a frame of zeros, where that extractor gives NaN.
    """
    banks = kaldi_fbank(clips)
    mask = banks.mask[:, :, None]
    count = banks.lengths[:, None, None]
    shifted = (banks.values - banks.values[:, :1]) * mask  # a constant band becomes zero, without a rounding error
    centred = (shifted - shifted.sum(1, keepdim=True) / count.clamp(min=1)) * mask
    variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
    scaled = centred / (variance + 1e-7).sqrt()
    scaled = pad(scaled, (0, 0, 0, scaled.shape[1] % 2))
    lengths = torch.where(banks.lengths > 0, (banks.lengths // 2).clamp(min=1), 0)
    values = torch.unflatten(scaled, 1, (-1, 2)).flatten(2)
    return Padded(torch.where(length_mask(lengths, values.shape[1])[:, :, None], values, 0.0), lengths)
