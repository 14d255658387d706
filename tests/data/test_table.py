"""Rows to a data set, without decoding and without any codec."""

from __future__ import annotations

from pathlib import Path

from datasets import Audio, Image

from antiphon.data.table import table


def test_rows_are_sorted_and_files_stay_closed() -> None:
    rows = table(
        [{"id": "b", "sound": Path("x.wav"), "n": 2}, {"id": "a", "image": {"bytes": b"1", "path": None}}],
        {"id": "text", "image": "image", "sound": "sound", "n": "number"},
        description="two rows",
        licence="none",
    )
    assert rows[0] == {"id": "a", "image": {"bytes": b"1", "path": None}, "sound": None, "n": None}
    assert rows[1] == {"id": "b", "image": None, "sound": {"bytes": None, "path": "x.wav"}, "n": 2}
    assert rows.features["sound"] == Audio(decode=False)
    assert rows.features["image"] == Image(decode=False)
    assert (rows.info.description, rows.info.license) == ("two rows", "none")
    assert rows.select([1])["id"][0] == "b"
    assert rows.filter(lambda row: row["n"] == 2)["sound"][0]["path"] == "x.wav"
