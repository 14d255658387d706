"""A convolution over words, trained from scratch: small and quick, and it reads a label's few words as it reads a text.

Words are hashed into buckets, so that there is no vocabulary to fit or to keep. A place's vector is its word's, plus
what a convolution over three words adds to it (after Kim 2014, arXiv 1408.5882); a text's is the mean over its places.

Axes: B items, T words, D width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn

from antiphon.decode import clean_text, split_words
from antiphon.encoders import Encoder
from antiphon.encoders.blocks import SIZES
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.spelling import bucket
from antiphon.encoders.text import padded_ids
from antiphon.types import Encoded, Padded


class WordCnn(Encoder):
    """Hashed words, and a convolution over three of them at a time beside each.

    Args:
        size: "tiny", "small" or "base": the width is that of `blocks.SIZES`.
        buckets: how many word vectors there are; words of one bucket are one word.
        dropout: on the word vectors.
    """

    signal = "text"

    def __init__(self, size: str = "small", *, buckets: int = 16_384, dropout: float = 0.1) -> None:
        super().__init__()
        self.settings = {"size": size, "buckets": buckets, "dropout": dropout}
        self.width, self.buckets = SIZES[size][0], buckets
        self.embedding = nn.Embedding(buckets + 1, self.width)
        self.dropout = nn.Dropout(dropout)
        self.convolution = nn.Conv1d(self.width, self.width, 3, padding=1)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to buckets `(B, T)`; a text without a word (only signs) is one unknown word."""
        return padded_ids([[] if item is None else self._buckets(clean_text(item)) for item in items], 0)

    def forward(self, batch: Padded) -> Encoded:
        """`(B, T, D)` vectors of places, and their means."""
        mask = batch.mask
        words_BTD = self.dropout(self.embedding(batch.values)) * mask[:, :, None]
        near_BTD = self.convolution(words_BTD.transpose(1, 2)).transpose(1, 2).relu()
        tokens_BTD = (words_BTD + near_BTD) * mask[:, :, None]
        return Encoded(tokens_BTD, mask, masked_mean(tokens_BTD, mask))

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_model(self, str(folder / "model.safetensors"))
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> WordCnn:
        """Read what `save` wrote."""
        settings = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(settings["size"], buckets=settings["buckets"], dropout=settings["dropout"])
        load_model(encoder, str(folder / "model.safetensors"))
        return encoder

    def _buckets(self, text: str) -> list[int]:
        return [1 + bucket(word, self.buckets) for word in split_words(text)] or [0]
