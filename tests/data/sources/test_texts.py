"""Sources of texts: small sets in the layout of the real ones, and what is wrong with a file in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.intents import words_of
from antiphon.data.table import read_tsv


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "sts/stsb.dev.tsv": 'score\tsubset\tsentence1\tsentence2\n5.0\tstsb\tA "cat".\tOne cat.\n0\tstsb\tA\tB\n',
        "sts/sickr.dev.tsv": "score\tentailment\tsentence1\tsentence2\n4.5\tNEUTRAL\tA\tB\n",
        "dialog/clinc150.train.tsv": "intent\tdomain\ttext\ncar_rental\ttravel\trent a car\noos\toos\twho knows\n",
        "dialog/snips.train.tsv": "intent\ttext\tslots_bio\nPlayMusic\tplay abba\tO B-artist\n",
        "wiki_sentences/sentences.txt": "b first\n\na second\nb first\n",
        "tatoeba/deu-eng.tsv": "deu\teng\nHallo.\tHello.\n",
        "tatoeba/fra-eng.tsv": "fra\teng\nSalut.\tHi.\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return tmp_path


def test_scored_pairs(sets: Path) -> None:
    rows = load("sts")
    assert rows[0] == {
        "id": "stsb/dev/00000", "text_1": 'A "cat".', "text_2": "One cat.", "score": 5.0, "relation": None
    }  # fmt: skip
    assert load("sts", task="sickr")["relation"][0] == "NEUTRAL"
    with pytest.raises(DataError, match=r"no set of scored sentences stsb\.test: there are sickr\.dev, stsb\.dev"):
        load("sts", split="test")


def test_a_score_that_is_no_number(sets: Path) -> None:
    path = sets / "sts/stsb.dev.tsv"
    path.write_text("score\tsentence1\tsentence2\nhigh\ta\tb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"stsb\.dev\.tsv:2: score 'high' is no number"):
        load("sts")


def test_intents(sets: Path) -> None:
    rows = load("intents", sets=["clinc150", "snips"])
    assert list(rows["id"]) == ["clinc150/train/00000", "snips/train/00000"]
    assert list(rows["words"]) == ["car rental", "play music"]
    assert list(rows["domain"]) == ["travel", None]
    assert len(load("intents", outside=True)) == 2
    with pytest.raises(DataError, match="no set of intents hwu: there are clinc150"):
        load("intents", sets=["hwu"])


@pytest.mark.parametrize(
    ("intent", "words"), [("atis_flight#atis_airfare", "atis flight atis airfare"), ("GetWeather", "get weather")]
)
def test_labels_as_phrases(intent: str, words: str) -> None:
    assert words_of(intent) == words


def test_sentences_once_each(sets: Path) -> None:
    assert list(load("sentences")["text"]) == ["b first", "a second"]


def test_translations(sets: Path) -> None:
    rows = load("tatoeba", languages=["fra", "deu"])
    assert rows.column_names == ["id", "text_eng", "text_fra", "text_deu", "language"]
    assert rows[0] == {
        "id": "deu/0000", "text_eng": "Hello.", "text_fra": None, "text_deu": "Hallo.", "language": "deu"
    }  # fmt: skip
    with pytest.raises(DataError, match=r"ita-eng\.tsv: no such file; wanted a tab-separated file with ita, eng"):
        load("tatoeba", languages=["ita"])


def test_tables_in_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b'a\tb\n1\t"x\n'))
    assert read_tsv(path, ("b",)) == [{"a": "1", "b": '"x'}]
    for text, said in (
        ("a\tb\n", "no rows"),
        ("a\tb\n1\n", ":2: 1 fields, where the header has 2"),
        ("", "no column c"),
    ):
        (tmp_path / "b.tsv").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=said):
            read_tsv(tmp_path / "b.tsv", ("c",) if not text else ("a",))
