"""Isotropy of a language model: how far the hidden states of a text's tokens point into different directions.

As arXiv 2210.14140 measures it (its `compute_language_model_isotropy.py`), with h the states of a layer:

    isotropy = 1 - ( sum over texts, i != j, of cos(h_i, h_j) ) / ( sum over texts of L (L - 1) )

weighted by pairs, so that long texts count most; texts of up to 256 tokens; the last layer behind the last norm. By the
unit vectors u of a text, sum over i != j of cos = |sum u|^2 - sum |u|^2: no matrix of pairs is made. Values published
for the last layer: gpt2 0.10, gpt2-medium 0.25, all other models 0.53 and more. Where it is low, contrastive search
falls back to greedy search, since its penalty is nearly the same for every candidate.

A first token on which others' attention rests distorts inner layers: `skip=1` leaves it out (the paper does not).

Axes: B texts of a batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.encoders.batched import evaluating
from antiphon.errors import WrongValue

LEAST = 0.35
"""Between the two models that contrastive search did not suit as they were (0.10, 0.25) and the next one (0.53)."""


class AnisotropyWarning(UserWarning):
    """A model's hidden states are so alike that contrastive search has nothing to choose by."""


def isotropy(states: Sequence[Float[Tensor, "_ d"]]) -> float:
    """Of the hidden states of texts, one tensor `(T, D)` a text; 1 where they are at right angles, 0 where all alike.

    Raises:
        WrongValue: no text has two tokens.
    """
    cosines = sum(_pair_sum(text) for text in states)
    return _share(cosines, sum(len(text) * (len(text) - 1) for text in states))


@torch.inference_mode()
def isotropy_by_layer(
    model: Any, lines: Sequence[Sequence[int]], *, most: int = 256, skip: int = 0, batch_tokens: int = 2048
) -> list[float]:
    """Isotropy of each layer of a causal language model: the word vectors first, the last layer last.

    Args:
        model: of `transformers`; in evaluation mode meanwhile.
        lines: token ids of each text.
        most: tokens of a text that are read.
        skip: first tokens that are read, but not counted.
        batch_tokens: padded size of a batch, about.

    Raises:
        WrongValue: no text has two tokens that count.
    """
    cut = [list(line[:most]) for line in lines if len(line) > 0]
    sums: list[float] = []
    pairs = 0
    with evaluating(model):
        for batch in _batches(sorted(cut, key=len), batch_tokens):
            ids = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.int64)
            for row, line in zip(ids, batch, strict=True):
                row[: len(line)] = torch.tensor(line)
            # padding stands behind the real tokens, which do not see it
            layers = model(input_ids=ids.to(model.device), output_hidden_states=True, use_cache=False).hidden_states
            found = [sum(_pair_sum(text[skip : len(line)]) for text, line in zip(layer, batch, strict=True))
                     for layer in layers]  # fmt: skip
            sums = [one + other for one, other in zip(sums or [0.0] * len(found), found, strict=True)]
            pairs += sum(max(len(line) - skip, 0) * (len(line) - skip - 1) for line in batch if len(line) > skip)
    return [_share(total, pairs) for total in sums] if sums else [_share(0.0, 0)]


def isotropy_of_texts(
    model: Any, tokenizer: Any, texts: Sequence[str], *, most: int = 256, skip: int = 0
) -> list[float]:
    """`isotropy_by_layer` of texts, as the tokenizer reads them."""
    return isotropy_by_layer(model, [tokenizer(text)["input_ids"] for text in texts], most=most, skip=skip)


def isotropy_by_language(
    model: Any, tokenizer: Any, texts: Mapping[str, Sequence[str]], *, most: int = 256, skip: int = 0
) -> dict[str, list[float]]:
    """Isotropy of each layer on texts of several languages.

    Args:
        model: of `transformers`.
        tokenizer: its own.
        texts: by language.
        most: tokens of a text that are read.
        skip: first tokens that are read, but not counted.

    Raises:
        WrongValue: a language without a text of two tokens.
    """
    return {
        language: isotropy_of_texts(model, tokenizer, lines, most=most, skip=skip) for language, lines in texts.items()
    }


def anisotropy(value: float, *, least: float = LEAST) -> str | None:
    """What to say where a last layer's isotropy is too low for contrastive search, else None."""
    if value >= least:
        return None
    return (
        f"The model's last hidden states are much alike (isotropy {value:.2f}, wanted {least:g} or more): contrastive "
        "search can hardly tell candidates apart by them, and goes towards greedy search. Train with SimCTG's loss "
        "(antiphon train contrastive_search rho=0.5), or decode by nucleus."
    )


def _pair_sum(states_TD: Tensor) -> float:
    """The sum of the cosines of all ordered pairs of different tokens."""
    unit_TD = normalize(states_TD.detach().double(), dim=1)
    return float(unit_TD.sum(0).square().sum() - unit_TD.square().sum())


def _share(cosines: float, pairs: int) -> float:
    if pairs < 1:
        raise WrongValue("isotropy compares the tokens of a text: wanted a text of two tokens or more")
    return 1 - cosines / pairs


def _batches(lines: list[list[int]], tokens: int) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    for line in lines:  # by rising length
        if batch and (len(batch) + 1) * len(line) > tokens:
            yield batch
            batch = []
        batch.append(line)
    if batch:
        yield batch
