"""The CLIP recipe: its loss is the paper's, frozen towers are encoded once, and it speaks up when it collapses."""

import json

import pytest
import torch

from antiphon.config import parse
from antiphon.data.pairs import Pairs
from antiphon.distributed import rank
from antiphon.encoders.features import Features
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.space import Space
from antiphon.errors import UserError
from antiphon.evaluation.collapse import CollapseWarning
from antiphon.recipes import clip
from antiphon.runs import Run
from antiphon.training.fit import Moment
from tests.processes import run_in_processes


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _locked(**changes):
    """Frozen random towers on made rows, with every kind of head."""
    words = {
        "data": Pairs(source="made", columns=("image", "text", "speech"), options={"rows": 96}),
        "towers": "locked",
        "image": clip.Tower(encoder="scratch-tiny", keep=1, views=1, head=HeadConfig(pooling="mean", norm="standard")),
        "text": clip.Tower(encoder="scratch-tiny", keep=1, head=HeadConfig(pooling="mean", norm="none", map="pca")),
        "speech": clip.Tower(encoder="scratch-tiny", keep=4, head=HeadConfig(pooling="segments", norm="standard")),
        "pairs": (("image", "text"), ("speech", "text"), ("speech", "image")),
    }
    return clip.tiny().but(**{**words, **changes})


def _learner():
    cfg = clip.tiny()
    return clip.Clip(cfg, {signal: Features(6, signal=signal) for signal in ("image", "text")})


def test_the_loss_is_the_papers():
    """Figure 3 of arXiv 2103.00020, where every row has a label of its own."""
    learner = _learner()
    image, text = (torch.nn.functional.normalize(torch.randn(9, 32), dim=1) for _ in range(2))
    there = torch.ones(9, dtype=torch.bool)
    views = {"image": image, "text": text, "has_image": there, "has_text": there, "label": torch.arange(9)}
    logits = image @ text.T / clip.tiny().temperature
    cross_entropy = torch.nn.functional.cross_entropy
    wanted = (cross_entropy(logits, torch.arange(9)) + cross_entropy(logits.T, torch.arange(9))) / 2
    assert torch.allclose(learner.losses(views)["image-text"], wanted, atol=1e-6)


