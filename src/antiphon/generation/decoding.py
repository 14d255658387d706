"""Decoding: greedy, nucleus, typical, beam, contrastive and diverse contrastive search for models of `transformers`.

Contrastive search (arXiv 2202.06417, 2210.14140) takes, of the k likeliest next tokens v (the set V_k),

    argmax_v  (1 - a) * p(v | x_<t)  -  a * max_{j<t} cos(h_v, h_j)

p being the softmax over all words, not only over V_k, and h the last hidden states behind the last norm, of the prompt
and of what was made. Diverse contrastive search draws its first tokens as nucleus does. `transformers` dropped it from
its core in 2025; token ids are those of its version 4.55 (`penalty_alpha`, `top_k`). The other ids and distributions
are those of `model.generate`. Nucleus: arXiv 1904.09751; typical: arXiv 2202.00666.

Axes: B texts, K candidates, C columns read so far, D width of the model, V words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from antiphon.config import Config, Share
from antiphon.encoders.batched import evaluating
from antiphon.errors import WrongValue
from antiphon.generation.beams import Hypotheses
from antiphon.generation.branches import Branches
from antiphon.generation.rereading import Rereading, branching
from antiphon.types import Padded

Method = Literal["greedy", "nucleus", "typical", "beam", "contrastive", "diverse"]
Stop = Callable[[list[int]], bool]
"""Whether a text ends with these new token ids."""


class Decoding(Config):
    """How a text is continued."""

    method: Method = "greedy"
    max_tokens: PositiveInt = 32
    """New tokens of a text, at most."""
    temperature: PositiveFloat = 1.0
    """nucleus, typical, diverse: before a draw, logits are divided by it."""
    mass: Annotated[float, Field(gt=0, le=1)] = 0.95
    """nucleus, diverse: the likeliest tokens that hold this share are drawn from; typical: the most typical ones."""
    beams: Annotated[int, Field(ge=2)] = 4
    length_penalty: float = 1.0
    """beam: the sum of log-probabilities is divided by the new tokens' number to this power."""
    candidates: PositiveInt = 4
    """contrastive, diverse: k. The papers take 3 to 10."""
    penalty: Share = 0.6
    """contrastive, diverse: a; 0 is greedy search."""
    drawn: PositiveInt = 2
    """diverse: so many first tokens are drawn as nucleus draws them, and the search goes on from there."""


@torch.inference_mode()
def continued(
    model: Any,
    prompt: Padded,
    cfg: Decoding | None = None,
    *,
    ends: Sequence[int] = (),
    stops: Sequence[Sequence[int]] = (),
    stop: Stop | None = None,
    generator: torch.Generator | None = None,
) -> Padded:
    """New token ids `(B, N)` of each text, up to and with what ended it; a text's do not depend on the others.

    Args:
        model: any causal language model of `transformers`; in evaluation mode meanwhile. One whose texts cannot branch
            on one cache reads them again for every token, with a warning (`rereading.py`).
        prompt: token ids `(B, T)`, or vectors `(B, T, D)` in their place (a soft prompt); `left_padded` reads what a
            tokenizer pads.
        cfg: how; None is greedy.
        ends: token ids that end a text.
        stops: sequences of token ids that end a text.
        stop: a further test of the new ids of a text.
        generator: of what is drawn; nucleus, typical and diverse want one. Draws are shared out in the texts' order.

    Raises:
        WrongValue: a setting, a model or a prompt that does not fit.
    """
    cfg = cfg or Decoding()
    if cfg.method in ("nucleus", "typical", "diverse") and generator is None:
        raise WrongValue(f"method={cfg.method} draws: give a torch.Generator")
    ending = _Ending(ends, stops, stop)
    with evaluating(model):
        branches = branching(model, prompt, cfg.max_tokens, _room(cfg))
        if cfg.method == "beam":
            lines = _beam(branches, cfg, ending)
        else:
            searching = cfg.method in ("contrastive", "diverse")
            step = _Contrast(branches, cfg, generator) if searching else _Draw(branches, cfg, generator)
            lines = _one_by_one(step, branches.logits, cfg, ending)
    lengths = torch.tensor([len(line) for line in lines])
    values = torch.zeros(len(lines), int(lengths.max()), dtype=torch.int64)
    for row, line in zip(values, lines, strict=True):
        row[: len(line)] = torch.tensor(line)
    return Padded(values, lengths)


