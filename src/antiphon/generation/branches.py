"""A causal language model that reads several next tokens of each text at once, on one copy of what it has read.

The candidates (contrastive search) or beams (beam search) of a text are query positions of one row. They share the
position in the text; a mask shows each of them what came before it on its own branch, and itself. So the keys and
values of a text are stored once, whatever the number of branches, and choosing among branches moves no more than one
entry (`keep`) or none at all.

Axes: B texts, Q tokens read at once, P branches, C columns of the cache, D width of the model, V words.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from antiphon.errors import WrongValue
from antiphon.generation.few_rows import few_rows, plain_layers
from antiphon.types import Padded

Choose = Callable[[Float[Tensor, "b q d"]], Int[Tensor, "b n"]]
"""Of the last hidden states of the tokens just read, the places whose logits are wanted."""


class Branches:
    """What a model has read of each text, and the branches on which it can read on.

    Args:
        model: a causal language model of `transformers`, in evaluation mode.
        prompt: token ids `(B, T)`, or vectors `(B, T, D)` in their place.
        depth: how many tokens a branch grows by, at most.
        room: how many tokens will be read and not forgotten, of all branches of a text; None: as many.

    Attributes:
        hidden: `(B, T, D)` last hidden states of the prompt (behind the last norm), as the head reads them.
        logits: `(B, V)` of the token that follows the prompt.

    Raises:
        WrongValue: no causal language model with a head, or a prompt that does not fit. Whether a model's texts can
            branch is not asked here, but by `why_not`.
    """

    def __init__(self, model: Any, prompt: Padded, depth: int, room: int | None = None) -> None:
        check(model, prompt, depth)
        room = depth if room is None else room
        self.model, self.layers = model, plain_layers(model)
        prompt = prompt.to(model.device)
        rows, columns = prompt.values.shape[:2]
        self.cache = Cache(layer_class_to_replicate=partial(ColumnLayer, columns + room))
        self.filled = columns
        self.next_B = prompt.lengths.clone()
        self.full = bool((prompt.lengths == columns).all())
        self.path_BPC = torch.zeros(rows, 1, columns + room, dtype=torch.bool, device=model.device)
        self.path_BPC[:, 0, :columns] = prompt.mask
        self.hidden: Tensor = torch.empty(0)

        def last(hidden_BTD: Tensor) -> Tensor:
            self.hidden = hidden_BTD
            return (prompt.lengths - 1)[:, None]

        # real tokens come first and never see the padding behind them: the causal mask alone is right
        positions = torch.arange(columns, device=model.device).expand(rows, -1)
        words = "input_ids" if prompt.values.ndim == 2 else "inputs_embeds"
        self.logits = self._forward(last, **{words: prompt.values, "position_ids": positions})[:, 0]

    @property
    def seen(self) -> Bool[Tensor, "b c"]:
        """Which of the columns so far the first branch of each text sees."""
        return self.path_BPC[:, 0, : self.filled]

    def read(
        self, ids_BQ: Int[Tensor, "b q"], *, on: Int[Tensor, "b q"] | None = None, choose: Choose | None = None
    ) -> Float[Tensor, "b n v"]:
        """Read a token on each of Q branches, which the texts have from now on; gives logits.

        Args:
            ids_BQ: token ids.
            on: which of the present branches each goes on; None: the first.
            choose: whose logits are wanted, after a look at the hidden states; None wants all.
        """
        rows, count = ids_BQ.shape
        start, end = self.filled, self.filled + count
        parents_BQ = torch.zeros_like(ids_BQ) if on is None else on
        self.path_BPC = self.path_BPC.gather(1, parents_BQ[:, :, None].expand(-1, -1, self.path_BPC.shape[2]))
        self.path_BPC[:, :, start:end] = torch.eye(count, dtype=torch.bool, device=ids_BQ.device)
        self.filled = end
        plain = count == 1 and self.full  # nothing to hide
        mask = None if plain else additive_mask(self.path_BPC[:, None, :, :end], self.model.dtype)
        positions = self.next_B[:, None].expand(rows, count)
        with nullcontext() if plain else sharing_keys(self.model.config):
            logits = self._forward(choose, input_ids=ids_BQ, position_ids=positions, attention_mask=mask)
        self.next_B = self.next_B + 1
        self.full = plain
        return logits

    def keep(self, chosen_B: Int[Tensor, " b"]) -> None:
        """Of the branches just read on, keep one of each text, and forget the others' tokens."""
        count = self.path_BPC.shape[1]
        start = self.filled - count
        for layer in self.cache.layers:
            layer.keep(start, chosen_B)
        self.path_BPC = self.path_BPC[:, :1]
        self.path_BPC[:, :, start] = True
        self.path_BPC[:, :, start + 1 :] = False
        self.filled = start + 1
        self.full = bool(self.path_BPC[:, :, : self.filled].all())

    def _forward(self, choose: Choose | None, **inputs: Any) -> Tensor:
        with few_rows(self.layers):
            return above_the_head(self.model, choose, past_key_values=self.cache, use_cache=True, **inputs)


