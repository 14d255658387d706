"""Rows of DebCSE: each text of the corpus, with a positive and hard negatives drawn anew in every epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.data.collate import EPOCH, Collate
from antiphon.encoders import Encoder
from antiphon.encoders.features import Features
from antiphon.encoders.items import Items
from antiphon.recipes.debcse.sampling import Draws, Pool


class Drawn:
    """Makes a batch of rows, each with what it draws by (seed, epoch, row); the guide's vectors go along.

    Args:
        items: of the pool's texts.
        pool: what is drawn from.
        draws: the chances.
        guide_ND: the guide's unit vectors of the pool.
        hard: how many hard negatives a row draws.
        seed: of the draws.
    """

    def __init__(
        self, items: Items, pool: Pool, draws: Draws, guide_ND: Float[Tensor, "n d"], *, hard: int, seed: int
    ) -> None:
        self.items, self.pool, self.draws, self.guide_ND, self.seed = items, pool, draws, guide_ND, seed
        self.names = ["text", "positive", *(f"negative_{number}" for number in range(hard))]
        reader, guides = items.stand_in(), Features(guide_ND.shape[1], signal="text")
        columns: dict[str, Encoder] = dict.fromkeys(self.names, reader)
        columns |= {f"guide_{name}": guides for name in self.names}
        self.collate = Collate(columns, keep=tuple(f"origin_{name}" for name in self.names))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each text of the corpus."""
        return [{"id": f"{at:06}", "place": at} for at in range(self.pool.corpus)]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch: texts, positives, hard negatives, the guide's vectors of each, and what each was made of."""
        return self.collate([dict(row) | self._drawn(row) for row in rows])

    def _drawn(self, row: Mapping[str, Any]) -> dict[str, Any]:
        key = f"{self.seed}/{row.get(EPOCH, 0)}/{row['place']}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big"))
        at = int(row["place"])
        places = [at, self._one(self.draws.positives[at], generator)]
        places += [self._one(self.draws.negatives[at], generator) for _ in self.names[2:]]
        found: dict[str, Any] = {}
        for name, place in zip(self.names, places, strict=True):
            found[name] = None if place is None else self.items.of[self.pool.texts[place]]
            found[f"guide_{name}"] = None if place is None else self.guide_ND[place : place + 1]
            found[f"origin_{name}"] = -1 if place is None else self.pool.origin[place]
        return found

    @staticmethod
    def _one(chances: tuple[list[int], list[float]], generator: torch.Generator) -> int | None:
        places, shares = chances
        return places[int(torch.multinomial(torch.tensor(shares), 1, generator=generator))] if places else None