def continued_texts(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    cfg: Decoding | None = None,
    *,
    stop: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> list[str]:
    """What follows each text, without special tokens; cut before the first of the stop strings."""
    prompt = ids_of(tokenizer, texts)
    ends = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]

    def stopped(ids: list[int]) -> bool:
        return any(word in tokenizer.decode(ids) for word in stop)

    found = continued(model, prompt, cfg, ends=ends, stop=stopped if stop else None, generator=generator)
    lines = [row[:length].tolist() for row, length in zip(found.values, found.lengths.tolist(), strict=True)]
    said = [str(tokenizer.decode(line, skip_special_tokens=True)) for line in lines]
    return [line[: min([len(line), *(line.find(word) for word in stop if word in line)])] for line in said]


def ids_of(tokenizer: Any, texts: Sequence[str]) -> Padded:
    """Token ids of texts, as prompts.

    Raises:
        WrongValue: a text without a token.
    """
    lines = [tokenizer(text)["input_ids"] for text in texts]
    empty = [text for text, line in zip(texts, lines, strict=True) if not line]
    if empty or not lines:
        raise WrongValue(f"the tokenizer makes no token of {empty[:1] or 'no texts'}: begin with the start token")
    values = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.int64)
    for row, line in zip(values, lines, strict=True):
        row[: len(line)] = torch.tensor(line)
    return Padded(values, torch.tensor([len(line) for line in lines]))


def left_padded(values: Tensor, mask: Int[Tensor, "b t"]) -> Padded:
    """Prompts that a tokenizer padded on their left (or right), as `Padded`.

    Args:
        values: token ids `(B, T)` or vectors `(B, T, D)`.
        mask: the tokenizer's `attention_mask`: 1 where a token is real; the real ones are one stretch.
    """
    real = mask.bool()
    lengths = real.sum(1)
    starts = real.int().argmax(1)
    places = (starts[:, None] + torch.arange(real.shape[1], device=real.device)).clamp(max=real.shape[1] - 1)
    if bool((real.int().diff(dim=1).abs().sum(1) + real[:, 0].int() + real[:, -1].int() > 2).any()):
        raise WrongValue("the mask of a prompt has a gap: its real tokens are one stretch")
    rows = torch.arange(len(values), device=values.device)[:, None]
    return Padded(values[rows, places], lengths)


def filtered(logits: Float[Tensor, "b v"], cfg: Decoding) -> Float[Tensor, "b v"]:
    """Logits over the temperature; -inf for what typical, or else nucleus sampling never draws."""
    logits = logits.float() / cfg.temperature
    if cfg.method != "typical":
        ordered, order = logits.sort(descending=False, dim=-1)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - cfg.mass
        drop[:, -1:] = False
    else:
        logp = logits.log_softmax(-1)
        entropy = -(logp * logp.exp()).nansum(-1, keepdim=True)
        _, order = (-logp - entropy).abs().sort(descending=False, dim=-1)
        held = logits.gather(-1, order).softmax(-1).cumsum(-1)
        drop = torch.zeros_like(held, dtype=torch.bool)
        drop[:, 1:] = held[:, :-1] >= cfg.mass  # the token with which the mass is reached is the last that stays
    return logits.masked_fill(drop.scatter(-1, order, drop), -math.inf)


class _Ending:
    """When a text ends."""

    def __init__(self, ends: Sequence[int], stops: Sequence[Sequence[int]], stop: Stop | None) -> None:
        if not all(len(words) for words in stops):
            raise WrongValue(f"stops={list(map(list, stops))}: a stop sequence holds one token id or more")
        self.ends, self.stops, self.stop = set(ends), [list(words) for words in stops], stop

    def __call__(self, ids: list[int]) -> bool:
        if ids[-1] in self.ends or any(ids[-len(words) :] == words for words in self.stops):
            return True
        return self.stop is not None and self.stop(ids)