def test_the_tiled_loss_is_the_same():
    there = torch.ones(9, dtype=torch.bool)
    views = {name: torch.nn.functional.normalize(torch.randn(9, 32), dim=1) for name in ("image", "text")}
    views |= {"has_image": there, "has_text": there, "label": torch.arange(9) // 2}
    found = []
    for loss in ("dense", "tiled"):
        learner = clip.Clip(clip.tiny().but(loss=loss), {s: Features(6, signal=s) for s in ("image", "text")})
        value = learner.losses(views)["image-text"]
        value.backward()
        found.append((value.detach(), learner.scales["image-text"].log_scale.grad))
    for dense, tiled in zip(*found, strict=True):
        assert torch.allclose(dense, tiled, atol=1e-5)


def _losses_of_a_part(loss, missing):
    """In one of two processes, that of the first four or the last five rows: the loss and its gradients."""
    generator = torch.Generator().manual_seed(0)
    views = {name: torch.randn(9, 32, generator=generator) for name in ("image", "text")}
    views = {name: torch.nn.functional.normalize(view, dim=1) for name, view in views.items()}
    views |= {"has_image": torch.arange(9) >= missing, "has_text": torch.ones(9).bool(), "label": torch.arange(9) // 2}
    learner = clip.Clip(clip.tiny().but(loss=loss), {s: Features(6, signal=s) for s in ("image", "text")})
    own = slice(0, 4) if rank() == 0 else slice(4, 9)
    part = {name: view[own].clone() for name, view in views.items()}
    leaves = [part[name].requires_grad_() for name in ("image", "text")]
    value = learner.losses(learner.met(part))["image-text"]
    scale = learner.scales["image-text"].log_scale
    gradients = torch.autograd.grad(value, [*leaves, scale], allow_unused=True)
    return [value.item(), *(gradient.tolist() for gradient in gradients)]


def _losses_of_a_part_each_way():
    return [[_losses_of_a_part(loss, missing) for loss in ("dense", "tiled", "ring")] for missing in (1, 4)]


def test_of_two_processes_every_way_is_the_same():
    """Gathered or in a ring; also where one process has no row with both signals."""
    for each in run_in_processes(2, _losses_of_a_part_each_way):
        for dense, *others in each:
            for other in others:
                for found, wanted in zip(other, dense, strict=True):
                    assert torch.allclose(torch.tensor(found), torch.tensor(wanted), atol=1e-5)


def test_rows_that_lack_a_column_do_not_count():
    learner = _learner()
    views = {name: torch.nn.functional.normalize(torch.randn(9, 32), dim=1) for name in ("image", "text")}
    views |= {"has_image": torch.arange(9) < 7, "has_text": torch.arange(9) > 1, "label": torch.arange(9)}
    some = {name: view[2:7] for name, view in views.items()}
    assert torch.equal(learner.losses(views)["image-text"], learner.losses(some)["image-text"])


def test_locked_towers_train_heads_only_and_make_a_space(tmp_path):
    cfg = _locked()
    trained = clip.train(cfg, Run.of("clip", cfg, root=tmp_path))
    assert set(trained.rows["train"][0]) == {"id", "label", "image", "image_view1", "text", "speech"}
    assert set(trained.rows["test"][0]) == {"id", "label", "image", "text", "speech"}
    views = clip.vectors(trained, "test")
    for column in ("image", "text", "speech"):  # the space, on files, gives what the learner gives on features
        again = trained.space.embed_column(column, list(trained.data["test"][column]))
        assert torch.allclose(again, views[column], atol=2e-3)  # features are kept as float16
    (folder,) = tmp_path.glob("clip-*")
    loaded = Space.load(folder / "space")
    assert torch.equal(loaded.embed(text=["a red circle"]), trained.space.embed(text=["a red circle"]))


def test_the_loss_of_locked_towers_falls(tmp_path):
    cfg = _locked(train__steps=60, train__lr=3e-3)
    run = Run.of("clip", cfg, root=tmp_path)
    clip.run(cfg, run)
    losses = [line["loss"] for line in run.metrics()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_inputs_that_cannot_be_read_are_listed(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    from antiphon.data.sources import made

    rows = made.load(40)
    for at, row in enumerate(rows):
        data = b"broken" if at == 7 else row["image"]["bytes"]
        (folder / f"{at:02}.png").write_bytes(data)
        (folder / f"{at:02}.txt").write_text(f"{row['text']} {at}")
    pairs = Pairs(source="folder", columns=("image", "text"), options={"folder": str(folder)})
    cfg = _locked(data=pairs, pairs=(("image", "text"),), width=16)
    run = Run.of("clip", cfg, root=tmp_path)
    measures = clip.run(cfg, run)
    listed = [json.loads(line) for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]
    assert {item["row"] for item in listed} == {"07"}
    assert all("07.png" in item["reason"] for item in listed)
    assert measures["test/image->text/n"] > 0


@pytest.mark.parametrize("towers", ["locked", "scratch"])
def test_too_many_bad_inputs_stop_the_run(tmp_path, towers):
    folder = tmp_path / "mine"
    folder.mkdir()
    for at in range(20):
        (folder / f"{at:02}.png").write_bytes(b"broken")
        (folder / f"{at:02}.txt").write_text(f"caption {at}")
    pairs = Pairs(source="folder", columns=("image", "text"), options={"folder": str(folder)})
    cfg = _locked(data=pairs, pairs=(("image", "text"),), width=8, towers=towers)
    with pytest.raises(UserError, match=r"20 of 40 inputs cannot be used.*quarantine\.jsonl"):
        clip.run(cfg, Run.of("clip", cfg, root=tmp_path))


def test_collapse_is_said_in_words():
    learner = _learner()
    with torch.no_grad():
        for parameter in learner.branches.parameters():
            parameter.zero_()
        for branch in learner.branches.values():
            branch.head.linear.bias.fill_(1.0)
    collate = Features(6, signal="image").collate
    batch = {name: collate([torch.randn(1, 6) for _ in range(8)]) for name in ("image", "text")}
    batch["label"] = torch.arange(8)
    with pytest.warns(CollapseWarning, match="collapsed to a point"):
        clip.watch()(Moment(10, {"image-text": 2.0}, batch, learner))


def test_what_does_not_fit_is_told():
    with pytest.raises(UserError, match=r"pairs name \['speech'\], but the columns hold \['image', 'text'\]"):
        clip.Clip(clip.demo(), {signal: Features(6, signal=signal) for signal in ("image", "text")})
    with pytest.raises(UserError, match="no tower for 'brain'"):
        clip.Clip(clip.Config(pairs=(("brain", "text"),)), {s: Features(6, signal=s) for s in ("brain", "text")})


@pytest.mark.parametrize("preset", [clip.tiny, clip.laptop, clip.demo, clip.paper])
def test_presets_survive_yaml(preset, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(preset().to_yaml())
    assert parse(clip.Config(), [], [file]) == preset()
