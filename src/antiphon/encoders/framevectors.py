"""Vectors of frames that were computed elsewhere, as a video encoder: nothing is encoded, only sampled and scaled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.decode import BadInput, decode_vectors
from antiphon.encoders import Encoder
from antiphon.encoders.pooling import masked_mean
from antiphon.types import Encoded, Padded


class FrameVectors(Encoder):
    """A vector for each frame of a video, at even times, less the mean and divided by one number.

    One number, not one for each place: what was given as principal components keeps their weights.

    Args:
        width: D of the vectors.
        frames: T.
    """

    signal = "video"
    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, *, frames: int) -> None:
        super().__init__()
        self.settings = {"width": width, "frames": frames}
        self.width, self.frames = width, frames
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(()))

    def prepare(self, items: Sequence[Any]) -> None:
        """Measure training videos: the mean vector, and the root of the mean square of what is left.

        Raises:
            BadInput: as `collate`; or no item is there.
        """
        there = [item for item in items if item is not None]
        if not there:
            raise BadInput("no vectors of frames to measure")
        flat = self.collate(there).values.flatten(0, 1).double()
        self.mean.copy_(flat.mean(0))
        self.deviation.copy_((flat - flat.mean(0)).square().mean().sqrt().clamp(min=1e-6))

    def collate(self, items: Sequence[Any]) -> Padded:
        """Videos to vectors `(B, T, D)`.

        Raises:
            BadInput: not vectors of frames, or of another width.
        """
        values = torch.zeros(len(items), self.frames, self.width)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                vectors = decode_vectors(item, self.frames)
                if vectors.shape[1] != self.width:
                    raise BadInput(f"frames of {vectors.shape[1]} numbers each, wanted {self.width}")
                row.copy_(vectors)
        return Padded(values, torch.tensor([0 if item is None else self.frames for item in items]))

    def forward(self, batch: Padded) -> Encoded:
        """The vectors, scaled, and their mean."""
        mask = batch.present[:, None].expand(-1, batch.values.shape[1])
        tokens = (batch.values - self.mean) / self.deviation * mask[:, :, None]
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def save(self, folder: Path) -> None:
        """What was measured, and the settings."""
        save_file({"mean": self.mean, "deviation": self.deviation}, folder / "model.safetensors")
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> FrameVectors:
        """Read what `save` wrote."""
        encoder = cls(**json.loads((folder / "encoder.json").read_text(encoding="utf-8")))
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
        return encoder
