"""Log-mel front ends, batched, in torch: the Whisper and the Kaldi conventions.

Axes: B clips, S samples, T frames, F FFT bins, M mel bands. Each clip's frames depend on that clip's samples only, so
that a clip gives the same frames alone or in a batch. Both are computed in the precision of the samples or in a
better one, also under autocast: the powers span more than half precision holds. Oracles: the feature extractors of
`transformers`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from antiphon.types import Padded, length_mask

RATE = 16_000
HOP = 160
SIZE = 400
"""Samples in a window: 25 ms."""
PIECE = 256
"""Frames that are taken from samples to bands at a time on the CPU: half a megabyte."""


def whisper_logmel(clips: Padded, *, bands: int = 80) -> Padded:
    """Whisper's log10-mel at 100 frames a second, `(B, T, M)`; silence beyond the clip is left out.

    25 ms periodic Hann windows centred on multiples of 10 ms, Slaney mel bands to 8 kHz, a floor 8 (80 dB) below the
    clip's maximum, then `(x + 4) / 4` (Radford et al. 2022, section 2.2). Frames equal those of a clip that is padded
    with zeros to 30 s or more, as far as the clip reaches: `ceil(samples / 160)` frames. (The extractor of
    `transformers` mirrors the end of a clip of 30 s exactly, which concerns its last frame.)

    Args:
        clips: `(B, S)` samples at 16 kHz; what stands beyond a clip's length is not read.
        bands: M, 80 or (large-v3) 128.
    """
    waves_BS = torch.where(clips.mask, clips.values, 0.0)
    # zeros first: the mirrored 200 samples before the clip must not depend on how wide the batch is
    waves_BS = pad(pad(waves_BS, (0, SIZE))[:, None], (SIZE // 2, 0), mode="reflect")[:, 0]
    lengths = (clips.lengths + HOP - 1) // HOP
    count = int(lengths.max().clamp(min=1))
    window = torch.hann_window(SIZE, device=waves_BS.device, dtype=waves_BS.dtype)
    frames_BTS = waves_BS.unfold(1, SIZE, HOP)[:, :count]
    log_BTM = _bands(frames_BTS, lengths, window, SIZE, mel_filters(bands, SIZE, "slaney")).clamp(min=1e-10).log10()
    mask_BT1 = length_mask(lengths, count)[:, :, None]
    top_B11 = log_BTM.masked_fill(~mask_BT1, -math.inf).amax((1, 2), keepdim=True)
    log_BTM = (torch.maximum(log_BTM, top_B11 - 8.0) + 4.0) / 4.0
    return Padded(torch.where(mask_BT1, log_BTM, 0.0), lengths)


def kaldi_fbank(clips: Padded, *, bands: int = 80) -> Padded:
    """Kaldi's log-mel filter banks at 100 frames a second, `(B, T, M)`, for samples in [-1, 1].

    25 ms Povey windows, mean removed, pre-emphasis 0.97, 512-point FFT, mel bands from 20 Hz to 8 kHz that are
    triangles in the mel domain, natural log; no dither. Only whole windows give a frame (`snip_edges`). On the CPU in
    float64 up to the powers: bands that are all but silent beside loud ones drown in the rounding of float32, which
    moves their logarithm by 0.1 and more.

    differs: a clip shorter than a window gives one frame, padded with zeros, where Kaldi gives none.

    Args:
        clips: `(B, S)` samples at 16 kHz; what stands beyond a clip's length is not read.
        bands: M.
    """
    exact = torch.float64 if clips.values.device.type == "cpu" else clips.values.dtype
    lengths = torch.where(clips.lengths > 0, ((clips.lengths - SIZE) // HOP + 1).clamp(min=1), 0)
    count = int(lengths.max().clamp(min=1))
    need = (count - 1) * HOP + SIZE
    waves_BS = torch.where(clips.mask, clips.values, 0.0)[:, :need]
    waves_BS = pad(waves_BS, (1, need - waves_BS.shape[1])).to(exact)  # one sample more, for the first to differ from
    # emphasis before the frames are cut: a frame's first sample, which has none before it, meets a window of zero there
    sharp_BS = torch.sub(waves_BS[:, 1:], waves_BS[:, :-1], alpha=0.97)
    sums = waves_BS[:, 1:].reshape(len(waves_BS), -1, HOP // 2).sum(2)
    mean_BT = sums.unfold(1, 2 * SIZE // HOP, 2).sum(2) / SIZE
    window = 32768.0 * torch.hann_window(SIZE, periodic=False, device=waves_BS.device, dtype=exact).pow(0.85)
    filters, frames_BTS = mel_filters(bands, 512, "kaldi"), sharp_BS.unfold(1, SIZE, HOP)
    mel_BTM = _bands(frames_BTS, lengths, window, 512, filters, offset_BT=(1.0 - 0.97) * mean_BT)
    log_BTM = mel_BTM.to(clips.values.dtype).clamp(min=torch.finfo(torch.float32).eps).log()
    return Padded(torch.where(length_mask(lengths, count)[:, :, None], log_BTM, 0.0), lengths)


def _bands(
    frames_BTS: Tensor,
    lengths: Tensor,
    window: Tensor,
    fft: int,
    filters_FM: Tensor,
    *,
    offset_BT: Tensor | None = None,
) -> Tensor:
    """Powers in bands of frames, each less its offset, times the window; zero behind a clip's last frame."""
    filters_FM = filters_FM.to(frames_BTS.device)
    if frames_BTS.device.type != "cpu":
        return _powers(frames_BTS, window, fft, filters_FM, offset_BT)
    clips = []
    for clip, count in enumerate(lengths.tolist()):
        # pieces that stay in the processor's cache from the window to the bands
        parts = [
            _powers(
                frames_BTS[clip, at : min(at + PIECE, count)],
                window,
                fft,
                filters_FM,
                None if offset_BT is None else offset_BT[clip, at : min(at + PIECE, count)],
            )
            for at in range(0, count, PIECE)
        ]
        silent = filters_FM.new_zeros(frames_BTS.shape[1] - count, filters_FM.shape[1])
        clips.append(torch.cat([*parts, silent]))
    return torch.stack(clips) if clips else filters_FM.new_zeros(*frames_BTS.shape[:2], filters_FM.shape[1])


