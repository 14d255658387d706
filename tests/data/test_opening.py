"""Pictures are decoded once and small, recordings measured; what cannot be used is noted and left out."""

import json

import pytest
from datasets import Dataset

from antiphon.config import Config
from antiphon.data.opening import opened, seconds
from antiphon.data.sources import made
from antiphon.data.table import table
from antiphon.runs import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run", Config())


def _rows() -> Dataset:
    good = made.load(3, size=300)
    rows = [
        {"id": f"r{at}", "image": row["image"], "speech": row["speech"], "label": at} for at, row in enumerate(good)
    ]
    rows.append(
        {"id": "bad", "image": {"bytes": b"x", "path": None}, "speech": {"bytes": b"x", "path": None}, "label": 3}
    )
    rows.append({"id": "none", "label": 4})
    kinds = {"id": "text", "image": "image", "speech": "sound", "label": "number"}
    return table(rows, kinds, description="", licence="")


def _quarantined(run):
    return [json.loads(line)["row"] for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]


def test_pictures(run):
    rows = {row["id"]: row for row in opened({"train": _rows()}, ["image", "speech"], run)["train"]}
    assert rows["r0"]["image"].size == (256, 256)
    assert rows["bad"]["image"] is None
    assert rows["none"]["image"] is None
    assert rows["r0"]["speech"]["bytes"]
    assert _quarantined(run) == ["bad"]


def test_recordings(run):
    rows = _rows()
    found = dict(zip(rows["id"], seconds(rows, ["image", "speech"], run), strict=True))
    assert found["r0"] > 0.2
    assert found["bad"] == found["none"] == 0.0
    assert _quarantined(run) == ["bad"]
    assert seconds(rows, ["image"], run) is None
