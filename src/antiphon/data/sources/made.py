"""Made rows: a coloured shape, its name, and a melody that tells both; for tests, first steps and small
machines.

The shape decides the rhythm and the colour decides the pitches, so sound, picture and text of a concept can
be matched, also for a combination that was never trained. Rows of a concept differ in place, size, turn and
noise.
"""

from __future__ import annotations

import io
import math
import wave

import numpy as np
from datasets import Dataset
from PIL import Image as Pictures
from PIL import ImageDraw

from antiphon.data.table import table

DESCRIPTION = "generated pictures, names and melodies of coloured shapes, with known pairs"
LICENCE = "none needed: the rows are generated"

COLOURS = {
    "red": (215, 45, 45), "green": (45, 160, 65), "blue": (50, 85, 215), "yellow": (235, 205, 45),
    "purple": (140, 60, 175), "orange": (240, 140, 35), "grey": (130, 130, 130), "pink": (245, 150, 190),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
_KINDS = {"id": "text", "image": "image", "text": "text", "speech": "sound"} | {
    "concept": "text", "label": "number", "shape": "text", "colour": "text",
}  # fmt: skip
_RHYTHMS = ((1, 1, 1, 1), (2, 2), (1, 1, 2), (2, 1, 1), (1, 2, 1), (4,))
_BEAT = 0.12  # seconds
_LOWEST = 220.0  # Hz; colours are three semitones apart


def load(rows: int = 512, seed: int = 0, *, size: int = 64, rate: int = 16_000, noise: float = 0.02) -> Dataset:
    """Rows of `id, image, text, speech, concept, label, shape, colour`; files are bytes inside the rows.

    Row i is the same whatever `rows` is, and concepts take turns: 48 rows hold each of the 48 once.

    Args:
        rows: how many.
        seed: of the variation within a concept.
        size: side of the pictures, in pixels.
        rate: samples per second of the melodies (about half a second each).
        noise: standard deviation of the noise in the sound, against a full scale of one.
    """
    made = [_row(index, seed, size, rate, noise) for index in range(rows)]
    return table(made, _KINDS, description=DESCRIPTION, licence=LICENCE)


def _row(index: int, seed: int, size: int, rate: int, noise: float) -> dict[str, object]:
    rng = np.random.default_rng([seed, index])
    label = index % (len(SHAPES) * len(COLOURS))
    shape, colour = SHAPES[label % len(SHAPES)], list(COLOURS)[label // len(SHAPES)]
    name = f"{colour} {shape}"
    return {
        "id": f"{index:06d}",
        "image": {"bytes": _picture(shape, colour, size, rng), "path": None},
        "text": f"{'an' if colour[0] in 'aeiou' else 'a'} {name}",
        "speech": {"bytes": _melody(shape, colour, rate, noise, rng), "path": None},
        "concept": name,
        "label": label,
        "shape": shape,
        "colour": colour,
    }


def _picture(shape: str, colour: str, size: int, rng: np.random.Generator) -> bytes:
    picture = Pictures.new("RGB", (size, size), tuple(int(v) for v in rng.integers(225, 256, 3)))
    radius = size * rng.uniform(0.22, 0.36)
    x, y = rng.uniform(radius, size - radius, 2)
    shade = tuple(int(v) for v in np.clip(np.array(COLOURS[colour]) + rng.integers(-15, 16, 3), 0, 255))
    _draw(ImageDraw.Draw(picture), shape, (x, y), radius, rng.uniform(-0.25, 0.25), shade)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _draw(
    pen: ImageDraw.ImageDraw,
    shape: str,
    at: tuple[float, float],
    radius: float,
    turn: float,
    fill: tuple[int, ...],
) -> None:
    box = [at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius]
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "ring":
        pen.ellipse(box, outline=fill, width=max(2, round(radius * 0.3)))
    else:
        pen.polygon([_corner(at, radius * reach, turn + angle) for reach, angle in _corners(shape)], fill=fill)


def _corners(shape: str) -> list[tuple[float, float]]:
    """Corners as (distance from the middle, angle in radians)."""
    if shape in ("triangle", "square"):
        count = 3 if shape == "triangle" else 4
        return [(1.0, 2 * math.pi * (i + 0.5 * (count == 4)) / count) for i in range(count)]
    if shape == "star":
        return [(1.0 if i % 2 == 0 else 0.42, math.pi * i / 5) for i in range(10)]
    arm = math.atan2(0.28, 0.96)  # a cross: four arms, each with two outer corners and one inner
    quarter = math.pi / 2
    return [c for i in range(4) for c in ((1, i * quarter - arm), (1, i * quarter + arm), (0.4, (i + 0.5) * quarter))]


def _corner(at: tuple[float, float], radius: float, angle: float) -> tuple[float, float]:
    return at[0] + radius * math.sin(angle), at[1] - radius * math.cos(angle)


def _melody(shape: str, colour: str, rate: int, noise: float, rng: np.random.Generator) -> bytes:
    pitch = _LOWEST * 2 ** (list(COLOURS).index(colour) * 3 / 12 + rng.normal(0, 0.02))
    beat = _BEAT * rng.uniform(0.95, 1.05)
    notes = [
        _note(pitch * 2 ** (7 / 12 * (i % 2)), beats * beat, rate)
        for i, beats in enumerate(_RHYTHMS[SHAPES.index(shape)])
    ]
    edges = [np.zeros(int(rng.integers(0, rate // 20))) for _ in range(2)]
    sound = np.concatenate([edges[0], *notes, edges[1]]) * rng.uniform(0.3, 0.6)
    sound = sound + rng.normal(0, noise, len(sound))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _note(pitch: float, seconds: float, rate: int) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.01)  # 10 ms, against clicks
    tone: np.ndarray = fade * (np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time)) / 1.3
    return tone
