"""Pictures that move: a motion and its reverse have the same frames, and the files are drawn once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from antiphon.data.cache import DataError
from antiphon.data.checking import decodable
from antiphon.data.shards import write_shards
from antiphon.data.sources import load
from antiphon.data.sources.moving import REVERSES, render
from antiphon.decode import decode_video


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


MADE = {"pictures": "made", "count": 8, "size": 32, "frames": 4}


def test_rows() -> None:
    rows = load("moving", each=3, **MADE)
    assert rows.column_names == ["id", "video", "text", "reverse", "name", "kind", "motion", "picture"]
    assert list(rows["id"]) == sorted(set(rows["id"]))
    assert set(Counter(rows["picture"]).values()) == {3}
    for row in rows:
        assert row["text"] == f"a {row['kind']} {row['motion']}"
        assert row["reverse"] == f"a {row['kind']} {REVERSES[row['motion']]}"
        assert row["kind"] in row["name"]
        assert decode_video(row["video"], 4).shape == (4, 32, 32, 3)


def test_they_are_drawn_once(tmp_path, monkeypatch) -> None:
    first = load("moving", each=2, **MADE)
    monkeypatch.setattr("antiphon.data.sources.moving._draw_all", lambda *_: pytest.fail("drawn again"))
    assert load("moving", each=2, **MADE)[:] == first[:]


@pytest.mark.parametrize("motion", REVERSES)
def test_a_motion_moves_and_its_reverse_is_it_backwards(motion: str) -> None:
    sprite = Image.new("RGBA", (14, 8), (200, 30, 30, 255))
    film, back = (
        [np.asarray(frame) for frame in render(sprite, one, 5, 40, np.random.default_rng(3))]
        for one in (motion, REVERSES[motion])
    )
    assert all(np.array_equal(*pair) for pair in zip(film, back[::-1], strict=True))
    assert all(not np.array_equal(one, other) for one, other in pairwise(film))


def test_where_it_goes() -> None:
    """What the words say is what is seen."""
    sprite = Image.new("RGBA", (10, 10), (0, 0, 0, 255))

    def dark(motion: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        film = torch.stack([torch.from_numpy(np.array(frame)) for frame in
                            render(sprite, motion, 4, 40, np.random.default_rng(0))])  # fmt: skip
        ink = (film.float().mean(3) < 60).float()
        place = torch.arange(40.0)
        size = ink.sum((1, 2))
        return (ink.sum(1) * place).sum(1) / size, (ink.sum(2) * place).sum(1) / size, size

    x, y, _ = dark("moving to the left")
    assert (x.diff() < -3).all()
    assert y.diff().abs().max() < 1
    assert (dark("moving down")[1].diff() > 3).all()
    assert (dark("growing")[2].diff() > 5).all()
    assert (dark("shrinking")[2].diff() < -5).all()


def test_what_cannot_be_had() -> None:
    for wrong in ({"pictures": "photos"}, {"motions": ["growing"]}, {"motions": ["hopping", "growing", "shrinking"]},
                  {"each": 0}, {"frames": 1}):  # fmt: skip
        with pytest.raises(DataError, match="wanted stamps or made, and motions of moving to the left"):
            load("moving", **(MADE | wrong))


def test_videos_go_through_manifests_shards_and_checks(tmp_path) -> None:
    rows = load("moving", each=1, **MADE).select(range(3))
    lines = ["video,text", *(f"{row['video']['path']},{row['text']}" for row in rows)]
    (tmp_path / "mine.csv").write_text("\n".join(lines), encoding="utf-8")
    mine = load("folder", folder=tmp_path / "mine.csv")
    assert mine[0]["video"]["path"] == rows[0]["video"]["path"]
    ends = ("webp", "mp4", "avi")
    held = [
        {"bytes": Path(row["video"]["path"]).read_bytes(), "path": f"a.{end}"}
        for row, end in zip(rows, ends, strict=True)
    ]
    write_shards([row | {"video": film} for row, film in zip(rows, held, strict=True)], tmp_path / "shards")
    back = load("shards", folder=tmp_path / "shards")
    assert all(torch.equal(decode_video(one["video"], 4), decode_video(other["video"], 4))
               for one, other in zip(back, rows, strict=True))  # fmt: skip
    for some in (mine, back):
        counts, bad = decodable(some)
        assert (counts["video"], bad) == (3, [])
    (tmp_path / "broken.webp").write_bytes(b"RIFF....WEBP")
    (tmp_path / "mine.csv").write_text("video,text\nbroken.webp,a", encoding="utf-8")
    (fault,) = decodable(load("folder", folder=tmp_path / "mine.csv"))[1]
    assert fault["column"] == "video"


@pytest.mark.data
def test_real_stamps() -> None:
    try:
        rows = load("moving", each=1, size=32, frames=3)
    except DataError as error:
        pytest.skip(str(error))
    assert len(rows) > 400
    assert len(set(rows["text"])) == 60
