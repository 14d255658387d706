"""Pictures that move: each of a few pictures on a coloured ground, in ten motions that are five and their reverses.

The pictures are Tux Paint's stamps (see `stamps`) or generated shapes (see `made`); the motion is rendered. A motion
and its reverse have the same frames in opposite order, so that no frame, and no mean over frames, tells them apart.
The videos are animated WebP files, without loss; they are drawn once, into the cache.
"""

from __future__ import annotations

import csv
import hashlib
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from filelock import FileLock
from PIL import Image

from antiphon.data.cache import DataError, cache_folder
from antiphon.data.sources import made, stamps
from antiphon.data.table import table
from antiphon.decode import decode_image

DESCRIPTION = "pictures that move in ten ways, five and their reverses, as short videos with texts"
LICENCE = "that of the pictures: GPL-2 (stamps), or none needed (made)"

REVERSES = {
    "moving to the left": "moving to the right", "moving up": "moving down", "growing": "shrinking",
    "turning clockwise": "turning anticlockwise", "appearing": "vanishing",
}  # fmt: skip
REVERSES |= {back: ahead for ahead, back in REVERSES.items()}
NOUNS = {
    "animals": "an animal", "food": "food", "household": "a household thing", "vehicles": "a vehicle",
    "clothes": "clothes", "plants": "a plant",
}  # fmt: skip
"""The stamps' folders that are taken, and what a text calls them."""
MILLISECONDS = 100
"""That a frame is shown."""
_COLUMNS = ("id", "video", "text", "reverse", "name", "kind", "motion", "picture")
_KINDS = dict.fromkeys(_COLUMNS, "text") | {"video": "video"}


def load(
    pictures: str = "stamps",
    *,
    each: int = 3,
    frames: int = 6,
    size: int = 96,
    motions: Sequence[str] = tuple(REVERSES),
    count: int = 48,
    folder: str | Path | None = None,
) -> Dataset:
    """Rows of `id, video, text, reverse, name, kind, motion, picture`.

    `text` is "an animal moving to the left", `reverse` the text of the same film shown backwards, `name` the picture's
    own caption, `picture` its id: split by that, and no picture is on two sides.

    Args:
        pictures: "stamps" or "made".
        each: how many of the motions a picture has, drawn by its id.
        frames: of a video.
        size: side of a frame, in pixels.
        motions: of `REVERSES`, each with its reverse.
        count: how many pictures, with `made`.
        folder: the unpacked stamps, as of the source `stamps`.

    Raises:
        DataError: no such pictures or motions, or the stamps cannot be had.
    """
    alone = sorted(set(motions) - {REVERSES.get(motion) for motion in motions})
    if pictures not in ("stamps", "made") or alone or not 0 < each <= len(motions) or frames < 2:
        raise DataError(
            f"moving: pictures={pictures!r}, each={each}, frames={frames}, motions {', '.join(alone) or 'all'} without "
            f"their reverse: wanted stamps or made, and motions of {', '.join(REVERSES)}"
        )
    made_of = [pictures, each, frames, size, *motions, count if pictures == "made" else folder]
    home = cache_folder() / "moving" / hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            beside = home.with_name(f".{home.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            _draw_all(beside, list(_pictures(pictures, count, folder)), each, frames, size, motions)
            beside.rename(home)
    with (home / "index.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row | {"video": home / row["video"]} for row in csv.DictReader(file, delimiter="\t")]
    return table(rows, _KINDS, description=DESCRIPTION, licence=LICENCE)


def _pictures(pictures: str, count: int, folder: str | Path | None) -> Iterator[dict[str, Any]]:
    """Dicts of `id`, `image`, `name`, `kind` and `noun`."""
    if pictures == "made":
        for row in made.load(count):
            noun = f"a {row['shape']}"
            yield {"id": row["id"], "image": row["image"], "name": row["text"], "kind": row["shape"], "noun": noun}
        return
    for row in stamps.load(folder):
        if row["top"] in NOUNS:
            kind = row["top"]
            yield {"id": row["id"], "image": row["image"], "name": row["text"], "kind": kind, "noun": NOUNS[kind]}


def _draw_all(
    home: Path, pictures: list[dict[str, Any]], each: int, frames: int, size: int, motions: Sequence[str]
) -> None:
    rows = []
    for picture in pictures:
        seed = hashlib.blake2b(picture["id"].encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(seed, "big"))
        sprite = _sprite(picture["image"], round(0.45 * size))
        for motion in sorted(rng.permutation(list(motions))[:each].tolist()):
            name = f"{picture['id'].replace('/', '_')}-{motion.replace(' ', '_')}"
            film = render(sprite, motion, frames, size, rng)
            film[0].save(home / f"{name}.webp", save_all=True, append_images=film[1:], duration=MILLISECONDS,
                         lossless=True, method=0)  # fmt: skip
            row = {"id": name, "video": f"{name}.webp", "text": f"{picture['noun']} {motion}"}
            row |= {"reverse": f"{picture['noun']} {REVERSES[motion]}", "motion": motion, "picture": picture["id"]}
            rows.append(row | {"name": picture["name"], "kind": picture["kind"]})
    with (home / "index.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def _sprite(image: Any, side: int) -> Image.Image:
    """The picture with its white ground made see-through, its longer side as asked."""
    picture = decode_image(image, size=side)
    ground = np.asarray(picture).min(axis=2) > 235
    alpha = Image.fromarray(np.where(ground, 0, 255).astype(np.uint8))
    picture.putalpha(alpha)
    return picture


def render(sprite: Image.Image, motion: str, frames: int, size: int, rng: np.random.Generator) -> list[Image.Image]:
    """The frames of a motion; those of its reverse are the same ones backwards."""
    ahead = motion in list(REVERSES)[: len(REVERSES) // 2]
    forward = motion if ahead else REVERSES[motion]
    ground = _ground(size, rng)
    at = rng.uniform(0.4, 0.6, 2)
    film = [_frame(sprite, forward, step / (frames - 1), at, ground) for step in range(frames)]
    return film if ahead else film[::-1]


def _frame(sprite: Image.Image, motion: str, time: float, at: np.ndarray, ground: Image.Image) -> Image.Image:
    """One frame, `time` from 0 to 1."""
    x, y, scale, turn, solid = at[0], at[1], 1.0, 0.0, 1.0
    if motion == "moving to the left":
        x = 0.8 - 0.6 * time
    elif motion == "moving up":
        y = 0.8 - 0.6 * time
    elif motion == "growing":
        scale = 0.4 + 0.9 * time
    elif motion == "turning clockwise":
        turn = -150.0 * time  # Pillow turns anticlockwise
    else:
        solid = 0.05 + 0.95 * time
    width, height = (max(1, round(side * scale)) for side in sprite.size)
    moved = sprite.resize((width, height), Image.Resampling.BILINEAR).rotate(
        turn, Image.Resampling.BILINEAR, expand=True
    )
    moved.putalpha(moved.getchannel("A").point(lambda value: round(value * solid)))
    frame = ground.copy()
    left, top = (math.floor(middle * ground.width - side / 2) for middle, side in zip((x, y), moved.size, strict=True))
    frame.paste(moved, (left, top), moved)
    return frame


def _ground(size: int, rng: np.random.Generator) -> Image.Image:
    """A slope between two pale colours."""
    first, second = rng.uniform(150, 250, (2, 3))
    slope = np.linspace(0, 1, size)[:, None, None] * np.ones((1, size, 1))
    return Image.fromarray((first + (second - first) * slope).astype(np.uint8))