class _Draw:
    """The next token of each text by its own distribution."""

    def __init__(self, branches: Branches | Rereading, cfg: Decoding, generator: torch.Generator | None) -> None:
        self.branches, self.cfg, self.generator = branches, cfg, generator

    def next(self, logits: Float[Tensor, "b v"]) -> Int[Tensor, " b"]:
        if self.cfg.method == "greedy":
            return logits.argmax(-1)
        return _drawn(logits, self.cfg, self.generator)

    def read(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        return self.branches.read(ids[:, None])[:, 0]


class _Contrast:
    """The next token of each text by contrastive search: choosing it reads it, so `read` has nothing to do."""

    def __init__(self, branches: Branches | Rereading, cfg: Decoding, generator: torch.Generator | None) -> None:
        self.branches, self.cfg, self.generator = branches, cfg, generator
        self.to_draw = cfg.drawn if cfg.method == "diverse" else 0
        self.logits = torch.empty(0)
        before = _unit(branches.hidden)
        self.unit_BCD = before.new_zeros(len(before), before.shape[1] + cfg.max_tokens, before.shape[2])
        self.unit_BCD[:, : before.shape[1]] = before

    def next(self, logits: Float[Tensor, "b v"]) -> Int[Tensor, " b"]:
        shares_BK, ids_BK = self._candidates(logits)
        seen_BC = self.branches.seen
        column = seen_BC.shape[1]
        chosen_B = torch.empty(0, dtype=torch.int64)

        def choose(hidden_BKD: Tensor) -> Tensor:
            nonlocal chosen_B
            new_BKD = _unit(hidden_BKD)
            cosines_BCK = self.unit_BCD[:, :column] @ new_BKD.transpose(1, 2)
            worst_BK = cosines_BCK.masked_fill(~seen_BC[:, :, None], -math.inf).amax(1)
            chosen_B = ((1 - self.cfg.penalty) * shares_BK - self.cfg.penalty * worst_BK).max(1).indices
            rows = torch.arange(len(chosen_B), device=chosen_B.device)
            self.unit_BCD[:, column] = new_BKD[rows, chosen_B]
            return chosen_B[:, None]

        self.logits = self.branches.read(ids_BK, choose=choose)[:, 0]
        self.branches.keep(chosen_B)
        return ids_BK.gather(1, chosen_B[:, None])[:, 0]

    def read(self, ids: Int[Tensor, " b"]) -> Float[Tensor, "b v"]:
        return self.logits

    def _candidates(self, logits: Float[Tensor, "b v"]) -> tuple[Tensor, Tensor]:
        """Probabilities and ids; a token that was drawn is the only candidate."""
        if not self.to_draw:
            likeliest = logits.float().softmax(-1).topk(min(self.cfg.candidates, logits.shape[1]))
            return likeliest.values, likeliest.indices
        self.to_draw -= 1
        ids_BK = _drawn(logits, self.cfg, self.generator)[:, None]
        return torch.ones(ids_BK.shape, device=ids_BK.device), ids_BK


def _drawn(logits: Float[Tensor, "b v"], cfg: Decoding, generator: torch.Generator | None) -> Int[Tensor, " b"]:
    shares = filtered(logits, cfg).softmax(-1).cpu()  # the generator's draws are the same on every device
    return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)


def _one_by_one(step: _Draw | _Contrast, logits: Tensor, cfg: Decoding, ending: _Ending) -> list[list[int]]:
    lines: list[list[int]] = [[] for _ in logits]
    over = [False] * len(lines)
    for count in range(cfg.max_tokens):
        ids_B = step.next(logits)
        for at, token in enumerate(ids_B.tolist()):
            if not over[at]:
                lines[at].append(token)
                over[at] = ending(lines[at])
        if all(over) or count + 1 == cfg.max_tokens:
            break
        logits = step.read(ids_B)
    return lines


def _beam(branches: Branches | Rereading, cfg: Decoding, ending: _Ending) -> list[list[int]]:
    logits = branches.logits[:, None]
    found = Hypotheses(len(logits), cfg.beams, cfg.max_tokens, cfg.length_penalty, max(2, 1 + len(ending.ends)))
    while True:
        parents_BP, ids_BP = found.grow(logits.float().log_softmax(-1), ending)
        if found.over:
            return found.best()
        logits = branches.read(ids_BP, on=parents_BP)


def _unit(hidden: Float[Tensor, "b q d"]) -> Float[Tensor, "b q d"]:
    hidden = hidden.float()
    lengths: Tensor = hidden.norm(dim=2, keepdim=True)
    return hidden / lengths


def _room(cfg: Decoding) -> int:
    """Columns of the cache behind the prompt."""
    if cfg.method == "beam":
        return cfg.beams * (cfg.max_tokens - 1)
    return cfg.max_tokens + (cfg.candidates - 1 if cfg.method in ("contrastive", "diverse") else 0)
