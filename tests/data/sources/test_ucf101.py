"""UCF101's vectors of frames: rows of an index beside an array, groups by the official counts, and the real set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from antiphon.data.cache import DataError
from antiphon.data.checking import decodable
from antiphon.data.pairs import Pairs, splits
from antiphon.data.sources import load
from antiphon.data.sources.ucf101 import GROUPS, words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All clips of two actions, each frame's first number being its row and its second its place."""
    home = tmp_path / "ucf101_vgg"
    home.mkdir()
    lines = ["row\tvideo\tlabel\taction\tsplit\tgroup"]
    for action, part in (("BalanceBeam", "base"), ("BlowingCandles", "novel")):
        for _ in range(sum(map(int, GROUPS[action]))):
            lines.append(f"{len(lines) - 1}\tv_{len(lines) - 1:06}\t0\t{action}\ttrain\t{part}")
    (home / "index.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    frames = np.zeros((len(lines) - 1, 3, 4), np.float16)
    frames[:, :, 0], frames[:, :, 1] = np.arange(len(frames))[:, None], np.arange(3)
    np.save(home / "features.npy", frames)
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    return home


def test_rows_in_their_order_with_groups_by_the_counts(folder: Path) -> None:
    rows = load("ucf101")
    assert len(rows) == 77 + 76
    found = rows.with_format("torch")[80]["video"]
    assert torch.equal(found, torch.tensor([[80.0, at, 0, 0] for at in range(3)]))
    assert (rows[0]["text"], rows[-1]["text"]) == ("balance beam", "blowing candles")
    assert (rows[0]["part"], rows[-1]["part"]) == ("base", "novel")
    # the official list: groups 8 to 12 of BalanceBeam have four clips each, group 13 five
    assert (
        rows["group"][:24]
        == [f"BalanceBeam g{at:02}" for at in (8, 9, 10, 11, 12) for _ in range(4)] + ["BalanceBeam g13"] * 4
    )
    assert len(set(rows["group"])) == 36
    assert decodable(rows) == ({"text": 153, "video": 153}, [])


def test_no_group_is_on_two_sides(folder: Path) -> None:
    parts = splits(Pairs(source="ucf101", columns=("video",), split_by="group"), 0)
    groups = [set(part["group"]) for part in parts.values()]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 36
    one = parts["test"].with_format("torch")[5]
    assert int(one["video"][0, 0]) == int(str(one["id"])[2:])  # vectors stay with their rows


def test_words() -> None:
    assert [words(name) for name in ("ApplyEyeMakeup", "YoYo", "Biking")] == ["apply eye makeup", "yo yo", "biking"]


def test_what_is_not_as_it_should_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = folder / "index.tsv"
    text = index.read_text(encoding="utf-8")
    index.write_text(text.replace("\t76\t", "\t99\t").replace("76\tv_000076", "99\tv_000076"), encoding="utf-8")
    with pytest.raises(DataError, match="not numbered from 0 on"):
        load("ucf101")
    index.write_text(text.replace("BalanceBeam", "Basketball"), encoding="utf-8")
    with pytest.raises(DataError, match="77 clips of 'Basketball', the official list has 99"):
        load("ucf101")
    index.write_text(text, encoding="utf-8")
    np.save(folder / "features.npy", np.zeros((5, 3, 4), np.float32))
    with pytest.raises(DataError, match=r"float32 of shape \(5, 3, 4\), index.tsv has 153 clips"):
        load("ucf101")
    (folder / "features.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="not readable as a NumPy array"):
        load("ucf101")
    (folder / "features.npy").unlink()
    with pytest.raises(DataError, match=r"features.npy: no such file"):
        load("ucf101")
    monkeypatch.delenv("ANTIPHON_DATA")
    with pytest.raises(DataError, match="set ANTIPHON_DATA") as raised:
        load("ucf101")
    assert "\n" not in str(raised.value)


@pytest.mark.data
def test_the_real_set_and_that_its_groups_begin_where_the_counts_say() -> None:
    """Neighbours of one group look alike, neighbours of two groups do not."""
    try:
        rows = load("ucf101")
    except DataError as error:
        pytest.skip(str(error))
    assert len(rows) == 1442
    assert sum(part == "base" for part in rows["part"]) == 985
    found = torch.stack([row["video"].mean(0) for row in rows.with_format("torch", columns=["video"])])
    found = normalize(found - found.mean(0), dim=1)
    near = (found[1:] * found[:-1]).sum(1)
    same = torch.tensor([one == other for one, other in zip(rows["group"][1:], rows["group"][:-1], strict=True)])
    assert near[same].median() > 0.9
    assert (near[~same] > near[same].median()).float().mean() < 0.05
