"""Documents in order: real layouts in small, generated ones, and each document in one language."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.documents import apart


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "ntrex/eng-US.tsv.gz": "doc\tline\ttext\nbbc.9\t0\tFirst.\nbbc.9\t1\tSecond.\ncnn.1\t2\tOther.\n",
        "ntrex/deu.tsv.gz": "doc\tline\ttext\nbbc.9\t0\tErster.\nbbc.9\t1\tZweiter.\ncnn.1\t2\tAnderer.\n",
        "bible_nt/est.tsv.gz": "verse\ttext\nb.MAT.1.1\tÜks\nb.MAT.1.2\tKaks\nb.MAT.2.1\tKolm\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return tmp_path


def test_news(sets: Path) -> None:
    rows = load("documents", languages=["eng", "deu"])
    assert rows[0] == {
        "id": "deu/000000", "text": "Erster.", "language": "deu", "document": "bbc.9", "line": "00000", "place": 0
    }  # fmt: skip
    assert list(rows["place"]) == [0, 1, 0] * 2
    assert list(rows["line"])[:3] == list(rows["line"])[3:]
    assert len(load("documents", languages=["eng"], documents=1)) == 2


def test_chapters(sets: Path) -> None:
    rows = load("documents", corpus="bible", languages=["est"])
    assert list(rows["document"]) == ["b.MAT.1", "b.MAT.1", "b.MAT.2"]
    assert rows["line"][1] == "b.MAT.1.2"


def test_what_is_not_there(sets: Path) -> None:
    with pytest.raises(DataError, match="ntrex has no language 'fra': it has deu, eng"):
        load("documents", languages=["fra"])
    with pytest.raises(DataError, match="no corpus 'quran': there are ntrex, bible"):
        load("documents", corpus="quran")


def test_made_documents_are_translations_that_share_stems() -> None:
    rows = load("made_documents")
    assert rows["text"][0] == load("made_documents")["text"][0]
    sides = {code: {row["line"]: row["text"] for row in rows if row["language"] == code} for code in ("aaa", "bbb")}
    assert sides["aaa"].keys() == sides["bbb"].keys()
    for line in list(sides["aaa"])[:9]:
        left, right = (sides[code][line].split() for code in ("aaa", "bbb"))
        stems = [[word[:6] for word in words if len(word) == 8] for words in (left, right)]
        assert stems[0] == stems[1]
        assert len(stems[0]) == 2
        assert not {word for word in left if len(word) == 4} & {word for word in right if len(word) == 4}


def test_each_document_in_one_language() -> None:
    rows = load("made_documents")
    found = apart(rows, seed=0)
    owners = {(row["document"], row["language"]) for row in found}
    assert len(owners) == 60
    assert Counter(code for _, code in owners) == {"aaa": 20, "bbb": 20, "eng": 20}
    assert len(found) == len(rows) / 3
    assert list(found["id"]) == sorted(found["id"])
    assert list(apart(rows, seed=1)["id"]) != list(found["id"])


def test_documents_that_not_all_have() -> None:
    rows = Dataset.from_dict({"document": ["1", "2", "2", "3"], "language": ["a", "a", "b", "a"]})
    assert {(row["document"], row["language"]) for row in apart(rows, seed=3)} >= {("1", "a"), ("3", "a")}
    with pytest.raises(DataError, match="1 documents are too few for 2 languages: b gets none"):
        apart(rows.select([1, 2]), seed=0)


@pytest.mark.data
def test_the_real_news() -> None:
    try:
        rows = load("documents")
    except DataError as error:
        pytest.skip(str(error))
    assert Counter(rows["language"]) == dict.fromkeys(("eng", "fra", "spa", "deu", "ukr"), 1709)
    assert len(set(rows["document"])) == 105
