"""Divides rows by the value of a column, so that no value stands on two sides of a split."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from datasets import Dataset

from antiphon.errors import WrongValue

SHARES: Mapping[str, float] = {"train": 0.70, "dev": 0.15, "test": 0.15}


def split_by(rows: Dataset, key: str, *, seed: int, shares: Mapping[str, float] = SHARES) -> dict[str, Dataset]:
    """Splits in which rows with the same value of `key` stay together and keep their order.

    The distinct values are shuffled by the seed and divided by the shares, so which side a value is on does
    not depend on the order of the rows, nor on how many rows have it.

    Args:
        rows: the rows to divide.
        key: a column of strings, numbers or truth values, none of them None.
        seed: another seed, another division.
        shares: what part of the distinct values each split gets; they sum to one, and each gets at least one
            value.

    Raises:
        WrongValue: no such column, a row without a value, shares that do not sum to one, or too few values.
    """
    if key not in rows.column_names:
        raise WrongValue(f"cannot split by {key!r}: the rows have {', '.join(rows.column_names)}")
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) <= 0:
        raise WrongValue(f"shares {dict(shares)} must be above zero and sum to 1")
    column = list(rows[key])
    if None in column:
        raise WrongValue(f"cannot split by {key!r}: row {column.index(None)} has no value there; filter such rows out")
    side = _divide(sorted(set(column)), shares, seed)
    places: dict[str, list[int]] = {name: [] for name in shares}
    for index, value in enumerate(column):
        places[side[value]].append(index)
    return {name: rows.select(indices) for name, indices in places.items()}


def _divide(values: list[Any], shares: Mapping[str, float], seed: int) -> dict[Any, str]:
    if len(values) < len(shares):
        raise WrongValue(f"{len(values)} distinct values cannot fill {len(shares)} splits ({', '.join(shares)})")
    random.Random(seed).shuffle(values)
    counts = _counts(len(values), shares)
    names = [name for name in shares for _ in range(counts[name])]
    return dict(zip(values, names, strict=True))


def _counts(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers by largest remainder, none of them zero."""
    exact = {name: share * total for name, share in shares.items()}
    counts = {name: max(1, int(number)) for name, number in exact.items()}
    while sum(counts.values()) != total:
        step = 1 if sum(counts.values()) < total else -1
        open_to = [name for name in counts if counts[name] + step >= 1]
        counts[max(open_to, key=lambda name: step * (exact[name] - counts[name]))] += step
    return counts
