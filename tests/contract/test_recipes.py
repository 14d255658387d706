"""What every recipe keeps, found by listing the folder: a new recipe needs no edit here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

from antiphon import recipes
from antiphon.config import Config, ConfigError, parse
from antiphon.data.pairs import expand, load, signal_of
from antiphon.encoders.space import Space
from antiphon.evaluation.claims import Claim, Paper
from antiphon.generation.decoding import Decoding, continued_texts
from antiphon.generation.models import open_language_model
from tests.contract.trials import Trials

CPU_SECONDS = 20
"""What `tiny()` may take, in seconds of one core (waiting for a shared core does not count)."""

NAMES = recipes.names()
each = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES])
each_in_one_group = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group("two processes")) for name in NAMES]
)


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_CACHE", str(folder / "cache"))
        yield Trials(folder)


@each
def test_docstring_names_the_paper(name):
    module = recipes.get(name)
    assert isinstance(module.PAPER, Paper)
    assert module.PAPER.title
    assert module.PAPER.signals
    assert set(module.PAPER.signals) <= {"image", "text", "speech", "audio", "video", "brain"}
    assert module.PAPER.arxiv in re.findall(r"arXiv (\d{4}\.\d{4,5})", module.__doc__)


@each
@pytest.mark.parametrize("preset", ["tiny", "laptop", "paper"])
def test_presets_are_configs_that_survive_yaml(name, preset, tmp_path):
    module = recipes.get(name)
    config = getattr(module, preset)()
    assert type(config) is module.Config
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert parse(module.tiny(), [], [tmp_path / "config.yaml"]) == config


@each
def test_unknown_keys_are_refused(name):
    with pytest.raises(ConfigError, match="no_such_key: unknown key"):
        recipes.get(name).tiny().but(no_such_key=1)
    with pytest.raises(ConfigError, match=r"train\.no_such_key: unknown key"):
        recipes.get(name).tiny().but(train__no_such_key=1)


@each
def test_imports_no_other_recipe(name):
    file = Path(recipes.get(name).__file__)
    for source in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
        for imported in _imports(source):
            own = f"antiphon.recipes.{name}"
            stranger = imported.startswith("antiphon.recipes") and not (imported + ".").startswith(own + ".")
            assert not stranger, f"{source.name} imports {imported}"


@each
def test_tiny_takes_seconds_and_its_loss_falls(name, trials):
    trial = trials.whole(name)
    losses = trial.losses
    quarter = max(1, len(losses) // 4)
    assert len(losses) >= 4, "tiny() must log four lines or more (train.log_every)"
    assert sum(losses[-quarter:]) < sum(losses[:quarter])
    assert trial.seconds < CPU_SECONDS


@each
def test_the_result_is_kept(name, trials):
    trial = trials.whole(name)
    assert trial.run.result == trial.measures
    assert all(isinstance(value, int | float) for value in trial.measures.values())


@each
def test_same_seed_same_numbers(name, trials):
    trials.resumed(name)
    first = trials.before_the_cut[name]
    assert first == trials.whole(name).lines[: len(first)]


@each
def test_cut_and_resumed_equals_uninterrupted_to_the_bit(name, trials):
    whole, resumed = trials.whole(name), trials.resumed(name)
    assert resumed.lines == whole.lines
    assert resumed.untimed == whole.untimed
    assert resumed.weights.keys() == whole.weights.keys()
    for key, weight in whole.weights.items():
        assert torch.equal(resumed.weights[key], weight), key


@each_in_one_group
def test_two_processes_equal_one(name, trials, request):
    asked = {item.callspec.params["name"] for item in request.session.items if item.function is request.function}
    found = trials.together(name, sorted(asked))
    assert isinstance(found[0], list), found[0]
    assert found[0] == pytest.approx(trials.alone(name), rel=1e-3)
    assert isinstance(found[1], list), found[1]


@each
def test_what_is_kept_takes_an_item_alone_as_in_a_batch(name, trials):
    """A space embeds it; a recipe that trains a language model keeps that instead, and it goes on with a text."""
    trial = trials.whole(name)
    if (trial.run.folder / "model").is_dir():
        _continues_alone_as_in_a_batch(trial)
    else:
        _embeds_alone_as_in_a_batch(trial)


@each
def test_claims_can_be_measured(name, trials):
    module = recipes.get(name)
    assert module.CLAIMS, "a recipe has one claim or more"
    for claim in module.CLAIMS:
        assert isinstance(claim, Claim)
        study = {key: value for key, value in claim.better.items() if key == "study"}
        assert study.items() <= claim.worse.items()
        measures = trials.whole(name, **study).measures
        assert claim.metric in measures
        assert claim.floor in measures
        better, worse = (module.laptop().but(**arm) for arm in (claim.better, claim.worse))
        assert isinstance(better, Config)
        assert better != worse, f"{claim.text}: both arms are the same"
        assert claim.seeds >= 2


def _embeds_alone_as_in_a_batch(trial):
    rows = load(trial.run.config.data)
    space = Space.load(trial.run.folder / "space")
    for branch in space.branches:
        column = next(column for column in expand((branch,), rows.column_names) if signal_of(column) == branch)
        items = [item for item in rows[column][:20] if item is not None][:3]
        together = space.embed(**{branch: items})
        assert together.shape == (len(items), space.width)
        assert torch.allclose(together.norm(dim=1), torch.ones(len(items)), atol=1e-5)
        alone = torch.cat([space.embed(**{branch: [item]}) for item in items])
        assert torch.allclose(alone, together, atol=1e-5)


def _continues_alone_as_in_a_batch(trial):
    model, tokenizer = open_language_model(trial.run.folder / "model")
    texts = ["a", "a red circle", "Two texts of unequal length"]
    for method in ("greedy", "contrastive"):
        cfg = Decoding(method=method, max_tokens=12)
        together = continued_texts(model, tokenizer, texts, cfg)
        assert together == [continued_texts(model, tokenizer, [text], cfg)[0] for text in texts]


def _imports(source: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found
