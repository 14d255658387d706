"""Masked words: some of a text are hidden, and guessed from what stands around them (BERT, arXiv 1810.04805).

    L = - mean over hidden places t of  log softmax(g(h_t) E^T + b)[x_t]

h are the encoder's last hidden states, E the vectors of its own words, g nothing, or BERT's linear layer, GELU, norm.

Axes: B rows, T places of a row, D width, V words that are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from antiphon.types import Padded

NOT_ASKED = -1


class MaskedWords(nn.Module):
    """What guesses words. A row's loss is a sum and a number: rows, micro-batches and processes share one mean.

    Args:
        width: D.
        size: how many words the encoder has vectors of.
        vocabulary: ids of the words that are asked for, the others are not; None: all.
        transform: whether g is BERT's.
        eps: of its norm.
    """

    vocabulary: Tensor | None
    places: Tensor | None

    def __init__(
        self, width: int, size: int, vocabulary: Int[Tensor, " v"] | None = None, *, transform: bool, eps: float = 1e-5
    ) -> None:
        super().__init__()
        parts = [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=eps)] if transform else []
        self.transform = nn.Sequential(*parts)
        self.bias = nn.Parameter(torch.zeros(size if vocabulary is None else len(vocabulary)))
        places = None if vocabulary is None else torch.full((size,), NOT_ASKED)
        if places is not None and vocabulary is not None:
            places[vocabulary] = torch.arange(len(vocabulary))
        self.register_buffer("vocabulary", vocabulary)
        self.register_buffer("places", places)

    def forward(
        self, tokens: Float[Tensor, "b t d"], asked: Int[Tensor, "b t"], vectors: Float[Tensor, "size d"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """For each row the sum of its losses, in nats, and how many words were asked for.

        Args:
            tokens: last hidden states of rows with words hidden.
            asked: ids of the hidden words; below 0 elsewhere.
            vectors: of the encoder's words.
        """
        wanted = asked if self.places is None else torch.where(asked < 0, asked, self.places[asked])
        rows, columns = (wanted >= 0).nonzero(as_tuple=True)
        vectors = vectors if self.vocabulary is None else vectors[self.vocabulary]
        logits = self.transform(tokens[rows, columns]) @ vectors.T + self.bias
        lost = cross_entropy(logits, wanted[rows, columns], reduction="none")
        none = lost.new_zeros(len(tokens))
        return none.index_add(0, rows, lost), none.index_add(0, rows, torch.ones_like(lost))


def masked(
    ids: Padded,
    share: float,
    chances: Sequence[torch.Generator],
    *,
    mask: int,
    words: int | None = None,
    spared: Collection[int] = (),
) -> tuple[Padded, Padded]:
    """Ids with a share of them masked; and the ids that are asked for there, elsewhere `NOT_ASKED`.

    Of the chosen, 80 % become `mask`, 10 % another word, and 10 % stay.

    Args:
        ids: `(B, T)`.
        share: of a row's ids, each by chance.
        chances: of each row.
        mask: the id of a hidden word.
        words: the other word is any of so many; None: any of the row's own.
        spared: ids that are never hidden (those that begin and end a text).
    """
    seen, asked = ids.values.clone(), torch.full_like(ids.values, NOT_ASKED)
    kept = torch.tensor(sorted(spared), dtype=torch.int64)
    for at, (chance, length) in enumerate(zip(chances, ids.lengths.tolist(), strict=True)):
        kind, lot = torch.rand(2, length, generator=chance)
        own = ids.values[at, :length]
        chosen = (kind < share) & ~torch.isin(own, kept)
        other = own[torch.randint(length, (length,), generator=chance)] if words is None else torch.randint(
            words, (length,), generator=chance
        )  # fmt: skip
        new = torch.where(lot < 0.8, torch.full_like(own, mask), torch.where(lot < 0.9, other, own))
        seen[at, :length] = torch.where(chosen, new, own)
        asked[at, :length] = torch.where(chosen, own, torch.full_like(own, NOT_ASKED))
    return Padded(seen, ids.lengths), Padded(asked, ids.lengths)
