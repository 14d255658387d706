"""Dialogs of several sets in one schema: small sets in the layout of the real ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.dialogs import SETS


def _turn(speaker: str, text: str, *frames: tuple[str, list[list[object]]]) -> dict[str, object]:
    return {"speaker": speaker, "text": text, "frames": [{"service": name, "acts": acts} for name, acts in frames]}


SGD = {
    "id": "1_0",
    "turns": [
        _turn("USER", "A bus.", ("Buses_1", [["INFORM_INTENT", "intent", ["FindBus"]]])),
        _turn("SYSTEM", "Where to?", ("Buses_1", [["REQUEST", "to_city", []]])),
        _turn("USER", "To  Bern", ("Buses_1", [["INFORM", "to_city", ["Bern ", "bern"]], ["NEGATE", "", []]])),
        _turn("SYSTEM", "Done.", ("Buses_1", [])),
        _turn("USER", "And a hotel", ("Buses_1", []), ("Hotels_2", [])),
    ],
}
WOZ2 = {
    "id": 3,
    "turns": [
        {"system": "", "user": "Thai food", "turn_label": [["price range", "Cheap"]]},
        {"system": "It is.", "user": "Phone?", "turn_label": [["request", "phone"]]},
    ],
}
SIMM = {
    "id": "movies_1",
    "turns": [
        {"system": "", "user": "hi two for 6", "user_acts": ["GREETING", "INFORM"], "user_slots": [["time", "6"]]}
    ],
}
SPANS = {"text": "For two", "requested": [], "spans": [["people", 4, 7, "Two"]]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dialog").mkdir()
    files = {"sgd.train.jsonl.gz": SGD, "woz2_en.train.jsonl.gz": WOZ2, "simm.dev.jsonl.gz": SIMM}
    for name, dialog in files.items():
        (tmp_path / "dialog" / name).write_bytes(gzip.compress(json.dumps(dialog).encode()))
    for name in ("restaurant8k.train.jsonl", "dstc8_Buses_1.train.jsonl"):
        (tmp_path / "dialog" / name).write_text(json.dumps(SPANS) + "\n", encoding="utf-8")
    tagged = {
        "snips": "PlayMusic\tplay abba gold now\tO B-artist I-artist O\n",
        "atis": "atis_flight#atis_airfare\tto bern\tO B-toloc.city_name\n",
    }
    for name, line in tagged.items():
        (tmp_path / "dialog" / f"{name}.valid.tsv").write_text(f"intent\ttext\tslots_bio\n{line}", encoding="utf-8")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return tmp_path / "dialog"


def test_turns_of_users_with_the_turn_before(folder: Path) -> None:
    rows = load("dialogs")
    assert list(rows["id"]) == ["sgd/train/1_0/00", "sgd/train/1_0/02"]
    assert list(rows["previous"]) == [None, "Where to?"]
    assert json.loads(rows["tree"][1]) == [
        ["buses", None, None, None],
        ["buses", "inform", "to_city", "bern"],
        ["buses", "negate", None, None],
    ]
    assert (rows["domain"][0], rows["service"][0], rows["dialog"][0]) == ("buses", "buses_1", "sgd/train/1_0")


def test_turns_about_several_services_are_kept_where_asked(folder: Path) -> None:
    rows = load("dialogs", several=True)
    assert list(rows["domain"]) == ["buses", "buses", "buses+hotels"]


def test_all_sets_have_one_schema(folder: Path) -> None:
    rows = {row["set"]: row for row in load("dialogs", sets=[name for name in SETS if name != "simr"])}
    trees = {name: json.loads(row["tree"]) for name, row in rows.items()}
    assert trees["woz2"] == [["restaurants", None, None, None], ["restaurants", "request", "phone", None]]
    assert trees["simm"] == [
        ["movies", None, None, None],
        ["movies", "greeting", None, None],
        ["movies", "inform", None, None],
        ["movies", "inform", "time", "6"],
    ]
    assert trees["snips"] == [[None, "playmusic", None, None], [None, "playmusic", "artist", "abba gold"]]
    assert ["flights", "airfare", "toloc.city_name", "bern"] in trees["atis"]
    assert ["flights", "flight", None, None] in trees["atis"]
    assert trees["dstc8"] == [["buses", None, None, None], ["buses", None, "people", "two"]]
    assert {name: row["labelled"] for name, row in rows.items() if not row["labelled"]} == {
        "dstc8": 0, "restaurant8k": 0,
    }  # fmt: skip
    assert json.loads(load("dialogs", sets=["woz2"])["tree"][0])[1] == ["restaurants", "inform", "price_range", "cheap"]


def test_what_is_wrong_is_told(folder: Path) -> None:
    with pytest.raises(DataError, match="no dialogs taskmaster: there are sgd, woz2"):
        load("dialogs", sets=["taskmaster"])
    with pytest.raises(DataError, match=r"simr\.\*\.jsonl\.gz: no such file"):
        load("dialogs", sets=["simr"])
    (folder / "restaurant8k.train.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"restaurant8k\.train\.jsonl:1: no spans"):
        load("dialogs", sets=["restaurant8k"])
    (folder / "restaurant8k.train.jsonl").write_text("{\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"restaurant8k\.train\.jsonl:1: no JSON"):
        load("dialogs", sets=["restaurant8k"])
    (folder / "snips.valid.tsv").write_text("intent\ttext\tslots_bio\na\tb c\tO\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"snips\.valid\.tsv:2: 2 words and 1 tags"):
        load("dialogs", sets=["snips"])


@pytest.mark.data
def test_the_real_sets() -> None:
    try:
        rows = load("dialogs", sets=["sgd", "snips"])
    except DataError as error:
        pytest.skip(str(error))
    assert len(rows) > 25_000
    assert len(set(rows["domain"])) == 18  # 17 and none
    assert "+" not in "".join(domain or "" for domain in rows["domain"])
