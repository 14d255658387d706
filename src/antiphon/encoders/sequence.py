"""Small encoders that hear order: statistics of stretches of sound, and a GRU over another encoder's tokens.

`MelChunks` has no weights, so it can be cached like a frozen model; `Recurrent` learns on top of it, or on top of a
frozen text model. A mean over tokens says the same of a before b as of b before a; a recurrence does not.

Axes: B items, T positions, D width, M mel bands, F frames.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from antiphon.encoders import Encoder
from antiphon.encoders.frozen import OverFrozen
from antiphon.encoders.heads import Standard
from antiphon.encoders.logmel import whisper_logmel
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.waves import collate_waves
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded, length_mask

FRAMES_A_SECOND = 100
STATISTICS = 6
"""Of every band: mean, deviation, maximum, minimum, and mean and deviation of the size of its steps in time."""


class MelChunks(Encoder):
    """Statistics of log-mel bands over stretches of a recording, one vector a stretch; nothing in it is learned.

    The level is measured against the recording's loudest frame and band, so that loudness says nothing.

    Args:
        seconds: of a stretch; the last one may be shorter.
        bands: M.
        signal: "audio" or "speech".
    """

    def __init__(self, seconds: float = 1.0, *, bands: int = 48, signal: str = "audio") -> None:
        super().__init__()
        self.size = round(seconds * FRAMES_A_SECOND)
        if self.size < 1:
            raise WrongValue(f"seconds={seconds}: a stretch holds a frame of 10 ms or more")
        self.settings = {"seconds": seconds, "bands": bands, "signal": signal}
        self.bands, self.signal, self.width = bands, signal, STATISTICS * bands

    def collate(self, items: Sequence[Any]) -> Padded:
        """Recordings to samples `(B, S)` at 16 kHz."""
        return collate_waves(items)

    def forward(self, batch: Padded) -> Encoded:
        """Samples to `(B, T, 6 * M)`."""
        mels = whisper_logmel(batch, bands=self.bands)
        frames_BFM, lengths = mels.values, mels.lengths
        real_BF1 = length_mask(lengths, frames_BFM.shape[1])[:, :, None]
        top_B11 = frames_BFM.masked_fill(~real_BF1, -torch.inf).amax((1, 2), keepdim=True)
        frames_BFM = torch.where(real_BF1, frames_BFM - top_B11, 0.0)
        steps_BFM = pad((frames_BFM[:, 1:] - frames_BFM[:, :-1]).abs(), (0, 0, 1, 0))
        count = -(-frames_BFM.shape[1] // self.size)
        chunks_BTFM, moves_BTFM, real_BTF1 = (
            torch.unflatten(pad(part, (0, 0, 0, count * self.size - part.shape[1])), 1, (count, self.size))
            for part in (frames_BFM, steps_BFM, real_BF1)
        )
        highest = torch.where(real_BTF1, chunks_BTFM, -torch.inf).amax(2)
        lowest = torch.where(real_BTF1, chunks_BTFM, torch.inf).amin(2)
        parts = [*_moments(chunks_BTFM, real_BTF1), highest, lowest, *_moments(moves_BTFM, real_BTF1)]
        lengths = (lengths + self.size - 1) // self.size
        mask_BT = length_mask(lengths, count)
        tokens_BTD = torch.where(mask_BT[:, :, None], torch.cat(parts, dim=2), 0.0)
        return Encoded(tokens_BTD, mask_BT, masked_mean(tokens_BTD, mask_BT))

    def save(self, folder: Path) -> None:
        """Its settings."""
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MelChunks:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(kept["seconds"], bands=kept["bands"], signal=kept["signal"])


class Recurrent(OverFrozen):
    """A bidirectional GRU over the standardised tokens of another encoder, which is frozen.

    Args:
        inner: gives the tokens.
        width: D, of both directions together.
        pooling: of the GRU's states: "mean" or "max" over time.
    """

    def __init__(self, inner: Encoder, width: int = 192, *, pooling: Literal["mean", "max"] = "mean") -> None:
        if width % 2:
            raise WrongValue(f"width={width}: half of it is for each direction, so it is even")
        super().__init__(inner, width, {"width": width, "pooling": pooling})
        self.pooling = pooling
        self.norm = Standard(inner.width)
        self.entry = nn.Linear(inner.width, width // 2)
        self.gru = nn.GRU(width // 2, width // 2, batch_first=True, bidirectional=True)

    def encode(self, inner: Encoded) -> Encoded:
        """States of both directions at every token of the inner encoder."""
        lengths_B = inner.mask.sum(1)
        flat_ND = torch.relu(self.entry(self.norm(inner.tokens.flatten(0, 1))))
        entered_BTD = flat_ND.reshape(*inner.mask.shape, -1)
        # a missing item counts as one position here (a GRU takes none), and is masked out below
        packed = pack_padded_sequence(entered_BTD, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        states_BTD, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=inner.mask.shape[1])
        tokens_BTD = torch.where(inner.mask[:, :, None], states_BTD, 0.0)
        return Encoded(tokens_BTD, inner.mask, self._pool(tokens_BTD, inner.mask))

    @torch.no_grad()
    def prepare(self, items: Sequence[Any]) -> None:
        """Measure mean and deviation of the inner tokens over training items (never over dev or test)."""
        inner = self.inner(self.inner.collate(items))
        self.norm.measure(inner.tokens[inner.mask])

    def _pool(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Float[Tensor, "b d"]:
        if self.pooling == "mean":
            return masked_mean(tokens_BTD, mask_BT)
        highest_BD = tokens_BTD.masked_fill(~mask_BT[:, :, None], torch.finfo(tokens_BTD.dtype).min).amax(1)
        return torch.where(mask_BT.any(1, keepdim=True), highest_BD, 0.0)


def _moments(values_BTFM: Tensor, real_BTF1: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over the real frames of each stretch."""
    count_BT1 = real_BTF1.sum(2).clamp(min=1)
    mean_BTM = torch.where(real_BTF1, values_BTFM, 0.0).sum(2) / count_BT1
    apart_BTFM = torch.where(real_BTF1, values_BTFM - mean_BTM[:, :, None], 0.0)
    return mean_BTM, (apart_BTFM.square().sum(2) / count_BT1).sqrt()
