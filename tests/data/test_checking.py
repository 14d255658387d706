"""Checking: every item is counted, every unusable one is listed with its reason, and nothing else is."""

import pytest
from datasets import Dataset, Features, Image, List, Value

from antiphon.data.checking import decodable
from antiphon.data.sources import made
from antiphon.data.table import table

KINDS = {"id": "text", "image": "image", "text": "text", "speech": "sound", "note": "text"}


@pytest.fixture
def rows():
    return made.load(4).to_list()


def _table(rows):
    return table(rows, KINDS, description="", licence="")


def test_good_rows_have_no_faults():
    counts, bad = decodable(made.load(5))
    assert counts == {"image": 5, "text": 5, "speech": 5}
    assert bad == []


@pytest.mark.parametrize(
    ("column", "item", "reason"),
    [
        ("image", {"bytes": b"no picture", "path": None}, "10 bytes"),
        ("image", {"bytes": None, "path": "gone.png"}, "no such file"),
        ("speech", {"bytes": b"", "path": None}, "empty"),
        ("speech", {"bytes": b"RIFF....WAVEjunk", "path": None}, "16 bytes"),
        ("text", "   ", "empty"),
    ],
)
def test_an_unusable_item_is_listed_with_its_row_and_reason(rows, column, item, reason):
    rows[2][column] = item
    counts, bad = decodable(_table(rows))
    assert counts[column] == 4
    assert [(fault["column"], fault["row"]) for fault in bad] == [(column, "000002")]
    assert reason in bad[0]["reason"]
    assert "\n" not in bad[0]["reason"]


def test_absent_items_are_not_counted_and_other_strings_not_read(rows):
    rows[0]["speech"] = None
    rows[1]["note"] = ""
    counts, bad = decodable(_table(rows))
    assert counts == {"image": 4, "text": 4, "speech": 3}
    assert bad == []


def test_rows_without_an_id_are_named_by_their_place(rows):
    rows[3]["text"] = ""
    _, bad = decodable(_table(rows).remove_columns("id"))
    assert [fault["row"] for fault in bad] == ["3"]


def test_columns_that_hugging_face_would_decode_are_decoded_by_us(rows):
    kept: Dataset = _table(rows).cast_column("image", Image())
    counts, bad = decodable(kept)
    assert (counts["image"], bad) == (4, [])


def test_progress_counts_rows(rows):
    steps = []
    decodable(_table(rows), progress=steps.append)
    assert sum(steps) == 4


def test_vectors_of_frames_are_looked_at():
    held = {"id": ["a", "b", "c"], "video": [[[1.0, 2.0]], [[1.0], [2.0, 3.0]], None], "text": ["x", "y", "z"]}
    kinds = Features({"id": Value("string"), "video": List(List(Value("float32"))), "text": Value("string")})
    counts, bad = decodable(Dataset.from_dict(held, features=kinds))
    assert counts == {"video": 2, "text": 3}
    assert [(fault["column"], fault["row"]) for fault in bad] == [("video", "b")]
    assert "wanted T lines of D numbers" in bad[0]["reason"]
