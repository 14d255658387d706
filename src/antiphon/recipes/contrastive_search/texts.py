"""What a language model reads, and what it is asked to continue; and a small model that has read nothing yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from antiphon.errors import UserError
from antiphon.types import Padded


@dataclass(frozen=True)
class Passages:
    """Beginnings of held-out texts, and how people went on.

    Args:
        prefixes: beginnings.
        human: what follows each, with the blank before it.
    """

    prefixes: list[str]
    human: list[str]


class Ids:
    """Collates token ids that are ids already."""

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pad lists of ids; None becomes length zero."""
        lengths = torch.tensor([0 if item is None else len(item) for item in items], dtype=torch.int64)
        values = torch.zeros(len(items), max([1, *lengths.tolist()]), dtype=torch.int64)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                row[: len(item)] = torch.tensor(item, dtype=torch.int64)
        return Padded(values, lengths)


def windows(tokenizer: Any, texts: Sequence[str], size: int) -> list[dict[str, Any]]:
    """Rows of `id, ids`: the texts one behind the other, an end token behind each, cut every `size` tokens.

    Raises:
        UserError: fewer tokens than one window has.
    """
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    stream = [token for text in texts for token in [*tokenizer(text)["input_ids"], *end]]
    rows = [{"id": str(at), "ids": stream[at : at + size]} for at in range(0, len(stream) - size + 1, size)]
    if not rows:
        raise UserError(f"{len(stream)} tokens of training texts make no window of {size}: give more, or lower window")
    return rows


def passages(texts: Sequence[str], *, prefix: int, after: int, count: int, joined: bool, seed: int) -> Passages:
    """Passages of `prefix` words and `after` more, of one text each, drawn by the seed.

    Args:
        texts: held out.
        prefix: words of a beginning.
        after: words that follow it.
        count: how many, at most.
        joined: read the texts one behind the other first, where each of them is short.
        seed: of the draw.

    Raises:
        UserError: no text is as long as a passage.
    """
    size = prefix + after
    lines = [" ".join(texts).split()] if joined else [text.split() for text in texts]
    found = [line[at : at + size] for line in lines for at in range(0, len(line) - size + 1, size)]
    if not found:
        raise UserError(
            f"no held-out text has {prefix} + {after} words: lower prefix or decoding.max_tokens, or set joined=true"
        )
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = [found[at] for at in order[:count]]
    return Passages([" ".join(line[:prefix]) for line in chosen], [" " + " ".join(line[prefix:]) for line in chosen])


def cut_to(tokenizer: Any, texts: Sequence[str], tokens: int) -> list[str]:
    """The first tokens of each text, as text: people's continuations as long as made ones."""
    lines = [tokenizer(text, add_special_tokens=False)["input_ids"][:tokens] for text in texts]
    return [str(tokenizer.decode(line)) for line in lines]


def last_layers(model: Any, count: int) -> nn.ModuleList:
    """The last layers of a causal language model of `transformers`.

    Raises:
        UserError: it has not so many.
    """
    have = int(model.config.num_hidden_layers)
    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == have]
    if count > have or not stacks:
        raise UserError(f"tuned={count}: {type(model).__name__} has {have} layers")
    return nn.ModuleList(list(stacks[0])[-count:])


def scratch(texts: Sequence[str], *, vocabulary: int, layers: int, width: int, heads: int) -> tuple[Any, Any]:
    """A random language model of Llama's architecture, and byte pairs learned from the texts as its tokens.

    Args:
        texts: to learn the tokens from.
        vocabulary: how many tokens, the 256 bytes and two special ones among them.
        layers: of the model.
        width: of the model.
        heads: of each layer.

    Raises:
        UserError: a vocabulary below 258, or a width that the heads do not divide.
    """
    if vocabulary < 258 or width % (2 * heads):
        raise UserError(
            f"scratch.vocabulary={vocabulary}, width={width}, heads={heads}: wanted 258 tokens or more, and an even "
            "width for each head"
        )
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    special = {"eos_token": "</s>", "pad_token": "<pad>"}
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokens.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, **special)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=-(-8 * width // 3 // 32) * 32,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), tokenizer
