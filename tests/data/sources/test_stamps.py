"""Stamps: a small tree in the layout of the package, and the package itself where it is unpacked."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from antiphon.data.cache import DataError, cache_folder
from antiphon.data.sources import load
from antiphon.data.splits import split_by
from antiphon.decode import BadInput, decode_audio, decode_image, probe_seconds


def write(root: Path, **files: bytes | str) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    png, svg = file.getvalue(), '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    return write(
        tmp_path / "usr/share/tuxpaint/stamps",
        **{
            "animals/dogs/dog.png": png,
            "animals/dogs/dog.svg": svg,
            "animals/dogs/dog.txt": "A dog.\nfr.utf8=Un chien.\nx.utf8=\nbad\nru.utf8=\u041f\u0451\u0441.\n",
            "animals/dogs/dog.ogg": b"bark",
            "animals/dogs/dog.dat": "x",
            "animals/dogs/dog_desc_fr.ogg": b"1",
            "animals/dogs/dog_desc_ru.ogg": b"1",
            "animals/dogs/dog_desc.ogg": b"1",
            "animals/dogs/dog_desc_pt_BR.wav": b"1",
            "animals/dogs/dog_mirror.png": png,
            "food/pear.svg": svg,
            "food/pear.txt": "A pear.",
            "food/pear_desc_fr.ogg": b"1",
            "food/nothing.txt": "No picture.",
            "food/spy.svg": svg.replace("/>", '><image href="/etc/passwd"/></svg>'),
            "food/spy.txt": "A spy.",
        },
    )


def test_rows_columns_and_what_is_left_out(tree: Path, tmp_path: Path) -> None:
    for folder in (tree, tmp_path):
        rows = load("stamps", folder=folder, min_recordings=2)
        assert list(rows["id"]) == ["animals/dogs/dog", "food/pear"]
        assert rows.column_names == [
            "id",
            "image",
            "text",
            "concept",
            "category",
            "top",
            "sound",
            "speech_fr",
            "text_fr",
        ]
        dog, pear = rows
        assert dog["image"]["path"].endswith("dog.png")
        assert (dog["text"], dog["text_fr"], dog["category"], dog["top"]) == (
            "A dog.",
            "Un chien.",
            "animals/dogs",
            "animals",
        )
        assert dog["sound"]["path"].endswith("dogs/dog.ogg")
        assert dog["speech_fr"]["path"].endswith("dog_desc_fr.ogg")
        assert pear["image"]["path"].endswith("pear.svg")
        assert pear["sound"] is pear["text_fr"] is None
        said = rows.info.description
        for words in (
            "2 stamps", "1 captions without a picture", "1 pictures without a caption",
            "1 drawings that are not self-contained", "2 recordings in rarer languages",
        ):  # fmt: skip
            assert words in said


def test_english_recordings_are_the_default_ones(tree: Path) -> None:
    rows = load("stamps", folder=tree, min_recordings=1)
    assert {"speech_en", "speech_fr", "speech_ru", "text_ru"} <= set(rows.column_names)
    assert "text_en" not in rows.column_names
    assert rows[0]["speech_en"]["path"].endswith("dog_desc.ogg")
    assert rows[0]["text_ru"] == "\u041f\u0451\u0441."


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        load("stamps", folder=tmp_path / "no")
    with pytest.raises(DataError, match="holds no stamps"):
        load("stamps", folder=tmp_path)


@pytest.mark.data
def test_the_package() -> None:
    folder = cache_folder() / "debian/tuxpaint-stamps-default"
    if not folder.is_dir():
        pytest.skip("tuxpaint-stamps-default is not in the cache: antiphon data get stamps")
    rows = load("stamps", folder=folder)
    assert len(rows) == 948
    speech = [name for name in rows.column_names if name.startswith("speech_")]
    assert sorted(speech) == [f"speech_{xx}" for xx in ("be", "bg", "ca", "el", "es", "fr", "ro", "ru")]
    assert all(sum(item is not None for item in rows[name]) >= 600 for name in speech)
    parts = split_by(rows, "text", seed=0)
    assert not set(parts["train"]["text"]) & set(parts["test"]["text"])
    for row in rows.select(range(0, len(rows), 40)):
        assert decode_image(row["image"], size=64).mode == "RGB"
        for name in speech:
            if row[name] is not None:
                assert len(decode_audio(row[name])) == pytest.approx(16_000 * probe_seconds(row[name]), abs=2)
                content = Path(row[name]["path"]).read_bytes()
                with pytest.raises(BadInput):
                    decode_audio(content[: int(0.8 * len(content))])
