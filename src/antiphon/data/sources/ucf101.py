"""Actions of people in videos from the web: UCF101's first fifteen classes, as vectors of frames (arXiv 1212.0402).

Read from `$ANTIPHON_DATA/ucf101_vgg`: `features.npy`, `(clips, 8, 256)` in float16, beside an `index.tsv`. They are the
clips that the official split 1 trains on, each as eight frames at even times, seen by VGG16 and mapped to the principal
components of the base classes' clips. There are no pixels.

Clips are cut from longer videos: a group is what one video gave, four to seven clips of one person and place. The index
does not say the group, but its clips come in the official order, in which groups follow each other.
"""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
from datasets import Dataset, List, Value

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "actions in videos from the web (UCF101, first 15 classes), as vectors of eight frames"
LICENCE = "for research (UCF101); none stated of the vectors: for evaluation only"

FIRST = 8
"""The first group that is for training in the official split 1; the last is the 25th."""
GROUPS = {
    "ApplyEyeMakeup": "575566575554655677", "ApplyLipstick": "444454455544557454",
    "Archery": "577747475474745767", "BabyCrawling": "465466466565747466",
    "BalanceBeam": "444445444644454544", "BandMarching": "777765677467665667",
    "BaseballPitch": "775547476775447777", "Basketball": "455554576457767647",
    "BasketballDunk": "555554776764644554", "BenchPress": "774577765776747577",
    "Biking": "646646455664775474", "Billiards": "675777775577475467",
    "BlowDryHair": "747764554554564744", "BlowingCandles": "444464444444444446",
    "BodyWeightSquats": "475444444444644457",
}  # fmt: skip
"""How many clips the official list (trainlist01) has of each group, from `FIRST` on."""
_KINDS = dict.fromkeys(("id", "text", "action", "part", "group"), "text")


def load() -> Dataset:
    """Rows of `id, text, action, part, group, video`; `video` holds a vector for each frame, in their order.

    `text` is the action in words ("apply eye makeup"), `part` says whether its class is base or novel: the latter had
    no part in the principal components. Split by `group`, and no video is on two sides.

    Raises:
        DataError: the set is not there, or not as it should be.
    """
    folder = data_folder("ucf101_vgg")
    index = read_tsv(folder / "index.tsv", ("row", "video", "action", "group"))
    frames = _frames(folder / "features.npy", len(index))
    ids = [row["video"] for row in index]
    if [row["row"] for row in index] != [str(at) for at in range(len(index))] or ids != sorted(set(ids)):
        raise DataError(f"{folder / 'index.tsv'}: its rows are not numbered from 0 on, in the order of their videos")
    groups = _groups([row["action"] for row in index], str(folder / "index.tsv"))
    rows = [
        {
            "id": row["video"],
            "text": words(row["action"]),
            "action": row["action"],
            "part": row["group"],
            "group": group,
        }
        for row, group in zip(index, groups, strict=True)
    ]
    made = table(rows, _KINDS, description=DESCRIPTION, licence=LICENCE)
    # the array stays on disk until a row is asked for
    count, width = frames.shape[1:]
    cells = pa.FixedSizeListArray.from_arrays(pa.array(frames.reshape(-1)), width)
    video = pa.FixedSizeListArray.from_arrays(cells, count)
    kind = List(List(Value("float16"), length=width), length=count)
    return made.add_column("video", cast(Any, video), feature=kind)


def words(action: str) -> str:
    """ "ApplyEyeMakeup" is "apply eye makeup"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", action).lower()


def _frames(path: Any, clips: int) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path}: no such file; wanted the vectors of the clips that stand in index.tsv")
    try:
        frames = cast(np.ndarray, np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not readable as a NumPy array ({' '.join(str(error).split())[:80]})") from None
    if frames.dtype != np.float16 or frames.ndim != 3 or len(frames) != clips:
        raise DataError(
            f"{path}: {frames.dtype} of shape {frames.shape}, index.tsv has {clips} clips: wanted float16 "
            f"({clips}, frames, numbers)"
        )
    return frames


def _groups(actions: list[str], path: str) -> list[str]:
    """The group of each clip, by its place among those of its action."""
    of = {
        name: [FIRST + at for at, digit in enumerate(digits) for _ in range(int(digit))]
        for name, digits in GROUPS.items()
    }
    for name in dict.fromkeys(actions):
        if len(of.get(name, [])) != actions.count(name):
            raise DataError(
                f"{path}: {actions.count(name)} clips of {name!r}, the official list has {len(of.get(name, []))}: "
                "wanted those of its training split 1, all of them"
            )
    left = {name: iter(numbers) for name, numbers in of.items()}
    return [f"{name} g{next(left[name]):02}" for name in actions]
