"""Turns items into vectors: the `Encoder` interface that every signal's encoder keeps.

An encoder takes items of one signal as they stand in a row (a text, a file's path or bytes, a decoded picture or
waveform; None where the row has no such item), pads them into a batch, and encodes the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from antiphon.types import Encoded, Padded


class Encoder(nn.Module, ABC):
    """Turns items of one signal into vectors.

    Attributes:
        width: the size of a vector.
        signal: "text", "speech", "audio", "image", "video" or "brain".
    """

    width: int
    signal: str

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Padded:
        """Decode and pad items of this signal; None becomes an item of length zero.

        Raises:
            BadInput: an item that cannot be decoded, in one line.
        """

    @abstractmethod
    def forward(self, batch: Padded) -> Encoded:
        """Encode a batch. An item's vectors do not depend on the batch it comes in."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and settings (JSON) into a folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Encoder:
        """Read what `save` wrote; nothing is unpickled and no hub is asked."""
