"""Captions without sounds: small files in the layout of the real ones, and the real ones where they are."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.captions import WORDS, mentions


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "audio_captions"
    folder.mkdir()
    lines = ["2\tb\tA dog barks", "1\ta\tRain falls on a roof", "3\tc\tA dog barks in the rain", "4\td\tA man speaks"]
    body = "id\tclip\tcaption\n" + "\n".join(lines) + "\n"
    (folder / "audiocaps.train.tsv.gz").write_bytes(gzip.compress(body.encode()))
    (folder / "audiocaps.val.tsv").write_text("id\tclip\tcaption\n7\tz\tDogs bark\n", encoding="utf-8")
    clotho = "file\tk\tcaption\nx.wav\t2\tWaves roll in.\nx.wav\t1\tThe surf at sea.\n"
    (folder / "clotho.development.tsv.gz").write_bytes(gzip.compress(clotho.encode()))
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return folder


def test_rows(sets: Path) -> None:
    rows = load("captions", sets=["audiocaps", "clotho"])
    assert rows.column_names == ["id", "text", "clip", "kind", "set"]
    assert list(rows["id"]) == sorted(rows["id"])
    kinds = dict(zip(rows["text"], rows["kind"], strict=True))
    assert kinds["A dog barks"] == "dog bark"
    assert kinds["A dog barks in the rain"] == kinds["A man speaks"] == ""  # several, and none
    assert kinds["Waves roll in."] == "sea waves"
    waves = rows.filter(lambda row: row["set"] == "clotho")
    assert list(waves["id"]) == ["clotho/x.wav/1", "clotho/x.wav/2"]
    assert set(waves["clip"]) == {"clotho/x.wav"}


def test_so_many(sets: Path) -> None:
    assert Counter(load("captions", each=1)["kind"]) == {"dog bark": 1, "rain": 1, "": 1}
    assert len(load("captions", most=2)) == 2
    drawn = {tuple(load("captions", most=2, seed=seed)["id"]) for seed in range(8)}
    assert len(drawn) > 1
    assert load("captions", most=2, seed=3)["id"] == load("captions", most=2, seed=3)["id"]
    assert list(load("captions", kinds=["rain"])["text"]) == ["Rain falls on a roof"]


def test_words_are_whole() -> None:
    assert mentions("A DOG barks", WORDS["dog bark"])
    assert not mentions("A hotdog stand", WORDS["dog bark"])
    assert not mentions("a train passes", WORDS["rain"])
    assert mentions("a chain saw runs", WORDS["chainsaw"])


def test_what_is_not_there_is_said(sets: Path) -> None:
    with pytest.raises(DataError, match="no captions of musiccaps: sets are audiocaps, audiocaps_val, clotho"):
        load("captions", sets=["musiccaps"])
    with pytest.raises(DataError, match="no captions of zebra"):
        load("captions", kinds=["zebra"])
    (sets / "audiocaps.val.tsv").write_text("id\tcaption\n1\tx\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column clip"):
        load("captions", sets=["audiocaps_val"])
    (sets / "audiocaps.train.tsv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="not readable"):
        load("captions")
    (sets / "clotho.development.tsv.gz").unlink()
    with pytest.raises(DataError, match="no such file; the set clotho"):
        load("captions", sets=["clotho"])


@pytest.mark.data
def test_the_real_sets() -> None:
    try:
        rows, other = load("captions"), load("captions", sets=["audiocaps_val"])
    except DataError as error:
        pytest.skip(str(error))
    assert len(rows) > 40_000
    assert not set(rows["clip"]) & {clip.replace("_val", "", 1) for clip in other["clip"]}
    assert min(Counter(rows["kind"])[kind] for kind in ("dog bark", "rain", "rooster")) > 40
