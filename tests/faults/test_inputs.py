"""One training over a folder of broken and hostile files: it ends, and each is told with its reason; and shards."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from antiphon.data.shards import INDEX
from antiphon.runs import read_jsonl
from tests.faults.processes import start
from tests.faults.trainings import train
from tests.test_decode import RATE, TONE, picture, sound, svg

STEPS = 6


def _bomb() -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = (head, b"IDAT" + zlib.compress(bytes(1000)))
    parts = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _three_hours(path: Path) -> None:
    size = 3 * 3600 * RATE * 2
    head = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data" + struct.pack("<I", size)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + head)
        file.truncate(44 + size)  # sparse: no disk is used


def _animation(path: Path) -> None:
    first, *others = (Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue"))
    first.save(path, save_all=True, append_images=others)


NOT_NUMBERS = np.where(np.arange(RATE) % 50 == 0, np.nan, np.where(np.arange(RATE) % 70 == 0, np.inf, TONE))
ENTITIES = b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + svg("<text>&b;</text>")
BAD = {
    "cut.ogg": (lambda: sound(kind="OGG")[:-500], ""),
    "cut.wav": (lambda: sound()[:-500], ""),
    "cut.png": (lambda: picture(size=(200, 200))[:-40], ""),
    "empty.wav": (lambda: b"", "the file is empty"),
    "empty.png": (lambda: b"", "the file is empty"),
    "no samples.wav": (lambda: sound(np.zeros(0, np.float32)), "no samples"),
    "not numbers.wav": (lambda: sound(NOT_NUMBERS.astype(np.float32), subtype="FLOAT"), "NaN"),
    "1 hertz.wav": (lambda: sound(rate=1), "1 samples per second"),
    "a sound.png": (sound, "PNG, JPEG"),
    "three hours.wav": (_three_hours, "10800.0 s"),
    "bomb.png": (_bomb, "the limit is 50000000"),
    "entities.svg": (lambda: ENTITIES, "entity"),
    "reaches outside.svg": (lambda: svg('<image href="/etc/passwd" width="9" height="9"/>'), "self-contained"),
    "huge.svg": (lambda: svg(size='width="1e9" height="1e9"'), "width"),
    "not utf-8.txt": (lambda: b"caf\xe9 au lait", "UTF-8"),
    "long.txt": (lambda: b"x" * 1_000_000, "1000000 characters"),
}
GOOD = {
    "eight channels.wav": lambda: sound(np.tile(TONE[:, None], (1, 8))),
    "384 kilohertz.wav": lambda: sound(rate=384_000),
    "a wav.mp3": sound,
    "a png.jpg": picture,
    "animation.gif": _animation,
    **{f"{at}.{kind}": make for at in range(4) for kind, make in (("wav", sound), ("png", picture), ("svg", svg))},
    **{f"{at}.txt": f"the number {at}".encode for at in range(8)},
}
COLUMNS = {".txt": "text", ".png": "image", ".jpg": "image", ".svg": "image", ".gif": "image"}


def _read_everything(folder: Path, run_folder: Path) -> None:
    import torch
    from torch import nn

    from antiphon.config import Config
    from antiphon.data.collate import by_column
    from antiphon.encoders.open import open_encoder
    from antiphon.runs import Run
    from antiphon.training.fit import Train, fit
    from antiphon.training.learner import Learner

    class Settings(Config):
        train: Train = Train(steps=STEPS, batch_size=13, workers=1, quarantine_share=0.6, log_every=1)

    class Reader(Learner):
        def __init__(self):
            super().__init__()
            names = ("text", "image", "speech")
            self.encoders = nn.ModuleDict({name: open_encoder(name, "scratch-tiny") for name in names})

        def forward(self, batch):
            return {name: self._loss(encoder, batch[name]) for name, encoder in self.encoders.items()}

        def _loss(self, encoder, column):
            return (encoder(column).pooled[column.present] - 1).square().sum()

    torch.set_num_threads(1)
    run = Run(run_folder, Settings())
    run.seed_all()
    learner = Reader()
    empty = dict.fromkeys(("text", "image", "speech"))
    rows = [
        {**empty, "id": path.name, column: path.read_bytes() if column == "text" else str(path)}
        for path in sorted(folder.iterdir())
        for column in [COLUMNS.get(path.suffix, "speech")]
    ]
    fit(learner, rows, run.config.train, run, collate=by_column(**learner.encoders))


@pytest.mark.fault("the 14 corrupt and hostile inputs in a data set", "training ends; each is told with its reason")
def test_hostile_inputs(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for name, make in {**{name: make for name, (make, _) in BAD.items()}, **GOOD}.items():
        if make in (_three_hours, _animation):
            make(files / name)
        else:
            (files / name).write_bytes(make())
    ended = start(tmp_path / "log", _read_everything, files, tmp_path / "run").wait(120)
    assert ended.code == 0, ended.said
    told = {line["row"]: line["reason"] for line in read_jsonl(tmp_path / "run/quarantine.jsonl")}
    assert set(told) == set(BAD)
    for name, (_, word) in BAD.items():
        assert word in told[name]
        assert "\n" not in told[name]
    losses = [line["loss"] for line in read_jsonl(tmp_path / "run/metrics.jsonl")]
    assert len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)


def _harmed(tmp_path: Path, harm: str) -> Path:
    shards = tmp_path / "shards"
    assert start(tmp_path / "log", train, tmp_path / "made", "stream", shards=shards, steps=1).wait().code == 0
    path = shards / "shard-000003.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    if harm == "missing":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(content[:-2000])
    elif harm == "cut short, without an index":
        (shards / INDEX).unlink()
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.write_bytes(content)
    return shards


AT_ONCE = "one line before training begins"
WHEN_READ = "one line when it is opened, before it is trained on"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(harm, said, id=harm.replace(" ", "-"), marks=pytest.mark.fault(f"a shard {harm}", promise))
        for harm, said, promise in (
            ("missing", "shard-000003.tar: no such shard", AT_ONCE),
            ("cut short", "bytes, index.json says", AT_ONCE),
            ("with a wrong checksum", "shard-000003.tar: its sha256 is not that of index.json", WHEN_READ),
            ("cut short, without an index", "shard-000003.tar: ", WHEN_READ),
        )
    ],
)
def test_a_shard(harm, said, tmp_path):
    shards = _harmed(tmp_path, harm)
    ended = start(tmp_path / "log", train, tmp_path / "run", "stream", shards=shards).wait()
    assert ended.code == 1
    assert said in ended.line
