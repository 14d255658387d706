"""The user's own files: by name, and by manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from antiphon.data.cache import DataError
from antiphon.data.sources import load


def write(root: Path, *names: str, **texts: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_files_of_one_name_are_a_row(tmp_path: Path) -> None:
    write(tmp_path, "b/cat.PNG", "b/cat.wav", "a.jpg", "a.sound.ogg", "a.speech_fr.ogg", "v1.5.png", "notes.md")
    write(tmp_path, **{"b/cat.txt": " A cat\n", "a.txt": "An a", "a.text_fr.txt": "Un a"})
    rows = load("folder", folder=tmp_path)
    assert list(rows["id"]) == ["a", "b/cat", "v1.5"]
    assert set(rows.column_names) == {"id", "image", "sound", "speech", "speech_fr", "text", "text_fr"}
    assert (rows[0]["text"], rows[0]["text_fr"], rows[1]["text"]) == ("An a", "Un a", "A cat")
    assert rows[0]["speech"] is None
    assert rows[0]["sound"]["path"].endswith("a.sound.ogg")
    assert rows[1]["speech"]["path"].endswith("cat.wav")
    assert load("folder", folder=tmp_path, sound="audio")[1]["audio"]["path"].endswith("cat.wav")


def test_videos_by_suffix_and_by_name(tmp_path: Path) -> None:
    write(tmp_path, "a.mov", "b.video.mp4", "c.mp4", **{"a.txt": "a dog runs"})
    rows = load("folder", folder=tmp_path)
    assert set(rows.column_names) == {"id", "speech", "text", "video"}
    assert [row["id"] for row in rows if row["video"]] == ["a", "b"]
    assert rows[2]["speech"]["path"].endswith("c.mp4")


def test_errors_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures, sounds, videos or texts"):
        load("folder", folder=tmp_path)
    with pytest.raises(DataError, match="not a folder, nor a file"):
        load("folder", folder=tmp_path / "no")
    write(tmp_path, "a.png", "a.jpg")
    with pytest.raises(DataError, match="a has a second file for 'image'"):
        load("folder", folder=tmp_path)
    (tmp_path / "a.jpg").unlink()
    write(tmp_path, **{"a.txt": " "})
    with pytest.raises(DataError, match=r"a\.txt: .*empty"):
        load("folder", folder=tmp_path)
    with pytest.raises(DataError, match="for a manifest"):
        load("folder", folder=tmp_path, columns={"image": "a"})


ROWS = [
    {"file_name": "one.png", "caption": "One", "label": 3, "kind": "x"},
    {"file_name": "two.png", "caption": "Two", "label": -1, "kind": ""},
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_manifests(suffix: str, tmp_path: Path) -> None:
    write(tmp_path, "one.png", "two.png")
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        mark = "," if suffix == ".csv" else "\t"
        path.write_text(
            "\ufeff" + "\n".join(mark.join(map(str, row)) for row in (ROWS[0], *[r.values() for r in ROWS])),
            "utf-8",
        )
    rows = load("folder", folder=path)
    assert rows.column_names == ["id", "image", "text", "label", "kind"]
    assert rows[0]["image"]["path"] == str(tmp_path / "one.png")
    assert list(rows["label"]) == [3, -1]
    assert list(rows["kind"]) == ["x", None]
    chosen = load("folder", folder=path, columns={"id": "kind", "image": "file_name"})
    assert chosen.column_names == ["id", "image"]
    with pytest.raises(DataError, match="no column title; it has file_name, caption"):
        load("folder", folder=path, columns={"text": "title"})


def test_columns_by_signal_and_by_suffix(tmp_path: Path) -> None:
    write(tmp_path, "a.wav", "b.wav", "c.png")
    write(tmp_path, **{"m.csv": "speech_fr,clip,image,sentence\na.wav,b.wav,c.png,Hello\n"})
    row = load("folder", folder=tmp_path / "m.csv")[0]
    assert {key: value["path"][-5:] for key, value in row.items() if isinstance(value, dict)} == {
        "speech_fr": "a.wav",
        "clip": "b.wav",
        "image": "c.png",
    }
    assert row["text"] == "Hello"


def test_pictures_inside_a_parquet(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist([{"image": {"bytes": b"abc", "path": None}}]), tmp_path / "a.parquet")
    assert load("folder", folder=tmp_path / "a.parquet")[0]["image"] == {"bytes": b"abc", "path": None}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.csv", "image,text\nno.png,A\nm.csv,B\nnone.png,C\n", "row 1: no file .*no.png; row 3"),
        ("m.csv", "image,text\nm.csv\n", "row 1 has another number of cells"),
        ("m.csv", "", "no rows"),
        ("m.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("m.jsonl", "[1]\n", "line 1 is a list"),
        ("m.jsonl", '{"text": "a"}\n{"text": "  "}\n', "row 2: .*empty"),
        ("m.parquet", "no parquet", "m.parquet"),
    ],
)
def test_errors_of_a_manifest(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        load("folder", folder=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_broken_utf8_in_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(DataError, match="utf-8"):
        load("folder", folder=tmp_path / "m.csv")
