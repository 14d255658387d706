"""What reads texts and pictures: a language model in a prompt, and how it is shown pictures; and the pairs it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from antiphon.data.pairs import load
from antiphon.encoders import Encoder
from antiphon.encoders.connected import Cells, ConnectedImage
from antiphon.encoders.lora import add_low_rank
from antiphon.encoders.processors import open_processor
from antiphon.encoders.prompted import PromptedImage, PromptedText
from antiphon.encoders.space import Branch
from antiphon.errors import UserError
from antiphon.generation.models import open_language_model, sees
from antiphon.recipes.mllm_embedder.config import Config
from antiphon.recipes.mllm_embedder.pictures import (
    connected,
    learn_captions,
    linear_reference,
    picture_first,
    pictured,
    shows_pictures,
    vectors_of,
)
from antiphon.recipes.mllm_embedder.prompts import WORDINGS, caption_prompt, prompt_of
from antiphon.recipes.mllm_embedder.rows import Twins, twins_of
from antiphon.runs import Run


@dataclass(frozen=True)
class Readers:
    """Encoders that share a language model, and what they read.

    Attributes:
        encoder: of texts.
        image: of pictures; a branch where a linear map stands beside the text encoder; None without pictures.
        pairs: by split; none where nothing is trained and there are no pictures.
        read: of each picture, by its key, what a frozen encoder makes of it: cells, or the vector itself.
    """

    encoder: Encoder
    image: ConnectedImage | PromptedImage | Branch | None = None
    pairs: dict[str, Twins] = field(default_factory=dict)
    read: Mapping[str, Tensor] = field(default_factory=dict)

    def vectors(self, keys: Sequence[str]) -> dict[str, Any]:
        """Of those keys that are pictures', a vector `(1, E)` each."""
        asked = {key: self.read[key] for key in keys if key in self.read}
        if self.image is None or isinstance(self.image, PromptedImage):
            return dict(asked)
        return vectors_of(self.image, asked)


def opened(cfg: Config, run: Run) -> Readers:
    """The encoders and pairs of a run.

    Raises:
        UserError: columns or settings that do not fit.
    """
    seen = shows_pictures(cfg.data.columns)
    if seen:
        torch.manual_seed(0)  # runs of all seeds share the connector, and so what it stands between
    if seen and cfg.shown == "linear":
        return _linear(cfg, run)
    if seen and cfg.prompt == "mean":
        raise UserError("prompt=mean is of texts alone: take another for pictures")
    model, tokenizer = open_language_model(cfg.text.encoder)
    if cfg.half and cfg.locked:
        for weight in model.parameters():  # not model.to(): the angles of positions would lose their precision
            weight.data = weight.data.to(torch.bfloat16)
    wording = run.seed % WORDINGS if cfg.wording is None else cfg.wording
    prompt = partial(prompt_of, cfg.prompt, wording, chat=cfg.chat, instruction=cfg.instruction)
    encoder = PromptedText(model, tokenizer, prompt(), pooling="mean" if cfg.prompt == "mean" else "last")
    if cfg.rank is not None and not cfg.locked:
        encoder.decoder.requires_grad_(False)
        words = getattr(encoder.decoder, "language_model", encoder.decoder)  # of a model of pictures, what reads texts
        add_low_rank(words, cfg.rank, alpha=cfg.alpha, dropout=0.1, dora=cfg.dora)
    if not seen:
        return Readers(encoder, None, _pairs(cfg, run))
    if not cfg.locked:
        raise UserError("locked=false trains on texts alone, and data.columns has pictures: say locked=true")
    if sees(model) and cfg.shown == "auto":
        own = PromptedImage(model, open_processor(cfg.text.encoder), prompt(image=True), size=cfg.square)
        return Readers(encoder, own, *pictured(cfg.data, own, run, most=cfg.most))
    eye = Cells(cfg.image.open("image"), side=cfg.side)
    pairs, cells = pictured(cfg.data, eye, run, most=cfg.most)
    shown = [cells[key] for key, _ in picture_first(pairs["train"], cells)]
    image = connected(model, tokenizer, caption_prompt(chat=cfg.chat), eye, hidden=cfg.hidden, cells=shown)
    if cfg.shown != "untrained":
        learn_captions(
            image, model, pairs["train"], cells, cfg.start, run.part("start", cfg.only(*_OF_THE_CONNECTOR), seed=0)
        )
    return Readers(encoder, image.over(eye, prompt(image=True)), pairs, cells)


_OF_THE_CONNECTOR = ("data", "most", "text", "chat", "half", "image", "side", "hidden", "start")


def _linear(cfg: Config, run: Run) -> Readers:
    """A text encoder, and a linear map of pictures into its space."""
    if cfg.reference is None or cfg.negatives != "off":
        raise UserError("shown=linear is measured untrained, in a text encoder's space: negatives=off, reference=")
    eye = Cells(cfg.image.open("image"), side=cfg.side)
    pairs, cells = pictured(cfg.data, eye, run, most=cfg.most)
    return Readers(*linear_reference(cfg.reference, eye, pairs["train"], cells), pairs, cells)


def _pairs(cfg: Config, run: Run) -> dict[str, Twins]:
    """Pairs of texts by split, no text in two of them; none where nothing is trained."""
    if cfg.negatives == "off":
        return {}
    if len(cfg.data.columns) != 2:
        raise UserError(f"data.columns={','.join(cfg.data.columns)}: wanted two, of queries and of documents")
    first, second = cfg.data.columns
    return twins_of(load(cfg.data), (first, second), least=cfg.least, most=cfg.most).split(run.seed)
