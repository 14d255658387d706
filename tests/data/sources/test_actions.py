"""Actions: grids of frames become video files that are read as any, and the real set where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.actions import frames_of
from antiphon.decode import decode_video


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "data" / "fir_action"
    (home / "clips").mkdir(parents=True)
    lines = ["file\taction\trecording\tstart_frame\tend_frame\tseconds\tthermal"]
    for at, action in enumerate(("standup", "walk", "sitdown")):
        grid = np.zeros((4 * 24, 4 * 36, 3), np.uint8)
        for cell in range(16):
            row, column = divmod(cell, 4)
            grid[row * 24 : (row + 1) * 24, column * 36 : (column + 1) * 36] = 16 * cell
        Image.fromarray(grid).save(home / "clips" / f"r{at}_00.jpg", quality=95)
        lines.append(f"clips/r{at}_00.jpg\t{action}\tr{at}\t0\t16\t2.0\t")
    (home / "index.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setenv("ANTIPHON_DATA", str(home.parent))
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    return home


def test_rows_and_their_films(folder: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    rows = load("actions")
    assert list(rows["id"]) == ["r0_00", "r1_00", "r2_00"]
    assert list(rows["reverse"]) == ["a person sits down", None, "a person stands up"]
    film = decode_video(rows[0]["video"], 16).float().mean((1, 2, 3))
    assert np.allclose(film, 16 * np.arange(16), atol=6)
    (folder / "clips" / "r0_00.jpg").unlink()
    assert len(load("actions", actions=["walk"])) == 1  # the films are written once


def test_frames_stand_row_by_row(folder: Path) -> None:
    frames = frames_of(folder / "clips" / "r0_00.jpg")
    assert frames.shape == (16, 24, 36, 3)
    assert np.allclose(frames.mean((1, 2, 3)), 16 * np.arange(16), atol=3)


def test_what_cannot_be_had(folder: Path) -> None:
    with pytest.raises(DataError, match="no action hop: there are walk, standup"):
        load("actions", actions=["hop"])
    (folder / "clips" / "r1_00.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"r1_00\.jpg: not readable"):
        load("actions")
    (folder / "index.tsv").write_text("file\taction\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column"):
        load("actions")


@pytest.mark.data
def test_the_real_set() -> None:
    pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    try:
        rows = load("actions")
    except DataError as error:
        pytest.skip(str(error))
    assert len(rows) == 245
    assert len(set(rows["recording"])) == 17
    assert decode_video(rows[0]["video"], 8).shape == (8, 112, 149, 3)
