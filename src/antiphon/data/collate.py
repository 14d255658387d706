"""Turns rows into a batch: each column by what encodes it, and bad items set aside instead of stopping a
run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from antiphon.decode import BadInput
from antiphon.types import Padded

INDEX, EPOCH = "__index__", "__epoch__"
"""Where a row carries its place in its data set and the epoch, as `fit` gives them."""

Row = Mapping[str, Any]
Batch = dict[str, Any]
Augment = Callable[[Any, torch.Generator], Any]


@runtime_checkable
class Collates(Protocol):
    """What a column is collated by; every `Encoder` is one."""

    def collate(self, items: Sequence[Any]) -> Padded:
        """Decode and pad; None becomes an item of length zero; `BadInput` where an item cannot be used."""
        ...


def by_column(
    *,
    keep: Sequence[str] = (),
    augment: Mapping[str, Augment] | None = None,
    of: Mapping[str, str | Sequence[str]] | None = None,
    seed: int = 0,
    **columns: Collates,
) -> Collate:
    """A collate function for rows: `by_column(image=image_encoder, text=text_encoder, keep=("label",))`.

    Args:
        keep: columns that go along as they are: numbers as a tensor, anything else as a list.
        augment: for an entry of the batch, what is done to its items first: `f(item, generator) -> item`.
        of: where an entry is not named as its column: `of={"view_b": "image"}` makes a second view of `image`; of
            several columns, `of={"speech": ("speech_fr", "speech_es")}`, each row gives one that it has, by chance.
        seed: of the augmentation; the generator depends on seed, epoch, row and entry, and not on workers.
        columns: the entries of the batch, each with the encoder (anything with `collate`) that reads it.
    """
    return Collate(columns, keep=keep, augment=augment, of=of, seed=seed)


class Collate:
    """Makes a batch of rows; see `by_column`.

    A batch holds a `Padded` for each entry, the kept columns, `row` where the rows carry `INDEX`, and
    `quarantine`: the items that could not be used, as dicts of `column`, `row` and `reason`. Such an item
    counts as absent.
    """

    def __init__(
        self,
        columns: Mapping[str, Collates],
        *,
        keep: Sequence[str] = (),
        augment: Mapping[str, Augment] | None = None,
        of: Mapping[str, str | Sequence[str]] | None = None,
        seed: int = 0,
    ) -> None:
        augment, of = augment or {}, of or {}
        strangers = (set(augment) | set(of)) - set(columns)
        if strangers:
            raise ValueError(f"augment or of names {sorted(strangers)}, the batch has {sorted(columns)}")
        both = set(keep) & (set(columns) | {"row", "quarantine"})
        if both:
            raise ValueError(f"keep={sorted(both)}: the batch uses that name already")
        for name, column in columns.items():
            if not callable(getattr(column, "collate", None)):
                raise TypeError(f"{name}: got a {type(column).__name__}, wanted an encoder (something with collate)")
        self.columns, self.keep, self.augment, self.of = dict(columns), tuple(keep), dict(augment), dict(of)
        self.seed = seed

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The batch of these rows.

        Raises:
            KeyError: the rows lack a column.
        """
        quarantine: list[dict[str, Any]] = []
        batch: Batch = {name: self._entry(name, rows, quarantine) for name in self.columns}
        batch.update({name: _kept(_column(rows, name)) for name in self.keep})
        if rows and INDEX in rows[0]:
            batch["row"] = torch.tensor(_column(rows, INDEX), dtype=torch.int64)
        batch["quarantine"] = quarantine
        return batch

    def _entry(self, name: str, rows: Sequence[Row], quarantine: list[dict[str, Any]]) -> Padded:
        items = self._items(name, rows)
        bad: dict[int, str] = {}
        if name in self.augment:
            items = [
                self._augmented(name, row, item, place, bad)
                for place, (row, item) in enumerate(zip(rows, items, strict=True))
            ]
        encoder = self.columns[name]
        try:
            padded = encoder.collate(items)
        except BadInput:
            items = [_tried(encoder, item, place, bad) for place, item in enumerate(items)]
            padded = encoder.collate(items)
        for place in sorted(bad):
            quarantine.append({"column": name, "row": _label(rows[place], place), "reason": bad[place]})
        return padded

    def _items(self, name: str, rows: Sequence[Row]) -> list[Any]:
        source = self.of.get(name, name)
        if isinstance(source, str):
            return _column(rows, source)
        columns = [_column(rows, column) for column in source]
        choices = [[item for item in items if item is not None] for items in zip(*columns, strict=True)]
        return [
            items[int(torch.randint(len(items), (1,), generator=chance_of(self.seed, name, row)))] if items else None
            for row, items in zip(rows, choices, strict=True)
        ]

    def _augmented(self, name: str, row: Row, item: Any, place: int, bad: dict[int, str]) -> Any:
        if item is None:
            return None
        try:
            return self.augment[name](item, chance_of(self.seed, name, row))
        except BadInput as error:
            bad[place] = str(error)
            return None


def chance_of(seed: int, name: str, row: Row) -> torch.Generator:
    """Chance that depends on seed, epoch, row and entry only.

    Raises:
        ValueError: the row does not carry `INDEX`.
    """
    if INDEX not in row:
        raise ValueError(f"{name}: chance is seeded by row, so rows must carry {INDEX!r}")
    key = f"{seed}/{row.get(EPOCH, 0)}/{row[INDEX]}/{name}".encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big"))


def _tried(encoder: Collates, item: Any, place: int, bad: dict[int, str]) -> Any:
    if item is None:
        return None
    try:
        encoder.collate([item])
    except BadInput as error:
        bad[place] = str(error)
        return None
    return item


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    missing = next((row for row in rows if name not in row), None)
    if missing is not None:
        raise KeyError(f"rows have no column {name!r}: they have {', '.join(sorted(missing))}")
    return [row[name] for row in rows]


def _label(row: Row, place: int) -> str:
    return str(row.get("id", row.get(INDEX, place)))


def _kept(values: list[Any]) -> torch.Tensor | list[Any]:
    kinds = {type(value) for value in values}
    if kinds == {int} or kinds == {bool}:
        return torch.tensor(values)
    if kinds <= {int, float} and kinds:
        return torch.tensor(values, dtype=torch.float32)
    return values
