"""What learns on top of a frozen encoder: in a learner over `Features`, in the saved space over what made them.

The frozen encoder's tokens are cached (`features.py`), so that training reads them and does not compute them again.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.encoders import Encoder
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded


class OverFrozen(Encoder):
    """An encoder that learns on the tokens of another one, which is frozen.

    A subclass takes the inner encoder and keyword settings that are JSON, and hands both on to this constructor.

    Args:
        inner: gives the tokens; it is never in training mode.
        width: of what this encoder puts out.
        settings: what the subclass was made with, beside `inner`.
    """

    inner: Encoder

    def __init__(self, inner: Encoder, width: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.signal, self.width, self.settings = inner.signal, width, settings
        self.inner = inner.requires_grad_(False)

    @abstractmethod
    def encode(self, inner: Encoded) -> Encoded:
        """From the inner encoder's tokens to this one's."""

    def forward(self, batch: Padded) -> Encoded:
        """Encode a batch of the inner encoder's."""
        with torch.no_grad():
            inner: Encoded = self.inner(batch)
        return self.encode(inner)

    def train(self, mode: bool = True) -> OverFrozen:
        """Training mode, of all but the frozen encoder."""
        super().train(mode)
        self.inner.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """As the inner encoder does."""
        return self.inner.collate(items)

    def over(self, inner: Encoder) -> OverFrozen:
        """The same weights over another inner encoder: over the one whose tokens `Features` handed on.

        Raises:
            WrongValue: its width is another.
        """
        if inner.width != self.inner.width:
            raise WrongValue(f"the inner encoder puts out width {inner.width}, wanted {self.inner.width}")
        own = self._own()
        other = type(self)(inner, **self.settings).to(next(iter(own.values())).device)
        other._take(own)
        return other

    def save(self, folder: Path) -> None:
        """Weights and settings, and the inner encoder in a folder of its own."""
        from antiphon.encoders.open import save_encoder  # not above: `open` lists the encoders

        save_encoder(self.inner, folder / "inner")
        save_file({name: value.contiguous() for name, value in self._own().items()}, folder / "model.safetensors")
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> OverFrozen:
        """Read what `save` wrote."""
        from antiphon.encoders.open import load_encoder

        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(load_encoder(folder / "inner"), **kept)
        encoder._take(load_file(folder / "model.safetensors"))
        return encoder

    def _own(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if not name.startswith("inner.")}

    def _take(self, own: dict[str, Tensor]) -> None:
        inner = {f"inner.{name}": value for name, value in self.inner.state_dict().items()}
        self.load_state_dict(own | inner)
