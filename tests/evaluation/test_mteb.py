"""Spaces as models of MTEB: its own mock tasks pass, and on real rows MiniLM has its published score."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from antiphon.cli.app import app
from antiphon.encoders.heads import Head
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.video import Patches, VideoTower
from antiphon.errors import UserError
from antiphon.evaluation.mteb import MtebModel, bare_space, mock_scores, scores, tasks_of

pytestmark = pytest.mark.filterwarnings("ignore")  # mteb and its dependencies warn of their own future


def _loads(name):
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=False).returncode == 0


def _space(*signals):
    torch.manual_seed(0)
    encoders = {signal: open_encoder(signal, "scratch-tiny") for signal in signals}
    return Space({name: Branch(encoder, Head(encoder.width, 32)) for name, encoder in encoders.items()}).eval()


def test_every_mock_task_of_texts_and_pictures_runs():
    found = mock_scores(MtebModel(_space("text", "image")))
    assert len(found) == 43
    assert set(found.values()) == {100.0}


def _with_video():
    """A space of every signal that mteb has tasks for."""
    space = _space("text", "image", "audio")
    stem = Patches(32, frames=2, pixels=32, patch=16)
    sizes = {"cells": 4, "frames": 2, "width": 32, "out": 32, "layers": 1, "heads": 2, "inner": 64}
    tower = VideoTower(stem, cross=True, integrate=1, time_heads=2, **sizes)
    return Space({**branches_of(space.branches), "video": Branch(tower, Head(32, 32))}).eval()


@pytest.mark.skipif(not _loads("torchcodec"), reason="torchcodec does not load: it wants FFmpeg's libraries")
def test_every_mock_task_runs():
    found = mock_scores(MtebModel(_with_video()))
    assert len(found) == 60
    assert set(found.values()) == {100.0}


def test_vectors_are_the_spaces():
    space = _space("text", "image")
    model = MtebModel(space)
    noise = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in noise]
    batches = [{"text": ["a", "b"], "image": pictures}, {"text": ["c"], "image": [pictures[0]]}]
    both = torch.nn.functional.normalize(
        space.embed(text=["a", "b", "c"]) + space.embed(image=[*pictures, pictures[0]]), dim=1
    )
    assert np.allclose(model.encode(batches, task_metadata=None), both.numpy(), atol=1e-6)
    alone = model.encode([{"text": ["a", "b"]}])
    assert np.allclose(model.similarity(alone, alone * 2), alone @ alone.T, atol=1e-6)
    assert model.similarity(alone[0], alone[1]).shape == (1, 1)
    assert np.allclose(model.similarity_pairwise(alone, alone), 1.0, atol=1e-6)
    with pytest.raises(UserError, match="inputs of audio: the space has image, text"):
        model.encode([{"audio": [None]}])
    with pytest.raises(UserError, match="inputs of audio, text: the space has image, text"):
        model.encode([{"text": ["a"], "audio": [None]}])  # nothing of an input is left out without a word


def test_speech_hears_sounds_and_gets_them_at_its_rate():
    space = _space("speech")
    model = MtebModel(space)
    assert model.mteb_model_meta.modalities == ["audio"]
    wave = torch.sin(torch.arange(8000) / 20)
    found = model.encode([{"audio": [{"array": wave.numpy(), "sampling_rate": 16_000}]}])
    assert np.allclose(found, space.embed(speech=[wave]).numpy(), atol=1e-6)


def test_a_bare_encoder_is_a_space_that_changes_nothing(tmp_path):
    encoder = open_encoder("text", "scratch-tiny").eval()
    space = bare_space("scratch-tiny")
    space.branch("text").encoder.load_state_dict(encoder.state_dict())
    wanted = torch.nn.functional.normalize(encoder(encoder.collate(["a text"])).pooled, dim=1)
    assert torch.allclose(space.embed(text=["a text"]), wanted, atol=1e-6)


def test_unknown_tasks_and_lacking_signals_are_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="mteb has no task 'STS99'"):
        tasks_of(["STS99"])
    (tmp_path / "sts").mkdir()
    (tmp_path / "sts/sts2013.test.tsv").write_text("score\tsentence1\tsentence2\n1\ta\tb\n2\tc\td\n3\te\tf\n")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    with pytest.raises(UserError, match="STS13 wants text, which the space has not"):
        scores(MtebModel(_space("image")), ["STS13"])
    found = scores(MtebModel(_space("text")), ["STS13"])
    assert math.isfinite(found["STS13"])
    (tmp_path / "sts/sts2013.test.tsv").write_text("score\tsentence1\n1\ta\n")
    with pytest.raises(UserError, match=r"sts2013\.test\.tsv: no column sentence2"):  # not the hub's rows in its place
        tasks_of(["STS13"])


def test_the_command(tmp_path, monkeypatch):
    (tmp_path / "tatoeba").mkdir()
    lines = "\n".join(f"wort {n}\tword {n}" for n in range(5))
    (tmp_path / "tatoeba/deu-eng.tsv").write_text(f"deu\teng\n{lines}\n")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    _space("text").save(tmp_path / "run/space")
    done = CliRunner().invoke(app, ["eval", str(tmp_path / "run/space"), "--mteb", "Tatoeba(deu-eng)", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0 <= found["Tatoeba(deu-eng)"] <= 100


@pytest.mark.parametrize(
    ("task", "name"), [("Banking77Classification", "banking77"), ("CLINC150Classification", "clinc150")]
)
def test_intents_of_local_files(task, name, tmp_path, monkeypatch):
    """A space that hears the one word that tells the intents has them all right."""
    (tmp_path / "dialog").mkdir()
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    for split, count in (("train", 10), ("test", 4)):
        lines = [f"{kind}\tplease tell me of {kind} {number}" for kind in "zab" for number in range(count)]
        (tmp_path / f"dialog/{name}.{split}.tsv").write_text("\n".join(["intent\ttext", *lines, ""]))
    (one,) = tasks_of([task])
    assert one.dataset["test"]["label"] == [2] * 4 + [0] * 4 + [1] * 4
    space = bare_space("scratch-tiny-words")
    assert scores(MtebModel(space), [task])[task] == 100.0


@pytest.mark.parametrize(
    ("task", "name", "asked"),
    [
        ("Banking77Classification", "banking77", "every third training row of an intent"),
        ("CLINC150Classification", "clinc150", "its validation rows"),
    ],
)
def test_what_stands_for_test_is_told(task, name, asked, tmp_path, monkeypatch):
    (tmp_path / "dialog").mkdir()
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    for split, count in (("train", 7), ("val", 2)) if name == "clinc150" else (("train", 7),):
        lines = [f"{kind}\t{split} {kind} {number}" for number in range(count) for kind in "zab"]
        (tmp_path / f"dialog/{name}.{split}.tsv").write_text("\n".join(["intent\ttext", *lines, ""]))
    with pytest.warns(UserWarning, match=f"no dialog/{name}.test.tsv: asked are {asked}"):
        (one,) = tasks_of([task])
    known, test = (set(one.dataset[split]["text"]) for split in ("train", "test"))
    assert not known & test
    if name == "clinc150":
        assert (len(known), len(test)) == (21, 6)
        assert all(text.startswith("val ") for text in test)
    else:
        assert sorted(test) == sorted(f"train {kind} {number}" for kind in "zab" for number in (2, 5))
        assert len(known) == 15
        assert one.dataset["test"]["label"].count(2) == 2


def test_clinc150_is_never_taken_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"CLINC150Classification wants ANTIPHON_DATA with dialog/clinc150\.train\.tsv"):
        tasks_of(["CLINC150Classification"])


def test_without_a_task_it_says_what_to_give():
    done = CliRunner().invoke(app, ["eval", "runs/demo/space"])
    assert isinstance(done.exception, UserError)
    assert "eval wants a task" in str(done.exception)


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "file", "published"),
    [
        ("STS13", "sts/sts2013.test.tsv", 80.60),
        ("STS14", "sts/sts2014.test.tsv", 75.59),
        ("Tatoeba(fra-eng)", "tatoeba/fra-eng.tsv", 8.17),
        ("Tatoeba(spa-eng)", "tatoeba/spa-eng.tsv", 5.63),
        ("Tatoeba(cat-eng)", "tatoeba/cat-eng.tsv", 6.93),
    ],
)
def test_minilm_has_its_published_score(task, file, published):
    """From the leaderboard of MTEB (all-MiniLM-L6-v2), within 0.2 points."""
    if not Path(os.environ.get("ANTIPHON_DATA", "nowhere"), file).is_file():
        pytest.skip(f"ANTIPHON_DATA has no {file}")
    found = scores(MtebModel(bare_space("all-MiniLM-L6-v2")), [task])
    assert found[task] == pytest.approx(published, abs=0.2)
