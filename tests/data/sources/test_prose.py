"""Prose: documents put together from their lines, beside single sentences."""

import gzip

import pytest

from antiphon.data.cache import DataError
from antiphon.data.sources import load

NEWS = "doc\tline\ttext\nb\t12\tSecond line.\nb\t2\tA headline\nb\t103\tThird line.\na\t0\tAlone\n"


@pytest.fixture(autouse=True)
def sets(tmp_path, monkeypatch):
    (tmp_path / "ntrex").mkdir()
    (tmp_path / "wiki_sentences").mkdir()
    (tmp_path / "ntrex/eng-US.tsv.gz").write_bytes(gzip.compress(NEWS.encode()))
    (tmp_path / "wiki_sentences/sentences.txt").write_text("one\ntwo\none\n", encoding="utf-8")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return tmp_path


def test_documents_are_put_together_by_their_line_numbers():
    rows = load("prose")
    assert rows["id"] == ["news/a", "news/b", "wikipedia/000000", "wikipedia/000001"]
    assert rows["text"] == ["Alone", "A headline\nSecond line. Third line.", "one", "two"]
    assert set(rows["set"]) == {"news", "wikipedia"}
    assert load("prose", most=1)["id"] == ["news/a", "wikipedia/000000"]


def test_mistakes(sets):
    with pytest.raises(DataError, match="no set of prose novels: there are news, wikipedia"):
        load("prose", sets=["novels"])
    (sets / "ntrex/eng-US.tsv.gz").write_bytes(gzip.compress(b"doc\tline\ttext\na\tone\tx\n"))
    with pytest.raises(DataError, match="line 'one' is no number"):
        load("prose", sets=["news"])
