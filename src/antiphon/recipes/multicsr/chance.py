"""The floor of an encoder that knows nothing: a random vector for each word, and their mean for a text.

Axes: N texts, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.decode import split_words
from antiphon.encoders.heads import unit
from antiphon.evaluation.sts import Embed


def random_words(width: int, seed: int) -> Embed:
    """Unit vectors of texts, each word's drawn by itself and the seed.

    Args:
        width: D.
        seed: of the words' vectors.
    """

    @cache
    def word(said: str) -> Tensor:
        number = hashlib.blake2b(f"{seed}/{said}".encode(), digest_size=7).digest()
        return torch.randn(width, generator=torch.Generator().manual_seed(int.from_bytes(number, "big")))

    def embed(texts: Sequence[str]) -> Float[Tensor, "n d"]:
        # "" stands in a text of no word, and gives it a vector too
        return unit(
            torch.stack([torch.stack([word(said) for said in split_words(text) or [""]]).mean(0) for text in texts])
        )

    return embed
