"""Clip art: titles, keywords, and drawings that are left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.data.cache import DataError, cache_folder
from antiphon.data.sources import load
from antiphon.decode import decode_image


def drawing(title: str, *keywords: str, extra: str = "", description: str = "") -> str:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    names = {
        "": "http://www.w3.org/2000/svg",
        ":dc": "http://purl.org/dc/elements/1.1/",
        ":rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        ":cc": "http://web.resource.org/cc/",
    }
    spaces = " ".join(f'xmlns{prefix}="{name}"' for prefix, name in names.items())
    author = "<dc:creator><cc:Agent><dc:title>An Author</dc:title></cc:Agent></dc:creator>"
    said = f"<dc:description>{description}</dc:description>" if description else ""
    work = f"<dc:title>{title}</dc:title>{said}<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>{author}"
    metadata = f"<metadata><rdf:RDF><cc:Work>{work}</cc:Work></rdf:RDF></metadata>"
    return f'<?xml version="1.0"?><svg {spaces} width="9" height="9">{metadata}{extra}</svg>'


def test_words_and_what_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "usr/share/openclipart/svg"
    (root / "food").mkdir(parents=True)
    (root / "food/apple.svg").write_text(
        drawing("Clipart by A B - red_apple", "fruit", "hash", "red apple", "0x12ab", "fruit")
    )
    for number in range(3):
        (root / f"food/icon{number}.svg").write_text(drawing("Icon Theme", f"icon {number}"))
    (root / "mute.svg").write_text(drawing("", "unsorted"))
    (root / "plain.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (root / "spy.svg").write_text(drawing("Spy", extra='<image href="/etc/passwd"/>'))
    (root / "latin.svg").write_bytes(b"<svg>\xff</svg>")
    (root / "link.svg").symlink_to(root / "food/apple.svg")
    rows = load("clipart", folder=tmp_path, shared=2)
    assert list(rows["id"]) == ["food/apple", "food/icon0", "food/icon1", "food/icon2"]
    apple, icon = rows[0], rows[1]
    assert (apple["text"], apple["title"], apple["keywords"]) == (
        "red apple, fruit",
        "red apple",
        "fruit, red apple",
    )
    assert (icon["text"], icon["title"], icon["top"]) == ("icon 0", None, "food")
    said = rows.info.description
    for words in (
        "4 drawings",
        "2 drawings that are not self-contained",
        "2 drawings without words",
        "1 links",
    ):
        assert words in said
    assert load("clipart", folder=tmp_path, shared=3)[1]["text"] == "Icon Theme, icon 0"


def test_at_most_so_many_drawings_of_a_text(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"star{number}.svg").write_text(drawing("Star"))
    rows = load("clipart", folder=tmp_path, most=3)
    assert list(rows["id"]) == ["star0", "star1", "star2"]
    assert "2 drawings beyond the most of one text" in rows.info.description


def test_addresses_are_no_keywords(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text(drawing("Frog", "hash(0x869b4d8)", "frog", "green", "HASH(0x86A0bb0)"))
    (tmp_path / "b.svg").write_text(drawing("", "hash(0x869b4d8)"))
    rows = load("clipart", folder=tmp_path)
    assert list(rows["keywords"]) == ["frog, green"]
    assert list(rows["text"]) == ["Frog, green"]
    assert "1 drawings without words, 3 keywords that are addresses" in rows.info.description


def test_a_title_and_its_description_stand_in_one_line_without_the_keywords(tmp_path: Path) -> None:
    for name, title, said in (
        ("a", "Frog", "A green  frog."),
        ("b", "Lime", "lime"),
        ("c", "Icon", "Part of a set"),
        ("d", "Icon", "Part of a set"),
        ("e", "Icon", "A door"),
    ):
        (tmp_path / f"{name}.svg").write_text(drawing(title, "word", description=said))
    rows = load("clipart", folder=tmp_path, shared=1)
    assert list(rows["text_title"]) == ["Frog. A green frog.", "Lime", None, None, "A door"]
    assert list(rows["text"])[:2] == ["Frog, word", "Lime, word"]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        load("clipart", folder=tmp_path / "no")
    with pytest.raises(DataError, match="no SVG drawings"):
        load("clipart", folder=tmp_path)


@pytest.mark.data
def test_the_package() -> None:
    folder = cache_folder() / "debian/openclipart-svg"
    if not folder.is_dir():
        pytest.skip("openclipart-svg is not in the cache: antiphon data get clipart")
    rows = load("clipart", folder=folder)
    assert len(rows) > 7000
    assert "185 keywords that are addresses" in rows.info.description
    assert not any("hash(" in words for words in rows["keywords"])
    for row in rows.select(range(0, len(rows), 100)):
        assert max(decode_image(row["image"], size=64).size) == 64
