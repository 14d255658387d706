"""Rows of MultiCSR: triplets, or sentences with themselves, and a frozen encoder's vectors of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from antiphon.data.collate import Collate
from antiphon.encoders.features import Features
from antiphon.encoders.items import Items
from antiphon.recipes.multicsr.triplets import Triplet


def alone(items: Items, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Each sentence with itself, as SimCSE has it: dropout makes the two differ."""
    return [{"id": f"{at:06}", "text": items.of[text], "positive": items.of[text]} for at, text in enumerate(texts)]


def of_triplets(items: Items, triplets: Sequence[Triplet]) -> list[dict[str, Any]]:
    """Each sentence with what says the same, and with what contradicts it."""
    return [
        {
            "id": f"{at:06}",
            "text": items.of[one.text],
            "positive": items.of[one.same],
            "negative": items.of[one.contrary],
        }
        for at, one in enumerate(triplets)
    ]


def guided(rows: Sequence[Mapping[str, Any]], sides: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The rows with the guide's vectors `(N, D)` of a column, as `guide_<column>`."""
    return [
        {**row} | {f"guide_{name}": side_ND[at : at + 1] for name, side_ND in sides.items()}
        for at, row in enumerate(rows)
    ]


def collate_of(items: Items, rows: Sequence[Mapping[str, Any]]) -> Collate:
    """Makes batches of such rows."""
    columns = {name: items.stand_in() for name in ("text", "positive", "negative") if name in rows[0]}
    for name, vector in rows[0].items():
        if name.startswith("guide_"):
            columns[name] = Features(vector.shape[1], signal="text")
    return Collate(columns)
