"""Collate: columns, what is absent, what is bad, and augmentation that workers cannot change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from antiphon.data.collate import by_column
from antiphon.decode import BadInput, clean_text
from antiphon.types import Padded


class Letters:
    """Texts as code points."""

    def collate(self, items: Sequence[Any]) -> Padded:
        texts = ["" if item is None else clean_text(item) for item in items]
        values = torch.zeros(len(texts), max(1, *map(len, texts), 0), dtype=torch.int64)
        for place, text in enumerate(texts):
            values[place, : len(text)] = torch.tensor([ord(letter) for letter in text])
        return Padded(values, torch.tensor([len(text) for text in texts]))


def rows(*texts: Any) -> list[dict[str, Any]]:
    return [
        {"text": text, "label": place, "id": f"r{place}", "__index__": 10 + place, "__epoch__": 0}
        for place, text in enumerate(texts)
    ]


def test_a_batch_has_columns_kept_values_and_places() -> None:
    batch = by_column(text=Letters(), keep=("label", "id"))(rows("ab", None, "c"))
    assert batch["text"].lengths.tolist() == [2, 0, 1]
    assert batch["text"].present.tolist() == [True, False, True]
    assert torch.equal(batch["label"], torch.tensor([0, 1, 2]))
    assert batch["id"] == ["r0", "r1", "r2"]
    assert batch["row"].tolist() == [10, 11, 12]
    assert batch["quarantine"] == []


def test_kept_values_keep_their_kind() -> None:
    kept = by_column(keep=("f", "b", "n"))([{"f": 1, "b": True, "n": None}, {"f": 0.5, "b": False, "n": 3}])
    assert torch.equal(kept["f"], torch.tensor([1, 0.5]))
    assert kept["b"].dtype == torch.bool
    assert kept["n"] == [None, 3]
    assert "row" not in kept


def test_bad_items_are_set_aside_and_the_rest_stays() -> None:
    given = rows("ab", "", "cd", b"\xff")
    batch = by_column(text=Letters())(given)
    assert batch["text"].lengths.tolist() == [2, 0, 2, 0]
    assert [(bad["column"], bad["row"]) for bad in batch["quarantine"]] == [("text", "r1"), ("text", "r3")]
    assert "empty" in batch["quarantine"][0]["reason"]
    del given[1]["id"]
    assert by_column(text=Letters())(given)["quarantine"][0]["row"] == "11"


def test_other_errors_are_not_swallowed() -> None:
    class Broken:
        def collate(self, items: Sequence[Any]) -> Padded:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        by_column(text=Broken())(rows("a"))


def add_letter(item: str, generator: torch.Generator) -> str:
    if item == "bad":
        raise BadInput("bad item")
    return item + chr(97 + int(torch.randint(26, (), generator=generator)))


def test_augmentation_depends_on_seed_epoch_row_and_entry_only() -> None:
    given = rows(*"abcdefgh")
    make = by_column(
        one=Letters(),
        two=Letters(),
        of={"one": "text", "two": "text"},
        augment={"one": add_letter, "two": add_letter},
    )
    batch = make(given)
    assert not torch.equal(batch["one"].values, batch["two"].values)
    assert torch.equal(make(given[::-1])["one"].values.flip(0), batch["one"].values)
    assert torch.equal(make(given[3:5])["one"].values, batch["one"].values[3:5])
    later = [{**row, "__epoch__": 1} for row in given]
    assert not torch.equal(make(later)["one"].values, batch["one"].values)
    other = by_column(one=Letters(), of={"one": "text"}, augment={"one": add_letter}, seed=1)(given)
    assert not torch.equal(other["one"].values, batch["one"].values)


def test_workers_change_nothing() -> None:
    given = rows(*"abcdefgh")
    make = by_column(text=Letters(), augment={"text": add_letter})
    seen = [
        torch.cat([batch["text"].values for batch in DataLoader(given, batch_size=2, collate_fn=make, num_workers=n)])
        for n in (0, 2)
    ]
    assert torch.equal(*seen)


def test_a_bad_item_in_augmentation_is_set_aside_and_none_is_not_augmented() -> None:
    batch = by_column(text=Letters(), augment={"text": add_letter})(rows("a", "bad", None))
    assert batch["text"].lengths.tolist() == [2, 0, 0]
    assert [bad["row"] for bad in batch["quarantine"]] == ["r1"]
    with pytest.raises(ValueError, match="__index__"):
        by_column(text=Letters(), augment={"text": add_letter})([{"text": "a"}])


def test_errors() -> None:
    with pytest.raises(KeyError, match="no column 'speech': they have"):
        by_column(speech=Letters())(rows("a"))
    with pytest.raises(TypeError, match=r"wanted an encoder|Collates"):
        by_column(text=len)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="augment or of names"):
        by_column(text=Letters(), augment={"txt": add_letter})
    with pytest.raises(ValueError, match="uses that name"):
        by_column(text=Letters(), keep=("text",))


def _spoken() -> list[dict[str, Any]]:
    return [
        {"__index__": at, "__epoch__": 0, "fr": f"f{at}", "es": None if at % 4 == 0 else f"e{at}", "ru": None}
        for at in range(40)
    ]


def _drawn(rows: list[dict[str, Any]], seed: int = 0) -> list[str]:
    seen: list[Any] = []

    class Keeps:
        def collate(self, items: Sequence[Any]) -> Padded:
            seen.extend(items)
            return Padded(torch.zeros(len(items), 1), torch.ones(len(items), dtype=torch.int64))

    by_column(of={"speech": ("fr", "es", "ru")}, seed=seed, speech=Keeps())(rows)
    return seen


def test_one_of_several_columns_is_drawn_among_those_that_a_row_has() -> None:
    drawn = _drawn(_spoken())
    assert all(item[0] == "f" for item in drawn[::4])
    assert {item[0] for item in drawn} == {"f", "e"}
    assert 8 <= sum(item[0] == "e" for item in drawn) <= 24


def test_the_draw_depends_on_seed_epoch_and_row_only() -> None:
    first = _drawn(_spoken())
    assert _drawn(_spoken()[7:9]) == first[7:9]
    assert _drawn(_spoken(), seed=1) != first
    assert _drawn([{**row, "__epoch__": 1} for row in _spoken()]) != first


def test_a_row_without_any_of_the_columns_has_no_item() -> None:
    assert _drawn([{"__index__": 0, "fr": None, "es": None, "ru": None}]) == [None]
    with pytest.raises(ValueError, match="chance is seeded by row"):
        _drawn([{"fr": "a", "es": None, "ru": None}])
