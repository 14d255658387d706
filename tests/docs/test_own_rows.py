"""The command for own rows that each recipe's page shows trains on them, and on nothing of the claims' rows."""

import csv
import io
import shlex

import numpy as np
import pytest
import soundfile
from PIL import Image

from antiphon import recipes
from antiphon.config import parse
from antiphon.data.sources import made
from antiphon.evaluation.pages import own_rows
from antiphon.runs import Run

FILES, TABLE = "my/files", "my.csv"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A user's folder of files; and a table of pictures, sounds, videos and texts, each with a class and its place."""
    root = tmp_path_factory.mktemp("theirs")
    (root / FILES).mkdir(parents=True)
    with (root / TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "kind", "document", "line", "image", "audio", "video"])
        for at, row in enumerate(made.load(120)):
            name = f"{FILES}/{at:03d}"
            text = f"{row['text']} {at}"
            (root / f"{name}.png").write_bytes(row["image"]["bytes"])
            (root / f"{name}.txt").write_text(text)
            tone = np.sin(2 * np.pi * (200 + 20 * at) * np.arange(8_000) / 16_000)
            soundfile.write(root / f"{name}.wav", tone, 16_000)
            still = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
            still.save(root / f"{name}.film", "WEBP", save_all=True, append_images=[still.rotate(30), still.rotate(60)])
            files = [f"{name}.{ending}" for ending in ("png", "wav", "film")]
            writer.writerow([text, row["colour"], f"page {at // 12}", at % 12, *files])
    return root


@pytest.mark.parametrize("name", recipes.names())
def test_it_leaves_nothing_of_the_claims_rows(name):
    data = _settings(name, "laptop").data
    assert data.options.keys() == {"folder"}
    assert data.limit is None


@pytest.mark.parametrize("name", recipes.names())
def test_it_trains(name, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(theirs)
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ANTIPHON_DATA", raising=False)
    config = _settings(name, "tiny").but(train__steps=6)
    measures = recipes.get(name).run(config, Run.of(name, config, root=tmp_path / "runs"))
    assert all(np.isfinite(value) for value in measures.values())


def _settings(name, preset):
    module = recipes.get(name)
    command = shlex.split(own_rows(name, module))
    assert command[:3] == ["antiphon", "train", name]
    config = parse(getattr(module, preset)(), command[3:])
    assert config.data.options["folder"] in (FILES, TABLE)
    return config
