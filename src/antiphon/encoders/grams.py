"""A bag of letter n-grams, trained from scratch: any script, no vocabulary, thousands of texts a second.

A text is its n-grams of letters within words (`spelling.ngrams`, n up to 4), each counted as often as it stands there
and hashed into a bucket with a vector of its own (after fastText, Bojanowski et al. 2017, arXiv 1607.04606). The
text's vector is their sum over the square root of their number, so that its size does not hang on the text's length.

Axes: B items, G n-grams, D width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn

from antiphon.decode import clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.blocks import SIZES
from antiphon.encoders.spelling import bucket, ngrams
from antiphon.encoders.text import padded_ids
from antiphon.types import Encoded, Padded


class GramBag(Encoder):
    """Hashed letter n-grams, summed; one token an item.

    Args:
        size: "tiny", "small" or "base": the width is that of `blocks.SIZES`.
        longest: letters of the longest n-gram.
        buckets: how many vectors there are; n-grams of one bucket are one n-gram.
    """

    signal = "text"

    def __init__(self, size: str = "small", *, longest: int = 4, buckets: int = 16_384) -> None:
        super().__init__()
        self.settings = {"size": size, "longest": longest, "buckets": buckets}
        self.width, self.longest, self.buckets = SIZES[size][0], longest, buckets
        # Place 0 is padding, and 1 what a text has of which no letter or digit is left.
        self.embedding = nn.EmbeddingBag(buckets + 2, self.width, mode="sum", padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)  # small beside what a few hundred steps add
        nn.init.zeros_(self.embedding.weight[0])

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to buckets of their n-grams, `(B, G)`; a text of signs alone is one unknown n-gram."""
        return padded_ids([[] if item is None else self._places(clean_text(item)) for item in items], 0)

    def forward(self, batch: Padded) -> Encoded:
        """`(B, 1, D)`."""
        present = batch.present[:, None]
        vectors = self.embedding(batch.values) / batch.lengths.clamp(min=1).sqrt()[:, None]
        return Encoded((vectors * present)[:, None], present, vectors * present)

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_model(self, str(folder / "model.safetensors"))
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> GramBag:
        """Read what `save` wrote."""
        settings = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(settings["size"], longest=settings["longest"], buckets=settings["buckets"])
        load_model(encoder, str(folder / "model.safetensors"))
        return encoder

    def _places(self, text: str) -> list[int]:
        return [place for word in text.split() for place in _of_word(word, self.longest, self.buckets)] or [1]


@lru_cache(maxsize=100_000)
def _of_word(word: str, longest: int, buckets: int) -> tuple[int, ...]:
    return tuple(2 + bucket(gram, buckets) for gram in ngrams(word, longest))
