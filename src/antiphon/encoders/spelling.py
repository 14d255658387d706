"""Text by meaning and by spelling: a text model's vector beside the letters of the words.

Names sound alike in many languages ("elephant", "elefante", "ελέφαντας"), which a speech encoder hears and a text model
of meaning does not show. So the vector has two parts: the model's pooled unit vector, and a unit vector of
letter n-grams (n = 1, 2, 3, within words), counted as 1 + log(count) and hashed into buckets: nothing is fitted.
"""

from __future__ import annotations

import json
import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.decode import clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.heads import unit
from antiphon.encoders.text import TransformersText
from antiphon.types import Encoded, Padded


class SpelledText(Encoder):
    """A text model's vector and a hashed letter n-gram vector side by side; one token an item.

    Args:
        name: of the text model, as `TransformersText` takes it.
        buckets: width of the spelling part.
        weight: length of the spelling part, where the meaning part has length one.
    """

    signal = "text"

    def __init__(self, name: str | Path, *, buckets: int = 2048, weight: float = 1.0) -> None:
        super().__init__()
        self.meaning = TransformersText(name)
        self.buckets, self.weight = buckets, weight
        self.width = self.meaning.width + buckets

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to `(B, T, 2)`: token ids, and buckets of their n-grams; -1 where there is none."""
        words = self.meaning.collate(items)
        grams = [
            [] if item is None else [bucket(gram, self.buckets) for gram in ngrams(clean_text(item))] for item in items
        ]
        size = max([words.values.shape[1], *(len(row) for row in grams)])
        values = torch.full((len(items), size, 2), -1, dtype=torch.int64)
        values[:, : words.values.shape[1], 0] = words.values.masked_fill(~words.mask, -1)
        for row, found in zip(values, grams, strict=True):
            row[: len(found), 1] = torch.tensor(found, dtype=torch.int64)
        return Padded(values, torch.maximum(words.lengths, torch.tensor([len(row) for row in grams])))

    def forward(self, batch: Padded) -> Encoded:
        """`(B, 1, meaning width + buckets)`."""
        ids = batch.values[:, :, 0]
        lengths = (ids >= 0).sum(1)
        words = Padded(ids[:, : int(lengths.max().clamp(min=1))].clamp(min=0), lengths)
        meaning = unit(self.meaning(words).pooled)
        vectors = torch.cat([meaning, self.weight * self._spelling(batch.values[:, :, 1]).to(meaning)], dim=1)
        present = batch.present[:, None]
        return Encoded((vectors * present)[:, None], present, vectors * present)

    def save(self, folder: Path) -> None:
        """The text model's folder, and two settings."""
        self.meaning.save(folder)
        settings = {"buckets": self.buckets, "weight": self.weight}
        (folder / "spelling.json").write_text(json.dumps(settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> SpelledText:
        """Read what `save` wrote."""
        settings = json.loads((folder / "spelling.json").read_text(encoding="utf-8"))
        return cls(folder, buckets=settings["buckets"], weight=settings["weight"])

    def _spelling(self, buckets_BT: Tensor) -> Float[Tensor, "b n"]:
        counts = torch.zeros(len(buckets_BT), self.buckets, device=buckets_BT.device)
        counts.scatter_add_(1, buckets_BT.clamp(min=0), (buckets_BT >= 0).float())
        return unit(torch.where(counts > 0, 1.0 + counts.clamp(min=1.0).log(), 0.0))


def ngrams(text: str, longest: int = 3) -> list[str]:
    """Letter n-grams within words, words framed by spaces, lower case, without accents."""
    plain = "".join(
        letter for letter in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(letter)
    )
    framed = [f" {word} " for word in "".join(letter if letter.isalnum() else " " for letter in plain).split()]
    return [word[at : at + n] for word in framed for n in range(1, longest + 1) for at in range(len(word) - n + 1)]


def bucket(gram: str, buckets: int) -> int:
    """The place of an n-gram: the same on every machine."""
    return zlib.crc32(gram.encode("utf-8")) % buckets
