"""`new recipe`, `new modality`, `copy`: files that are clean, and run as they are."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from antiphon import recipes
from antiphon.runs import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch):
    """A file as a module."""

    def loaded(path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return loaded


def _lint(path, room):
    """As if the file stood in its room."""
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed (make check installs it)")
    words = ["--stdin-filename", f"src/antiphon/{room}/{path.name}", "-"]
    for verb in (["format", "--diff"], ["check"]):
        done = subprocess.run([ruff, *verb, *words], input=path.read_text(), capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_recipe_trains_and_has_every_name(command, here, load):
    answer = command("new", "recipe", "my_method", "--arxiv", "2401.00001", "--title", "Mine", "--folder", here)
    assert answer.out == f"{here / 'my_method.py'}\n"
    module = load(here / "my_method.py")
    assert all(hasattr(module, name) for name in recipes.WANTED)
    assert "arXiv 2401.00001" in module.__doc__
    run = Run.of("my_method", module.tiny(), root=here / "runs")
    measures = module.run(module.tiny(), run)
    (claim,) = module.CLAIMS
    assert claim.metric in measures
    assert claim.floor in measures
    assert (run.folder / "space/space.json").is_file()


def test_a_new_recipe_is_clean(command, here):
    command("new", "recipe", "my_method", "--folder", here)
    _lint(here / "my_method.py", "recipes")


def test_a_new_modality_encodes_and_is_clean(command, here, load):
    command("new", "modality", "touch", "--folder", here)
    encoder = load(here / "touch.py").TouchEncoder(channels=4).eval()
    items = [torch.randn(5, 4), None, torch.randn(3, 4)]
    encoded = encoder(encoder.collate(items))
    assert encoded.pooled.shape == (3, encoder.width)
    alone = encoder(encoder.collate(items[2:]))
    assert torch.allclose(encoded.pooled[2], alone.pooled[0], atol=1e-5)
    encoder.save(here)
    assert torch.equal(type(encoder).load(here).eval()(encoder.collate(items)).pooled, encoded.pooled)
    _lint(here / "touch.py", "encoders")


def test_a_copied_recipe_is_the_same_file(command, here):
    answer = command("copy", "clip", "mine.py")
    assert "mine.py: run it with" in answer.out
    assert (here / "mine.py").read_text() == Path(recipes.get("clip").__file__).read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "recipe", "My-Method", "--folder", "."), "'My-Method' is no module name"),
        (("new", "recipe", "method"), "no folder src/antiphon/recipes"),
        (("new", "modality", "there", "--folder", "."), "there.py is there already"),
        (("copy", "clip", "there.py"), "there.py is there already"),
        (("copy", "clap"), "no recipe 'clap'"),
    ],
)
def test_a_mistake_is_one_line(command, here, words, said):
    (here / "there.py").touch()
    assert said in command.refused(*words)
