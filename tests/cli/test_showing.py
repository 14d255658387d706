from __future__ import annotations

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from antiphon.cli import gallery
from antiphon.cli.showing import panels, write_report
from antiphon.config import Config
from antiphon.data.pairs import directions
from antiphon.data.table import table
from antiphon.evaluation.answers import answers
from antiphon.runs import Run

COUNT = 24
WORDS = (
    "Spanish speech", "From one language to another", "The mean is 0.777", "Made here. CC0 &lt;x&gt;.",
    "colour: blue &amp; &lt;b&gt;", "caption &lt;3&gt;", "0.625", "French speech → Russian speech",
)  # fmt: skip


class Settings(Config):
    colour: str = "blue & <b>"


def picture(seed: int) -> dict:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def rows(spoken: tuple[str, ...], recorded: int = COUNT - 2, shared: int = 1):
    kinds = {"id": "text", "image": "image", "text": "text", "top": "text", "label": "number"}
    kinds |= dict.fromkeys(spoken, "sound")
    listed = [
        {"id": f"{at:02}", "image": picture(at), "text": f"caption <{at // shared}>"}
        | {"top": "ab"[at % 2], "label": at // shared}
        | {name: {"bytes": b"OggS" + bytes([at]) * 9, "path": None} for name in spoken if at < recorded}
        for at in range(COUNT)
    ]
    return table(listed, kinds, description="Made here", licence="CC0 <x>")


def measured(columns, views):
    found, floors = {}, {}
    for a, b in directions(columns):
        own, other = views[f"has_{a}"], views[f"has_{b}"]
        way = f"{a}->{b}"
        got = answers(views[a][own], views[b][other], views["label"][own], views["label"][other])
        floors[way] = {name.removeprefix("chance "): value for name, value in got.items() if "chance" in name}
        found[way] = {name: value for name, value in got.items() if "chance" not in name}
    return found, floors


@pytest.fixture
def report(tmp_path):
    def written(
        spoken=("speech_es", "speech_fr", "speech_ru"), recorded=COUNT - 2, noise=1.0, accuracy=0.625, shared=1
    ):
        data = rows(spoken, recorded, shared)
        columns = ["image", "text", *spoken]
        draw = torch.Generator().manual_seed(0)
        captions = torch.randn(COUNT, 8, generator=draw)[torch.arange(COUNT) // shared]
        views = {"label": torch.arange(COUNT) // shared}
        for name in columns:
            noisy = captions + (0 if name == "text" else noise) * torch.randn(COUNT, 8, generator=draw)
            views[name] = torch.nn.functional.normalize(noisy, dim=1)
            views[f"has_{name}"] = torch.arange(COUNT) < (recorded if name in spoken else COUNT)
        found, floors = measured(columns, views)
        zero = {"accuracy": accuracy, "balanced_accuracy": 0.5, "chance": 0.5, "majority": 0.5, "n": float(COUNT)}
        between = {"R@10": 0.777}
        shown = SimpleNamespace(retrieval=found, chance=floors, between_languages=between, zero_shot={"image": zero})
        trained = SimpleNamespace(
            columns=columns,
            data={"train": data, "test": data},
            seconds={"features": 1.0, "train": 2.0, "total": 3.0},
        )  # fmt: skip
        run = Run.of("clip", Settings(), seed=0, root=tmp_path)
        (run.folder / "metrics.jsonl").unlink(missing_ok=True)
        run.log(1, **{"loss": 3.25, "image-text": 3.25, "lr": 1.0})
        path = write_report(trained, shown, {"test": views}, run, tmp_path / "report.html")
        return path.read_text(encoding="utf-8"), shown

    return written


def test_all_of_it_is_on_the_page(report):
    text, shown = report()
    for way in ("image->text", "speech_fr->text", "text->speech_ru"):
        assert f"{shown.retrieval[way]['R@10']:.3f}" in text
    for words in WORDS:
        assert words in text
    assert text.count("<image ") == COUNT
    assert "data:audio/ogg;base64," in text
    assert "<b>caption" not in text


def test_it_is_the_same_twice_and_follows_its_numbers(report):
    assert report()[0] == report()[0]
    assert "0.125" not in report()[0]
    assert ">0.125</td>" in report(accuracy=0.125)[0]


def test_without_speech_columns(report):
    text, _ = report(spoken=())
    assert "One space for pictures and captions" in text
    assert "From one language" not in text
    assert "<audio" not in text
    assert 'data-kind="recording"></g>' in text


def test_with_speech_columns_that_no_test_row_has(report):
    text, _ = report(recorded=0)
    assert "Spanish speech</th>" not in text
    assert "<audio" not in text
    assert "image → text" in text


def test_a_long_recording_is_named_and_not_carried(report, monkeypatch):
    monkeypatch.setattr(gallery, "SOUND_BYTES", 5)
    text, _ = report()
    assert "too large to be carried" in text
    assert "<audio" not in text


def test_a_caption_of_two_pictures_stands_once(report):
    text, shown = report(shared=2)
    assert shown.retrieval["image->text"]["keys"] == COUNT // 2
    assert text.count("(caption, ") == COUNT // 2
    assert set(re.findall(r"image → text</p>.*?rank \d+ of (\d+)", text, re.DOTALL)) == {str(COUNT // 2)}


def test_a_perfect_space_has_no_misses(report):
    text, _ = report(noise=0.0)
    assert "missed: rank" not in text
    assert text.count("✓ found: rank 1 of") == 6


def test_a_large_test_split_is_thinned_out_on_the_map(report, monkeypatch):
    monkeypatch.setattr(gallery, "MAP_ROWS", 7)
    text, _ = report()
    assert f"The items of 7 of {COUNT} test rows" in text
    assert text.count("<image ") == 7


def test_curves_are_what_was_logged():
    lines = [
        {"step": 1, "loss": 5.0, "a-b": 2.0, "a-c": 3.0, "lr": 0.1, "seconds": 1.0},
        {"step": 5, "dev/R@10": 0.5, "temperature": 0.07},
    ]
    drawn = panels(lines)
    assert [(panel.title.split(",")[0], [curve.name for curve in panel.curves]) for panel in drawn] == [
        ("loss", ["loss"]),
        ("parts of the loss", ["a-b", "a-c"]),
        ("on dev", ["R@10"]),
        ("learned temperatures", ["temperature"]),
    ]
    assert drawn[0].curves[0].steps == [1]
    assert panels([]) == []
