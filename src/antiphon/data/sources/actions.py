"""Actions of people on real video: the FIR-Image-Action data set, a camera in the ceiling.

Read from `$ANTIPHON_DATA/fir_action`: an `index.tsv` beside `clips`, each a JPEG of 16 frames in four rows of four.
They are written once as video files (Motion JPEG in AVI) into the cache, which needs PyAV, and are read as any video.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from datasets import Dataset
from filelock import FileLock

from antiphon.data.cache import DataError, cache_folder, data_folder
from antiphon.data.table import table
from antiphon.decode import BadInput, decode_image

DESCRIPTION = "actions of people seen from the ceiling, as short videos with texts"
LICENCE = "none stated: for evaluation only"

TEXTS = {
    "walk": "a person walks", "standup": "a person stands up", "sitdown": "a person sits down",
    "sit": "a person sits", "falling": "a person falls down", "falled": "a person lies there after a fall",
    "lying": "a person lies down", "sleeping": "a person sleeps", "active": "a person moves about",
}  # fmt: skip
REVERSES = {"standup": "sitdown", "sitdown": "standup"}
GRID = 4
_KINDS = {"id": "text", "video": "video", "text": "text", "reverse": "text", "action": "text", "recording": "text"}


def load(actions: Sequence[str] = tuple(TEXTS)) -> Dataset:
    """Rows of `id, video, text, reverse, action, recording`; `reverse` is None where an action has none.

    Split by `recording`, and no person in a room is on two sides.

    Args:
        actions: only these, of `TEXTS`.

    Raises:
        DataError: no such action, the set is not there or not readable, or PyAV is absent.
    """
    strangers = sorted(set(actions) - set(TEXTS))
    if strangers or not actions:
        raise DataError(f"no action {', '.join(strangers) or '(none given)'}: there are {', '.join(TEXTS)}")
    folder, rows = _index()
    home = cache_folder() / "actions" / "fir"
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            beside = home.with_name(f".{home.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            for row in rows:
                write_video(beside / f"{_name(row)}.avi", frames_of(folder / row["file"]), float(row["seconds"]))
            beside.rename(home)
    made = [
        {
            "id": _name(row),
            "video": home / f"{_name(row)}.avi",
            "text": TEXTS[row["action"]],
            "reverse": TEXTS[REVERSES[row["action"]]] if row["action"] in REVERSES else None,
            "action": row["action"],
            "recording": row["recording"],
        }
        for row in rows
        if row["action"] in actions
    ]
    return table(made, _KINDS, description=DESCRIPTION, licence=LICENCE)


def frames_of(grid: Path) -> np.ndarray:
    """The 16 frames `(16, H, W, 3)` of a JPEG, row by row.

    Raises:
        DataError: not a readable picture.
    """
    try:
        pixels = np.asarray(decode_image(grid))
    except BadInput as error:
        raise DataError(str(error)) from None
    height, width = (side // GRID for side in pixels.shape[:2])
    cells = pixels[: GRID * height, : GRID * width].reshape(GRID, height, GRID, width, 3)
    return np.ascontiguousarray(cells.swapaxes(1, 2)).reshape(GRID * GRID, height, width, 3)


def write_video(path: Path, frames: np.ndarray, seconds: float) -> None:
    """Write frames `(T, H, W, 3)` as Motion JPEG that lasts so long.

    Raises:
        DataError: PyAV is absent.
    """
    try:
        import av
    except ImportError:
        raise DataError("actions are written as videos by PyAV: pip install av") from None
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(len(frames) / seconds).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuvj444p", {"qscale": "2", "q": "2"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def _name(row: dict[str, str]) -> str:
    return Path(row["file"]).stem


def _index() -> tuple[Path, list[dict[str, str]]]:
    folder = data_folder("fir_action")
    path = folder / "index.tsv"
    if not path.is_file():
        raise DataError(f"{path}: no such file; the set is an index.tsv beside a folder of clips")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lacking = [name for name in ("file", "action", "recording", "seconds") if not rows or name not in rows[0]]
    if lacking:
        raise DataError(f"{path}: no column {', '.join(lacking)}, or no rows")
    return folder, [row for row in rows if row["action"] in TEXTS]