def _powers(frames: Tensor, window: Tensor, fft: int, filters_FM: Tensor, offset: Tensor | None) -> Tensor:
    frames = frames * window if offset is None else torch.addcmul(frames * window, offset[..., None], -window)
    spectrum = torch.fft.rfft(frames, n=fft)
    power = spectrum.real.square() + spectrum.imag.square()  # of the absolute value, torch would take a root first
    with torch.autocast(frames.device.type, enabled=False):
        mel: Tensor = power.to(filters_FM) @ filters_FM  # sums of positive terms: float32 is enough
    return mel


@lru_cache(maxsize=8)
def mel_filters(bands: int, fft: int, scale: Literal["slaney", "kaldi"]) -> Float[Tensor, "f m"]:
    """Triangular mel filters `(F, M)`: Slaney's (equal areas, from 0 Hz) or Kaldi's (mel domain, from 20 Hz)."""
    with torch.inference_mode(False):  # kept across calls, of which a later one may need gradients
        return _filters(bands, fft, scale)


def _filters(bands: int, fft: int, scale: Literal["slaney", "kaldi"]) -> Tensor:
    bins = torch.arange(fft // 2 + 1, dtype=torch.float64) * RATE / fft
    if scale == "slaney":
        edges = _slaney_hertz(torch.linspace(0.0, float(_slaney_mel(RATE / 2)), bands + 2, dtype=torch.float64))
        filters = _triangles(bins, edges) * (2.0 / (edges[2:] - edges[:-2]))
    else:
        low, high = _htk_mel(torch.tensor([20.0, RATE / 2], dtype=torch.float64)).tolist()
        filters = _triangles(_htk_mel(bins), torch.linspace(low, high, bands + 2, dtype=torch.float64))
        filters[-1] = 0.0  # Kaldi leaves the Nyquist bin out
    return filters.float()


def _triangles(bins_F: Tensor, edges: Tensor) -> Tensor:
    rising = (bins_F[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins_F[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0)


def _htk_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log(1.0 + hertz / 700.0)


def _slaney_mel(hertz: float) -> float:
    return 15.0 + math.log(hertz / 1000.0) * 27.0 / math.log(6.4) if hertz >= 1000.0 else hertz * 3.0 / 200.0


def _slaney_hertz(mels: Tensor) -> Tensor:
    return torch.where(mels >= 15.0, 1000.0 * torch.exp((mels - 15.0) * math.log(6.4) / 27.0), mels * 200.0 / 3.0)
