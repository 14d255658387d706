"""Data sets of the hub, read from local ones: no network."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from datasets import Audio, Dataset, DatasetDict, Image

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.made import load as made


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    rows = made(rows=6)
    DatasetDict({"train": rows, "test": rows.select([1, 2])}).save_to_disk(tmp_path / "saved")
    back = load("hub", path=str(tmp_path / "saved"), split="test", columns={"picture": "image", "text": "text"})
    assert back.column_names == ["id", "picture", "text"]
    assert back.features["picture"] == Image(decode=False)
    assert back[0]["picture"] == rows[1]["image"]
    assert load("hub", path=str(tmp_path / "saved"))[5] == rows[5]
    with pytest.raises(DataError, match="no split 'dev'; it has train, test"):
        load("hub", path=str(tmp_path / "saved"), split="dev")
    with pytest.raises(DataError, match="no column title; it has id, image"):
        load("hub", path=str(tmp_path / "saved"), columns={"text": "title"})


def test_decoding_features_are_turned_off(tmp_path: Path) -> None:
    rows = made(rows=2).cast_column("image", Image()).cast_column("speech", Audio())
    rows.save_to_disk(tmp_path / "saved")
    back = load("hub", path=str(tmp_path / "saved"))
    assert back.features["image"] == Image(decode=False)
    assert back.features["speech"].decode is False
    assert back[0]["speech"]["bytes"] == made(rows=1)[0]["speech"]["bytes"]


def test_a_folder_of_parquet_and_rows_without_id(tmp_path: Path) -> None:
    Dataset.from_dict({"caption": ["a", "b"]}).to_parquet(tmp_path / "train.parquet")
    back = load("hub", path=str(tmp_path), columns={"text": "caption"})
    assert back[1] == {"text": "b", "id": "000000001"}
    with pytest.raises(DataError, match="ValueError") as caught:
        load("hub", path=str(tmp_path), split="dev")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no/such-data-set: ") as caught:
        load("hub", path="no/such-data-set")
    assert "\n" not in str(caught.value)
