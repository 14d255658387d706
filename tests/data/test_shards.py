"""Shards: what goes in comes out, here and in webdataset; what is broken is said."""

from __future__ import annotations

import gc
import io
import json
import tarfile
from pathlib import Path

import pytest
import webdataset

from antiphon.data.shards import INDEX, read_shard, read_shards, shard_files, write_shards
from antiphon.data.sources import load
from antiphon.data.sources.made import load as made
from antiphon.decode import BadInput, decode_audio, decode_image


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(made(rows=10), tmp_path / "s", rows_per_shard=4)
    return tmp_path / "s"


def tar(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def test_rows_come_back(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    assert [shard["rows"] for shard in index["shards"]] == [4, 4, 2]
    assert index["rows"] == 10
    back = list(read_shards(shards, verify=True))
    for row, other in zip(made(rows=10), back, strict=True):
        assert {key: other[key] for key in ("id", "text", "label", "concept")} == {
            key: row[key] for key in ("id", "text", "label", "concept")
        }
        assert other["image"]["bytes"] == row["image"]["bytes"]
        assert other["speech"]["bytes"] == row["speech"]["bytes"]
    assert decode_image(back[0]["image"]).size == (64, 64)
    assert len(decode_audio(back[0]["speech"])) > 1000


def test_as_a_source(shards: Path) -> None:
    rows = load("shards", folder=str(shards))
    assert rows.column_names[0] == "id"
    assert list(rows["text"]) == list(made(rows=10)["text"])
    assert rows[3]["image"]["bytes"] == made(rows=10)[3]["image"]["bytes"]


def test_writing_is_the_same_to_the_byte(shards: Path, tmp_path: Path) -> None:
    write_shards(made(rows=10), tmp_path / "t", rows_per_shard=4)
    assert (tmp_path / "t" / INDEX).read_bytes() == (shards / INDEX).read_bytes()
    with pytest.raises(FileExistsError, match="another folder"):
        write_shards(made(rows=1), shards)


@pytest.mark.filterwarnings("ignore:.*shard-0:pytest.PytestUnraisableExceptionWarning")  # it leaves files open
@pytest.mark.filterwarnings("ignore:.*shard-0:ResourceWarning")
def test_webdataset_reads_them(shards: Path) -> None:
    files = [str(file) for file in shard_files(shards)]
    found = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False))
    gc.collect()
    assert len(found) == 10
    assert found[5]["image.png"] == made(rows=10)[5]["image"]["bytes"]
    assert json.loads(found[5]["json"])["text"] == made(rows=10)[5]["text"]


def test_we_read_what_webdataset_writes(tmp_path: Path) -> None:
    row = made(rows=1)[0]
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as out:
        for place in range(3):
            out.write({"__key__": f"x/{place}", "png": row["image"]["bytes"], "txt": "a name", "cls": place})
    back = list(read_shard(tmp_path / "a.tar"))
    assert [(r["__key__"], r["text"], r["cls"]) for r in back] == [(f"x/{i}", "a name", i) for i in range(3)]
    assert back[0]["image"]["bytes"] == row["image"]["bytes"]


def test_the_place_in_a_stream_can_be_saved(shards: Path) -> None:
    stream = read_shards(shards)
    whole = [row["id"] for row in stream]
    first = iter(stream)
    for _ in range(3):
        next(first)
    state = stream.state_dict()
    again = read_shards(shards)
    again.load_state_dict(state)
    assert [row["id"] for row in again] == whole[3:]


@pytest.mark.parametrize("cut", [100, 700, 5000, -10_300])
def test_a_shard_cut_short_is_said(shards: Path, cut: int) -> None:
    (shards / INDEX).unlink()
    path = shards / "shard-000000.tar"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInput, match=r"shard-000000\.tar"):
        list(read_shard(path))


def test_a_cut_between_two_members_is_said(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", **{"1.txt": b"one", "2.txt": b"two"})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(BadInput, match="no end of archive"):
        list(read_shard(path))


def test_what_differs_from_the_index_is_said(shards: Path) -> None:
    path = shards / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="sha256"):
        list(read_shard(path, verify=True))
    tar(path, **{"1.txt": b"one"})
    with pytest.raises(BadInput, match=r"1 rows, index\.json says 4"):
        list(read_shard(path))
    path.unlink()
    with pytest.raises(BadInput, match="no such shard"):
        shard_files(shards)


def test_hostile_members(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tar(
        tmp_path / "a.tar",
        **{"1.pyd": b"cos\nsystem\n", "1.pth": b"x", "1.txt": b"one", "../../2.txt": b"two"},
    )
    rows = list(read_shard(path))
    assert [set(row) for row in rows] == [{"__key__", "text"}, {"__key__", "text"}]
    assert not (tmp_path.parent.parent / "2.txt").exists()
    assert "1.pyd left out" in caplog.text
    for name, content, word in (
        ("1.json", b"{", "JSON"),
        ("1.cls", b"x", "whole number"),
        ("1.txt", b"\xff", "UTF-8"),
    ):
        with pytest.raises(BadInput, match=word):
            list(read_shard(tar(tmp_path / "b.tar", **{name: content})))
    (tmp_path / "c.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(BadInput, match="not readable as tar"):
        list(read_shard(tmp_path / "c.tar"))


def test_values_that_no_shard_takes(tmp_path: Path) -> None:
    for row, word in (
        ({"a": object()}, "JSON"),
        ({"a.b": 1}, "no dot"),
        ({"image": {"bytes": None, "path": "no.png"}}, "no.png"),
        ({"image": {"bytes": b"?", "path": None}}, "first bytes"),
    ):
        with pytest.raises(BadInput, match=word):
            write_shards([row], tmp_path / "bad")
    assert not (tmp_path / "bad" / INDEX).exists()
