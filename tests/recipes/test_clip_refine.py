"""CLIP-Refine: both terms as the paper writes them, one start for all arms, and a teacher that never moves."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPImageProcessorPil

from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head
from antiphon.encoders.pretrained import clip_space
from antiphon.encoders.space import Branch, Space
from antiphon.errors import UserError
from antiphon.recipes import clip_refine
from antiphon.runs import Run
from tests.encoders.test_text import clip, tokenizer
from tests.encoders.tiny import save


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _learner(**changes):
    torch.manual_seed(0)
    cfg = clip_refine.tiny().but(**changes)
    branches = {signal: Branch(Features(6, signal=signal), Head(6, 32)) for signal in ("image", "text")}
    return cfg, clip_refine.Refine(branches, 0.07)


def _views(rows=7):
    there = torch.ones(rows, dtype=torch.bool)
    views = {name: 3 * torch.randn(rows, 32) for name in ("image", "text", "z")}
    views |= {f"{name}_before": normalize(torch.randn(rows, 32), dim=1) for name in ("image", "text")}
    return views | {"has_image": there, "has_text": there, "label": torch.arange(rows)}


def _scores(views, suffix=""):
    image, text = (normalize(views[name + suffix], dim=1).double() for name in ("image", "text"))
    return image @ text.T / 0.07


def test_before_refining_it_is_clips_loss():
    _, learner = _learner()
    views = _views()
    scores, own = _scores(views), torch.arange(7)
    wanted = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    assert learner.losses(views)["contrast"].item() == pytest.approx(wanted.item(), abs=1e-5)
    assert set(learner.losses(views)) == {"contrast"}


def test_the_refining_losses_are_the_papers():
    cfg, learner = _learner(align="random", alpha=0.5)
    views = _views()
    learner.refine(cfg, views)
    student, teacher = _scores(views), _scores(views, "_before")
    hybrid = 0.0
    for s, t in ((student, teacher), (student.T, teacher.T)):
        for i in range(7):
            target = 0.5 * torch.eye(7)[i] + 0.5 * t[i].softmax(0)
            hybrid -= float((target * s[i].log_softmax(0)).sum()) / 7 / 2
    losses = learner.losses(views)
    assert losses["contrast"].item() == pytest.approx(hybrid, abs=1e-5)
    z = views["z"] * learner.sigma
    rafa = sum(float((views[name] - z).square().sum()) for name in ("image", "text")) / (7 * 32) / 2
    assert losses["align"].item() == pytest.approx(rafa, rel=1e-5)


def test_z_is_as_long_as_the_features():
    cfg, learner = _learner()
    views = _views(400)
    learner.refine(cfg, views)
    lengths = torch.cat([views["image"], views["text"]]).norm(dim=1).mean()
    assert (torch.randn(4000, 32) * learner.sigma).norm(dim=1).mean().item() == pytest.approx(lengths.item(), rel=0.05)
    assert learner.sigma.item() == pytest.approx(lengths.item() / math.sqrt(32), rel=1e-5)


@pytest.mark.parametrize(("align", "wanted"), [("zero", 9.0), ("pairs", 0.0)])
def test_the_other_terms(align, wanted):
    cfg, learner = _learner(align=align)
    views = _views()
    views["image"] = views["text"] = torch.full((7, 32), 3.0)
    learner.refine(cfg, views)
    assert learner.losses(views)["align"].item() == pytest.approx(wanted, abs=1e-5)


def test_the_teacher_and_the_temperature_stay():
    cfg, learner = _learner(align="none", alpha=1.0)
    learner.refine(cfg, _views())
    learner.train()
    assert not any(module.training for module in learner.teacher.modules())
    moving = {name.split(".")[0] for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert moving == {"branches"}


def test_the_temperature_of_refining_is_the_starts_times_its_warmth():
    cfg, learner = _learner(align="none", alpha=1.0, warmth=0.1)
    before = learner.scale.temperature
    learner.refine(cfg, _views())
    assert learner.scale.temperature == pytest.approx(before * 0.1)
    assert not learner.scale.log_scale.requires_grad


def test_arms_share_the_start(tmp_path):
    one = clip_refine.tiny()
    other = one.but(align="none", alpha=1.0)
    first, second = (clip_refine.run(cfg, Run.of("clip_refine", cfg, root=tmp_path)) for cfg in (one, other))
    assert len(list(tmp_path.glob("clip_refine_start-*"))) == 1
    start = {name: value for name, value in first.items() if name.startswith("start/")}
    assert start == {name: second[name] for name in start}
    assert first["test/new/gap"] != second["test/new/gap"]
    assert first["start/centred/test/new/gap"] < first["start/test/new/gap"]


def test_a_pretrained_clip_is_refined_whole(tmp_path):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    folder = save(clip(), tmp_path / "hub", tokenizer(), processor)
    cfg = clip_refine.tiny().but(pretrained=str(folder), train__steps=3)
    measures = clip_refine.run(cfg, run := Run.of("clip_refine", cfg, root=tmp_path))
    space, start = Space.load(run.folder / "space"), clip_space(folder)[0]
    moved = [
        name for name, weight in start.named_parameters() if not torch.equal(weight, space.get_parameter(name))
    ]  # fmt: skip
    assert any("encoder.model" in name for name in moved)
    assert measures["start/test/new/gap"] != measures["test/new/gap"]
    assert not list(tmp_path.glob("clip_refine_start-*"))


def test_other_columns_before_and_after_are_refused(tmp_path):
    cfg = clip_refine.tiny().but(before__columns=("speech", "text"))
    with pytest.raises(UserError, match="wants the same two columns twice"):
        clip_refine.run(cfg, Run.of("clip_refine", cfg, root=tmp_path))
