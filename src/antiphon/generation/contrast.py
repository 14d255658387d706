"""Contrastive generation: an instruction's tokens, against those that the opposite instruction would have (MultiCSR).

Stage 1 of arXiv 2310.10962. An instruction I and its opposite I' read the same text x and the same answer so far; of
the tokens y that are plausible by I, the next one is (greedily)

    argmax  log p(y | I, x, y_<t) - lambda log p(y | I', x, y_<t)     where p(y | I, ..) >= eta max_y' p(y' | I, ..)

The idea is the paper's; this form and its constants are our reconstruction, since its released code lacks this stage.
lambda = 0 is plain greedy decoding by I.

The instruction and its examples are the same for every text: they are read once.

Axes: B texts, T tokens, C columns read, V words.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from antiphon.encoders.batched import evaluating
from antiphon.errors import WrongValue
from antiphon.generation.branches import ColumnLayer, additive_mask, sharing_keys, why_not
from antiphon.generation.written import Prompt, Writing

DIGITS = range(6)
"""Scores that a model is asked for."""


def contrasted(
    logits: Float[Tensor, "b v"], against: Float[Tensor, "b v"], *, weight: float, plausible: float
) -> Float[Tensor, "b v"]:
    """Scores of the next tokens; -inf for what is not plausible.

    Args:
        logits: by the instruction.
        against: by its opposite.
        weight: lambda, >= 0.
        plausible: eta, in (0, 1].
    """
    log_p, log_q = logits.float().log_softmax(-1), against.float().log_softmax(-1)
    least = log_p.max(-1, keepdim=True).values + math.log(plausible)
    return (log_p - weight * log_q).masked_fill(log_p < least, -math.inf)


class Reading:
    """What a model has read of several texts that begin alike; the beginning is read once.

    Args:
        model: a causal language model of `transformers` whose texts can branch (`branches.why_not`), in evaluation
            mode.
        beginning: token ids.
        rest: token ids of each text behind it.
        room: how many tokens will be read further.

    Attributes:
        logits: `(B, V)` of the token that follows.
    """

    def __init__(self, model: Any, beginning: Sequence[int], rest: Sequence[Sequence[int]], room: int) -> None:
        if not beginning or not rest or not all(map(len, rest)):
            raise WrongValue("a prompt holds one token or more, before the text and of it")
        self.model, device = model, model.device
        longest = max(map(len, rest))
        columns = len(beginning) + longest + room
        most = getattr(model.config, "max_position_embeddings", None)
        if most is not None and columns > most:
            raise WrongValue(
                f"{len(beginning)} tokens of instruction, {longest} of text and {room} of answer pass the {most} that "
                f"{type(model).__name__} takes: fewer examples, or shorter texts"
            )
        why = why_not(model, columns)
        if why is not None:
            raise WrongValue(f"{why}: an instruction cannot be read once for all texts; take another model")
        first = Cache(layer_class_to_replicate=partial(ColumnLayer, len(beginning)))
        places = torch.arange(len(beginning), device=device)[None]
        ids = torch.tensor([list(beginning)], device=device)
        model(input_ids=ids, position_ids=places, past_key_values=first, use_cache=True, logits_to_keep=1)
        self.cache = Cache(layer_class_to_replicate=partial(ColumnLayer, columns))
        for at, layer in enumerate(first.layers):
            self.cache.update(*(part.expand(len(rest), -1, -1, -1) for part in (layer.keys, layer.values)), at)
        # texts are padded on their left, between the beginning and themselves, so that all end in one column
        values = torch.zeros(len(rest), longest, dtype=torch.int64)
        self.seen_BC = torch.zeros(len(rest), columns, dtype=torch.bool)
        self.seen_BC[:, : len(beginning)] = True
        for row, seen, line in zip(values, self.seen_BC, rest, strict=True):
            row[longest - len(line) :] = torch.tensor(line)
            seen[columns - room - len(line) :] = True
        self.seen_BC = self.seen_BC.to(device)
        self.filled = len(beginning)
        self.logits = self._forward(values.to(device))

    def read(self, ids_B: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        """Read a token of each text; gives what follows."""
        self.logits = self._forward(ids_B[:, None])
        return self.logits

    def keep(self, rows: Int[Tensor, " n"]) -> None:
        """Go on with these texts alone."""
        self.seen_BC, self.logits = self.seen_BC[rows], self.logits[rows]
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def _forward(self, ids_BT: Tensor) -> Tensor:
        start, end = self.filled, self.filled + ids_BT.shape[1]
        places = torch.arange(end, device=ids_BT.device)
        seen = self.seen_BC[:, None, None, :end] & (places <= places[start:, None])
        positions_BT = (self.seen_BC[:, :end].long().cumsum(1) - 1)[:, start:]
        with sharing_keys(self.model.config):
            said = self.model(
                input_ids=ids_BT, position_ids=positions_BT, attention_mask=additive_mask(seen, self.model.dtype),
                past_key_values=self.cache, use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        self.filled = end
        logits: Tensor = said.logits[:, -1]
        return logits


@torch.inference_mode()
def answered(
    model: Any,
    tokenizer: Any,
    prompt: Prompt,
    texts: Sequence[str],
    cfg: Writing | None = None,
    *,
    opposite: Prompt | None = None,
) -> list[list[int]]:
    """Token ids of the answer to each text, up to (and without) what ends the line.

    Args:
        model: a causal language model of `transformers`; in evaluation mode meanwhile.
        tokenizer: the model's.
        prompt: the instruction I.
        texts: what it is asked about.
        cfg: how.
        opposite: the instruction I'; wanted where `cfg.weight` is not 0.

    Raises:
        WrongValue: no opposite for a weight, or what the model cannot hold.
    """
    cfg = cfg or Writing()
    if cfg.weight > 0 and opposite is None:
        raise WrongValue(f"weight={cfg.weight:g} counts against an opposite instruction: give one, or weight=0")
    prompts = [prompt] if opposite is None or cfg.weight == 0 else [prompt, opposite]
    lines: list[list[int]] = [[] for _ in texts]
    going = torch.arange(len(texts))
    with evaluating(model):
        readings = [_reading(model, tokenizer, one, [(text,) for text in texts], cfg.max_tokens) for one in prompts]
        for count in range(cfg.max_tokens):
            scores = readings[0].logits
            if len(readings) > 1:
                scores = contrasted(scores, readings[1].logits, weight=cfg.weight, plausible=cfg.plausible)
            ids_B = scores.argmax(-1)
            over = [_ends(tokenizer, token) for token in ids_B.tolist()]
            for at, token, ended in zip(going.tolist(), ids_B.tolist(), over, strict=True):
                if not ended:
                    lines[at].append(token)
            left = torch.tensor([at for at, ended in enumerate(over) if not ended], dtype=torch.int64)
            if not len(left) or count + 1 == cfg.max_tokens:
                break
            if len(left) < len(over):
                going, ids_B = going[left], ids_B[left.to(ids_B.device)]
                for reading in readings:
                    reading.keep(left.to(ids_B.device))
            for reading in readings:
                reading.read(ids_B)
    return lines


@torch.inference_mode()
def expected_scores(
    model: Any, tokenizer: Any, prompt: Prompt, pairs: Sequence[tuple[str, str]]
) -> Float[Tensor, " n"]:
    """E[d]: the mean of the digits 0 to 5 by the model's chances of them as the answer about each pair.

    A small model's likeliest digit is nearly always the same; the mean still tells pairs apart.

    Args:
        model: as `answered`.
        tokenizer: the model's.
        prompt: asks for a digit about two texts.
        pairs: the texts.
    """
    with evaluating(model):
        digits, before = _digits(tokenizer)
        reading = _reading(model, tokenizer, prompt, pairs, 0, before)
        shares = reading.logits[:, digits].float().softmax(-1)
    return (shares * torch.tensor(list(DIGITS), dtype=shares.dtype, device=shares.device)).sum(1).cpu()


class LocalWriter:
    """A causal language model on this machine, as a `Writer`.

    Args:
        model: of `transformers`.
        tokenizer: the model's.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        digest = hashlib.blake2b(type(model).__name__.encode(), digest_size=8)
        for name, value in sorted(model.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        self.name = f"{type(model).__name__}-{digest.hexdigest()}"

    def write(self, prompt: Prompt, opposite: Prompt | None, texts: Sequence[str], cfg: Writing) -> list[str]:
        """By `answered`."""
        lines = answered(self.model, self.tokenizer, prompt, texts, cfg, opposite=opposite)
        return [" ".join(str(self.tokenizer.decode(line, skip_special_tokens=True)).split()) for line in lines]

    def score(self, prompt: Prompt, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """By `expected_scores`, to four decimals."""
        return [round(score, 4) for score in expected_scores(self.model, self.tokenizer, prompt, pairs).tolist()]


def _reading(
    model: Any, tokenizer: Any, prompt: Prompt, asked: Sequence[tuple[str, ...]], room: int, before: Sequence[int] = ()
) -> Reading:
    beginning = list(tokenizer(prompt.beginning(), add_special_tokens=False)["input_ids"])
    start = tokenizer.bos_token_id
    beginning = beginning if start is None else [start, *beginning]
    rest = [
        [*tokenizer(prompt.asked(*texts), add_special_tokens=False)["input_ids"], *before] for texts in asked
    ]  # fmt: skip
    return Reading(model, beginning, rest, room)


def _digits(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The token ids of the digits, and those between a question and a digit."""
    lines = [list(tokenizer(f" {digit}", add_special_tokens=False)["input_ids"]) for digit in DIGITS]
    if len({tuple(line[:-1]) for line in lines}) > 1 or len({line[-1] for line in lines}) < len(DIGITS):
        raise WrongValue(f"{type(tokenizer).__name__} has no token of its own for each digit: take another model")
    return [line[-1] for line in lines], lines[0][:-1]


def _ends(tokenizer: Any, token: int) -> bool:
    return token == tokenizer.eos_token_id or "\n" in tokenizer.decode([token])
