"""Sound events: small sets in the layout of the real ones, and the real ones where they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.events import contiguous


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    esc = [(f"audio/{label}_{fold}-{take}-A.ogg", kind, fold) for label, kind in enumerate(("rain", "dog bark"))
           for fold in (1, 2) for take in (7, 8)]  # fmt: skip
    animals = [
        (f"audio/{name}/{at:04d}.ogg", name) for name in ("Kedi-Part1", "Kedi-Part2", "Kopek") for at in range(9)
    ]
    for folder, head, lines in (("esc10", "file\tcategory\tfold", esc), ("animals", "file\tlabel", animals)):
        (tmp_path / folder).mkdir()
        body = "\n".join("\t".join(map(str, line)) for line in reversed(lines))
        (tmp_path / folder / "index.tsv").write_text(f"{head}\n{body}\n", encoding="utf-8")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return tmp_path


def test_rows(sets: Path) -> None:
    rows = load("events", folds=2, gap=1)
    assert rows.column_names == ["id", "audio", "text", "kind", "fold", "set"]
    assert list(rows["id"]) == sorted(rows["id"])
    assert len(set(rows["id"])) == len(rows) == 8 + 3 * 8
    assert Counter(rows["kind"]) == {"rain": 4, "dog bark": 4 + 8, "cat": 16}
    first = rows[0]
    assert (first["id"], first["kind"], first["fold"]) == ("animals/Kedi-Part1/0000", "cat", 1)
    assert first["text"] == "a sound of cat"
    assert first["audio"]["path"] == str(sets / "animals/audio/Kedi-Part1/0000.ogg")


def test_the_animals_folds_are_blocks_with_a_gap_between(sets: Path) -> None:
    rows = load("events", sets=["animals"], kinds=["cat"], folds=2, gap=1)
    part = [(row["id"][-4:], row["fold"]) for row in rows if "Part1" in row["id"]]
    assert part == [(f"{at:04d}", 1) for at in range(4)] + [(f"{at:04d}", 2) for at in range(5, 9)]


def test_so_many_of_each_kind_in_each_fold(sets: Path) -> None:
    rows = load("events", each=3, folds=2, gap=1)
    found = Counter(zip(rows["kind"], rows["fold"], strict=True))
    assert found == {("rain", 1): 2, ("rain", 2): 2} | {
        (kind, fold): 3 for kind in ("cat", "dog bark") for fold in (1, 2)
    }
    assert [row["id"] for row in rows if row["kind"] == "cat" and row["fold"] == 1] == [
        f"animals/Kedi-Part1/{at:04d}" for at in range(3)
    ]


def test_blocks() -> None:
    assert contiguous(8, 2, 0) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert contiguous(9, 3, 2) == [1, None, None, 2, None, None, 3, 3, 3]
    with pytest.raises(DataError, match="5 clips do not fill 2 folds with 2 left out"):
        contiguous(5, 2, 2)


def test_what_is_not_there_is_said(sets: Path) -> None:
    with pytest.raises(DataError, match="no set of sound events birds: there are esc10, animals"):
        load("events", sets=["birds"])
    with pytest.raises(DataError, match="no sounds of 'lion': there are cat, dog bark, rain"):
        load("events", kinds=["rain", "lion"], folds=2, gap=0)
    (sets / "esc10" / "index.tsv").write_text("file\tcategory\nx\train\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column fold"):
        load("events", sets=["esc10"])
    (sets / "animals" / "index.tsv").write_text("file\tlabel\naudio/Fil/1.ogg\tFil\n", encoding="utf-8")
    with pytest.raises(DataError, match="label 'Fil' is none of Aslan"):
        load("events", sets=["animals"])
    (sets / "esc10" / "index.tsv").unlink()
    with pytest.raises(DataError, match="no such file"):
        load("events", sets=["esc10"])


@pytest.mark.data
def test_the_real_sets() -> None:
    try:
        rows = load("events")
    except DataError as error:
        pytest.skip(str(error))
    folds: dict[str, set[int]] = {}
    for row in rows:
        assert Path(row["audio"]["path"]).is_file()
        if row["set"] == "esc10":  # the source recording is the number behind the fold
            folds.setdefault(row["id"].split("-")[1], set()).add(row["fold"])
    assert len(set(rows["kind"])) == 19
    assert max(len(found) for found in folds.values()) == 1
