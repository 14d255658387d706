"""Tokens that stand in front of others, read once by a causal language model.

Whether a model's keys and values can stand for its tokens is tried, not looked up: some keep none (Mamba and its kin),
some forget those behind a window, and some count positions their own way. Then prompts are read whole, with a warning.

Axes: B items, T tokens, P tokens in front, D width of the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from antiphon.encoders.packed import state_of
from antiphon.errors import WrongValue

LEAST = 4
"""Fewer shared tokens than this are read with each text."""


class ReadWhole(UserWarning):
    """What could be read once is read with every item, since the model does not allow it: slower, and the same."""


class Beginning:
    """Tokens that stand in front of others, read once: their keys and values, kept while no weight changes.

    Args:
        decoder: a causal language model without its head.
        ids: the tokens.
    """

    def __init__(self, decoder: Any, ids: Sequence[int]) -> None:
        self.decoder, self.ids = decoder, list(ids)
        self._kept: tuple[Any, list[tuple[Tensor, Tensor]]] | None = None
        self._holds: bool | None = None

    @property
    def holds(self) -> bool:
        """Whether the tokens can be read once; tried when first asked."""
        if self._holds is None:
            self._holds = len(self.ids) >= LEAST and self._tried()
        return self._holds

    def behind(self, shared: int, **inputs: Tensor) -> Float[Tensor, "b t d"]:
        """Hidden states of what stands behind the first `shared` tokens: `input_ids` or `inputs_embeds`."""
        ((name, values),) = inputs.items()
        cache = DynamicCache(config=self.decoder.config)
        for layer, (keys, others) in enumerate(self._states()):
            there = [part[:, :, :shared].expand(len(values), -1, -1, -1) for part in (keys, others)]
            cache.update(there[0], there[1], layer)
        places = torch.arange(shared, shared + values.shape[1], device=values.device)[None]
        out = self.decoder(**{name: values}, past_key_values=cache, position_ids=places, use_cache=True)
        states: Tensor = out.last_hidden_state
        return states

    @torch.no_grad()
    def _tried(self) -> bool:
        """Read the second half of the tokens behind the first, and all at once."""
        half, ids = len(self.ids) // 2, torch.tensor([self.ids], device=self.decoder.device)
        whole = self.decoder(input_ids=ids, use_cache=False).last_hidden_state[:, half:].float()
        try:
            lost = any(keys.shape[2] < len(self.ids) for keys, _ in self._states())
            found = whole * 0 if lost else self.behind(half, input_ids=ids[:, half:]).float()
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            found = whole * 0  # how a model fails that keeps no keys is its own
        rough = 0.05 if self.decoder.dtype in (torch.bfloat16, torch.float16) else 1e-3
        holds = bool((found - whole).norm() <= rough * whole.norm())
        if not holds:
            name = type(self.decoder).__name__
            warnings.warn(
                f"{name}: what prompts share cannot be read once: each is read whole", ReadWhole, stacklevel=2
            )
        return holds

    @torch.no_grad()
    def _states(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the tokens in each layer."""
        weights = list(self.decoder.parameters())
        # weights that were made in inference mode do not tell when they change
        state = None if any(weight.is_inference() for weight in weights) else state_of(self.decoder)
        if self._kept is None or state is None or self._kept[0] != state:
            cache = DynamicCache(config=self.decoder.config)
            ids = torch.tensor([self.ids], device=self.decoder.device)
            self.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
            self._kept = state, [(layer.keys, layer.values) for layer in cache.layers]
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}  # what can be computed again is neither copied nor pickled


def without_head(model: Any) -> Any:
    """The part of a causal language model, or of one of texts and images, that gives hidden states.

    Raises:
        WrongValue: it has none of its own.
    """
    inner = model.base_model
    if inner is model and model.get_output_embeddings() is not None:
        inner = getattr(model, "model", None)
    if inner is None:
        raise WrongValue(f"{type(model).__name__} gives words and no hidden states: wanted a model with a head apart")
    return inner