def above_the_head(model: Any, choose: Choose | None, **inputs: Any) -> Tensor:
    """Logits at the chosen places: the head reads those alone, what a model does behind it stays its own."""

    def before_the_head(_: Any, words: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if choose is None:
            return None
        places_BN = choose(words[0])
        return (words[0].gather(1, places_BN[:, :, None].expand(-1, -1, words[0].shape[2])),)

    hook = model.get_output_embeddings().register_forward_pre_hook(before_the_head)
    try:
        logits: Tensor = model(**inputs, return_dict=True).logits
    finally:
        hook.remove()
    return logits


class ColumnLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, in a buffer that is made once: new ones are written behind the last."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.length, self.is_initialized = room, 0, False

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write new keys and values `(B, heads, Q, width)`; gives all."""
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
            self.keys, self.values = (
                torch.empty(*part.shape[:2], self.room, part.shape[3], dtype=part.dtype, device=part.device)
                for part in (keys, values)
            )
        start, self.length = self.length, self.length + keys.shape[2]
        self.keys[:, :, start : self.length] = keys
        self.values[:, :, start : self.length] = values
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """How many columns are filled."""
        return self.length

    def keep(self, start: int, chosen_B: Tensor) -> None:
        """Of the columns from `start` on, keep one of each row, as column `start`."""
        rows = torch.arange(len(chosen_B), device=chosen_B.device)
        for part in (self.keys, self.values):
            part[:, :, start] = part[rows, :, start + chosen_B]
        self.length = start + 1


@contextmanager
def sharing_keys(config: Any) -> Iterator[None]:
    """For a while, attention that does not copy the keys for every head that shares them."""
    before = config._attn_implementation
    if before == "sdpa":
        config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attention(
    module: Any, query_BHQD: Tensor, keys_BGCD: Tensor, values_BGCD: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """As `transformers` by "sdpa"; H / G heads that share keys become so many times the queries."""
    rows, heads, queries, width = query_BHQD.shape
    shared = heads // keys_BGCD.shape[1]
    special = options.get("dropout") or any(options.get(name) is not None for name in ("softcap", "position_bias"))
    if shared == 1 or mask is None or mask.shape[1] != 1 or special:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query_BHQD, keys_BGCD, values_BGCD, mask, **options)
        return found
    packed = query_BHQD.reshape(rows, heads // shared, shared * queries, width)
    mask = mask.repeat(1, 1, shared, 1)
    out = scaled_dot_product_attention(packed, keys_BGCD, values_BGCD, attn_mask=mask, scale=options.get("scaling"))
    return out.reshape(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


_NAME = "antiphon_shared_keys"
ALL_ATTENTION_FUNCTIONS.register(_NAME, _attention)


def additive_mask(seen: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """0 where a key is seen, else the lowest number: what every attention that is checked for below takes."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def check(model: Any, prompt: Padded, depth: int) -> None:
    """Refuse what is no causal language model with a head, and prompts that do not fit."""
    name, config = type(model).__name__, model.config
    if config.is_encoder_decoder or model.get_output_embeddings() is None:
        raise WrongValue(f"{name} is no causal language model with a head: wanted a decoder alone")
    if getattr(config, "_attn_implementation", None) not in ("sdpa", "eager", None):
        raise WrongValue(
            f"{name} attends by {config._attn_implementation}, which takes no mask of branches: "
            'call model.set_attn_implementation("sdpa")'
        )
    total = prompt.values.shape[1] + depth
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is not None and total > most:
        raise WrongValue(f"a prompt of {total - depth} tokens and {depth} behind it pass the {most} that {name} takes")
    if not len(prompt) or not bool((prompt.lengths > 0).all()):
        raise WrongValue("a prompt holds one token or more, of every text: begin an empty one with the start token")


def why_not(model: Any, total: int) -> str | None:
    """Why texts of a model cannot branch on one cache, if so.

    What its configuration tells is read, and the rest is tried, once for each model: a few tokens by branches and
    without a cache.

    Args:
        model: a causal language model of `transformers`, in evaluation mode.
        total: tokens of prompt and continuation.
    """
    name, config = type(model).__name__, model.config.get_text_config()
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(config, "alibi", False):
        return f"{name} counts positions by its mask (ALiBi) or not at all"
    kinds = {*(getattr(config, "layer_types", None) or ()), *(getattr(config, "attention_layers", None) or ())}
    others = kinds - {"full_attention", "sliding_attention", "global", "local"}
    if others:
        return f"{name} has layers of {', '.join(sorted(others))}"
    windows = [getattr(config, key, None) for key in _WINDOWS]
    window = min((one for one in windows if isinstance(one, int) and one > 0), default=total)
    if total > window and getattr(config, "use_sliding_window", True) and kinds not in ({"full_attention"}, {"global"}):
        return f"{total} tokens pass the window of {window} of {name}"
    if model not in _TRIED:
        _TRIED[model] = _same(model)
    return None if _TRIED[model] else f"{name} reads otherwise by a cache than without"


_WINDOWS = ("sliding_window", "window_size", "local_window_size", "attention_window", "attention_chunk_size")
_TRIED: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Of models that were tried, whether branches read as the model does."""


@torch.no_grad()
def _same(model: Any) -> bool:
    """Whether what follows four tokens, and one of two branches behind them, is what follows them without a cache."""
    config = model.config.get_text_config()
    padding = getattr(config, "pad_token_id", None)
    ids = [token for token in range(config.vocab_size) if token != padding][-6:]
    prompt, behind = torch.tensor([ids[:4]], device=model.device), torch.tensor([ids[4:]], device=model.device)
    whole = torch.cat([prompt, behind[:, 1:]], 1)
    wanted = model(input_ids=whole, use_cache=False, return_dict=True).logits[0, -2:].float()
    try:
        branches = Branches(model, Padded(prompt, torch.tensor([4])), 1, 2)
        found = torch.stack([branches.logits[0], branches.read(behind)[0, 1]]).float()
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # how a model fails that cannot is its own
    wanted, found = (torch.nan_to_num(side, neginf=0.0, nan=math.nan) for side in (wanted, found))  # forbidden words
    rough = 0.05 if model.dtype in (torch.bfloat16, torch.float16) else 1e-3
    return bool((found - wanted).norm() <= rough * (wanted - wanted.mean(1, keepdim=True)).norm())
