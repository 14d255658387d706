"""What a model has read of each text, and branches to read on, for models whose texts cannot branch on one cache.

Positions by the mask (ALiBi) or by the padding's number, windows, chunks, states instead of keys: such a model reads
every text from its beginning for every token. Slow, and right for all that look at nothing behind a token.

Axes: B texts, Q tokens read at once, P branches, D width of the model, V words.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from antiphon.generation.branches import Branches, Choose, above_the_head, check, why_not
from antiphon.types import Padded


class SlowDecoding(UserWarning):
    """A model reads texts from their beginning for every token."""


class Rereading:
    """As `Branches`, without a cache.

    Args:
        model: a causal language model of `transformers`, in evaluation mode.
        prompt: token ids `(B, T)`, or vectors `(B, T, D)` in their place.

    Attributes:
        hidden: `(B, T, D)` last hidden states of the prompt, as the head reads them.
        logits: `(B, V)` of the token that follows the prompt.
        seen: which columns are of the text: the prompt's, and one for each token kept since.
    """

    def __init__(self, model: Any, prompt: Padded) -> None:
        self.model, self.prompt = model, prompt.to(model.device)
        self.new: list[list[list[int]]] = [[[]] for _ in range(len(prompt))]
        self.seen: Bool[Tensor, "b c"] = self.prompt.mask
        self.hidden, self.logits = self._forward(self.prompt)

    def read(
        self, ids_BQ: Int[Tensor, "b q"], *, on: Int[Tensor, "b q"] | None = None, choose: Choose | None = None
    ) -> Float[Tensor, "b n v"]:
        """Read a token on each of Q branches, which the texts have from now on; gives logits."""
        parents = torch.zeros_like(ids_BQ) if on is None else on
        self.new = [
            [[*lines[parent], token] for parent, token in zip(places, ids, strict=True)]
            for lines, places, ids in zip(self.new, parents.tolist(), ids_BQ.tolist(), strict=True)
        ]
        self.seen = torch.cat([self.seen, self.seen.new_ones(len(self.seen), 1)], 1)
        rows, count = ids_BQ.shape
        whole = self._whole(count)
        hidden, logits = self._forward(whole)
        last = hidden[torch.arange(len(hidden), device=hidden.device), whole.lengths - 1]
        logits_BQV = torch.unflatten(logits, 0, (rows, count))
        if choose is None:
            return logits_BQV
        places_BN = choose(torch.unflatten(last, 0, (rows, count)))
        return logits_BQV.gather(1, places_BN[:, :, None].expand(-1, -1, logits_BQV.shape[2]))

    def keep(self, chosen_B: Int[Tensor, " b"]) -> None:
        """Of the branches just read on, keep one of each text."""
        self.new = [[lines[place]] for lines, place in zip(self.new, chosen_B.tolist(), strict=True)]

    def _whole(self, count: int) -> Padded:
        """Each text's prompt and what stands behind it, for each of its branches."""
        values = self.prompt.values.repeat_interleave(count, 0)
        lengths = self.prompt.lengths.repeat_interleave(count)
        new = torch.tensor([line for lines in self.new for line in lines], device=values.device)
        more = new if values.ndim == 2 else self.model.get_input_embeddings()(new)
        whole = torch.cat([values, torch.zeros_like(more)], 1)
        places = lengths[:, None] + torch.arange(new.shape[1], device=values.device)
        whole[torch.arange(len(whole), device=values.device)[:, None], places] = more
        return Padded(whole, lengths + new.shape[1])

    def _forward(self, texts: Padded) -> tuple[Tensor, Tensor]:
        """Last hidden states `(rows, T, D)`, and logits `(rows, V)` behind the last token."""
        found = torch.empty(0)

        def last(hidden: Tensor) -> Tensor:
            nonlocal found
            found = hidden
            return (texts.lengths - 1)[:, None]

        # padding stands behind, where a causal model does not look: no mask is needed
        words = "input_ids" if texts.values.ndim == 2 else "inputs_embeds"
        logits = above_the_head(self.model, last, **{words: texts.values, "use_cache": False})
        return found, logits[:, 0]


def branching(model: Any, prompt: Padded, depth: int, room: int) -> Branches | Rereading:
    """Branches on one cache where the model allows it; else, with a warning, by reading again.

    Args:
        model: a causal language model of `transformers`, in evaluation mode.
        prompt: as `Branches` takes it.
        depth: how many tokens a branch grows by, at most.
        room: how many tokens will be read and not forgotten, of all branches of a text.

    Raises:
        WrongValue: no causal language model, or a prompt that does not fit.
    """
    check(model, prompt, depth)
    why = why_not(model, prompt.values.shape[1] + depth)
    if why is None:
        return Branches(model, prompt, depth, room)
    warnings.warn(f"{why}: texts are read again for every token, which is slow", SlowDecoding, stacklevel=4)
    return Rereading(model, prompt)
