"""The classes of videos, which of them are held out, and rows as X-CLIP reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from antiphon.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Classes:
    """Names of classes, sorted.

    Args:
        names: they are the prompts.
        seen: numbers of those that training shows.
        unseen: of those that are held out.
        reverse: by number, that of the class which a film would be backwards.
    """

    names: list[str]
    seen: list[int]
    unseen: list[int]
    reverse: dict[int, int]

    @classmethod
    def of(cls, data: Mapping[str, Dataset], column: str, reverse: str | None, share: float, seed: int) -> Classes:
        """The classes of all splits.

        Held out are so many, drawn by the seed, of those whose every word stands in a class that is not held out.

        Raises:
            UserError: fewer than two classes, or a row without one.
        """
        found = [name for part in data.values() for name in part[column]]
        names = sorted({name for name in found if name is not None})
        if None in found or len(names) < 2:
            raise UserError(f"{len(names)} classes in the column {column!r}, {found.count(None)} rows without one")
        unseen = held_out(names, share, seed)
        places = {name: at for at, name in enumerate(names)}
        turned: dict[int, int] = {}
        for part in data.values():
            if reverse is not None and reverse in part.column_names:
                for name, other in zip(part[column], part[reverse], strict=True):
                    if other in places:
                        turned[places[name]] = places[other]
        return cls(names, [at for at in range(len(names)) if at not in unseen], sorted(unseen), turned)


def held_out(names: Sequence[str], share: float, seed: int) -> set[int]:
    """Numbers of so large a share of the names whose words all stand in names that are kept."""
    words = [set(name.lower().split()) for name in names]
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen: set[int] = set()
    for at in order:
        if len(chosen) == round(share * len(names)):
            break
        kept = [words[other] for other in range(len(names)) if other != at and other not in chosen]
        if all(any(word in others for others in kept) for word in words[at]):
            chosen.add(at)
    return chosen


def class_rows(part: Dataset, column: str, classes: Classes) -> list[Row]:
    """Rows of `id`, `label`, and the number of their class."""
    places = {name: at for at, name in enumerate(classes.names)}
    rows = part.select_columns(["id", "label", column])
    return [{"id": row["id"], "label": row["label"], "class": places[row[column]]} for row in rows]


def few(rows: Sequence[Row], shots: int | None, seed: int) -> list[Row]:
    """At most so many rows of each class, drawn by the seed; None takes all."""
    if shots is None:
        return list(rows)
    taken: dict[int, int] = {}
    kept = []
    for at in torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist():
        number = rows[at]["class"]
        taken[number] = taken.get(number, 0) + 1
        if taken[number] <= shots:
            kept.append(at)
    return [rows[at] for at in sorted(kept)]
