"""Splits: nothing in two of them, nothing lost, the same for the same values."""

from __future__ import annotations

from itertools import chain

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.data.splits import split_by


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 30), min_size=1, max_size=80), seed=st.integers(0, 5))
def test_no_value_in_two_splits_and_no_row_lost(values: list[int], seed: int) -> None:
    rows = Dataset.from_dict({"key": values, "place": list(range(len(values)))})
    if len(set(values)) < 3:
        with pytest.raises(ValueError, match="distinct values cannot fill 3"):
            split_by(rows, "key", seed=seed)
        return
    parts = split_by(rows, "key", seed=seed)
    sides = [set(part["key"]) for part in parts.values()]
    assert sum(map(len, sides)) == len(set(values))
    assert all(sides)
    places = [list(part["place"]) for part in parts.values()]
    assert sorted(chain.from_iterable(places)) == list(range(len(values)))
    assert all(part == sorted(part) for part in places)


def test_sides_do_not_depend_on_the_order_of_rows() -> None:
    words = [f"word {i % 40}" for i in range(100)]
    one = split_by(Dataset.from_dict({"text": words}), "text", seed=1)
    other = split_by(Dataset.from_dict({"text": words[::-1]}), "text", seed=1)
    assert {name: set(part["text"]) for name, part in one.items()} == {
        name: set(part["text"]) for name, part in other.items()
    }
    again = split_by(Dataset.from_dict({"text": words}), "text", seed=2)
    assert set(again["test"]["text"]) != set(one["test"]["text"])


def test_shares_are_kept_to_the_value() -> None:
    rows = Dataset.from_dict({"key": list(range(1000))})
    assert {name: len(part) for name, part in split_by(rows, "key", seed=0).items()} == {
        "train": 700,
        "dev": 150,
        "test": 150,
    }
    assert len(split_by(rows, "key", seed=0, shares={"a": 1 / 3, "b": 2 / 3})["a"]) == 333


def test_errors() -> None:
    rows = Dataset.from_dict({"key": [1, None, 2]})
    with pytest.raises(ValueError, match="the rows have key"):
        split_by(rows, "text", seed=0)
    with pytest.raises(ValueError, match="row 1 has no value"):
        split_by(rows, "key", seed=0)
    with pytest.raises(ValueError, match="sum to 1"):
        split_by(rows, "key", seed=0, shares={"a": 0.5, "b": 0.4})
