"""X-CLIP: the loss as the paper writes it, classes that are held out, ten times the rate, and checkpoints of others."""

from __future__ import annotations

import copy
import math

import datasets
import pytest
import torch
from datasets import Dataset, List, Value
from torch.nn.functional import normalize

from antiphon.data.collate import Collate
from antiphon.data.pairs import splits
from antiphon.encoders.crossframe import Prompts
from antiphon.encoders.features import Features
from antiphon.encoders.space import Space
from antiphon.encoders.video import VideoTower
from antiphon.errors import UserError
from antiphon.recipes import x_clip
from antiphon.recipes.x_clip import start
from antiphon.recipes.x_clip.measures import measured, measured_twice, ranks, regression, shuffled
from antiphon.recipes.x_clip.pictures import film_picture
from antiphon.recipes.x_clip.rates import faster, plain
from antiphon.recipes.x_clip.rows import Classes, few, held_out
from antiphon.runs import Run
from tests.encoders.test_text import clip, tokenizer
from tests.encoders.test_video import FRAMES, PIXELS, _processor, xclip
from tests.encoders.tiny import save


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _tower(**options):
    settings = {"cells": 3, "frames": 4, "width": 16, "out": 8, "layers": 1, "heads": 2, "activation": "gelu"}
    return VideoTower(Features(5, signal="video"), **(settings | options))


def _learner(prompts=True, seen=(0, 2, 3), **changes):
    torch.manual_seed(0)
    vectors = torch.randn(5, 8)
    own = Prompts(16, 8) if prompts else None
    cfg = x_clip.tiny().but(**changes)
    return x_clip.XClip(cfg, _tower(), own, vectors, torch.tensor(seen), 0.05).eval()


def _batch(learner, rows=4):
    items = learner.tower.collate([torch.randn(12, 5) for _ in range(rows)])
    return {"video": items, "class": torch.tensor([0, 3, 2, 3][:rows])}


@pytest.mark.parametrize("prompts", [True, False])
def test_the_loss_by_a_loop(prompts):
    """Cross-entropy over the seen classes, each as the video changes it, with smoothed labels."""
    learner = _learner(prompts)
    batch = _batch(learner)
    views = learner.embed(batch)
    with torch.no_grad():
        encoded, patches = learner.tower.look(batch["video"])
        total = 0.0
        for i, right in enumerate(batch["class"].tolist()):
            vectors = learner.vectors
            if prompts:
                vectors = learner.prompts(vectors, learner.prompts.memory(patches[i : i + 1]))[0]
            scores = [
                float(normalize(encoded.pooled[i], dim=0) @ normalize(vectors[k], dim=0)) / 0.05 for k in (0, 2, 3)
            ]
            below = math.log(sum(math.exp(score) for score in scores))
            for k, score in zip((0, 2, 3), scores, strict=True):
                total -= (0.9 * (k == right) + 0.1 / 3) * (score - below) / 4
    assert learner.losses(views)["classes"].item() == pytest.approx(total, rel=1e-4)


def test_a_row_without_a_video_does_not_count():
    learner = _learner()
    batch = _batch(learner)
    whole = learner.losses(learner.embed({name: column[:3] for name, column in batch.items()}))["classes"]
    batch["video"].lengths[3] = 0
    assert torch.allclose(learner.losses(learner.embed(batch))["classes"], whole, atol=1e-5)


def test_held_out_words_stand_in_other_names():
    names = [f"{noun} {verb}" for noun in ("a dog", "a cat", "a cow") for verb in ("runs", "sleeps", "eats")]
    names.append("a unicorn sings")
    for seed in range(6):
        found = held_out(names, 0.4, seed)
        kept = {word for at, name in enumerate(names) if at not in found for word in name.split()}
        assert len(found) == 4
        assert names.index("a unicorn sings") not in found
        assert all(word in kept for at in found for word in names[at].split())
    assert held_out(names, 0.4, 0) == held_out(names, 0.4, 0)
    assert any(held_out(names, 0.4, seed) != held_out(names, 0.4, 0) for seed in range(1, 6))
    assert held_out(names, 0.0, 0) == set()


def test_classes_and_their_reverses():
    data = splits(x_clip.tiny().data, 0)
    classes = Classes.of(data, "text", "reverse", 0.2, 0)
    assert sorted(classes.seen + classes.unseen) == list(range(len(classes.names)))
    assert classes.unseen
    for own, other in classes.reverse.items():
        assert classes.reverse[other] == own
        assert {"growing", "shrinking"} & set(classes.names[own].split()) == {
            {"growing": "shrinking", "shrinking": "growing"}.get(word, "")
            for word in classes.names[other].split() if word in ("growing", "shrinking")
        }  # fmt: skip
    assert Classes.of(data, "kind", None, 0.0, 0).reverse == {}
    with pytest.raises(UserError, match="1 classes in the column 'picture', 0 rows without one"):
        Classes.of({"train": data["train"].select([0])}, "picture", None, 0.0, 0)


def test_few_of_each_class():
    rows = [{"class": at % 3, "id": at} for at in range(20)]
    found = few(rows, 2, 0)
    assert [sum(row["class"] == number for row in found) for number in range(3)] == [2, 2, 2]
    assert few(rows, 2, 0) == found != few(rows, 2, 1)
    assert few(rows, None, 0) == rows


def test_measures_by_hand():
    classes = Classes(["a", "b", "c", "d"], [0, 1], [2, 3], {0: 1, 1: 0})
    scores = torch.tensor([[0.9, 0.1, 0.2, 0.3], [0.8, 0.7, 0.0, 0.0], [0.5, 0.0, 0.4, 0.3], [0.0, 0.0, 0.4, 0.3]])
    views = {"class": torch.tensor([0, 1, 2, 3]), "there": torch.ones(4, dtype=torch.bool), "row": torch.arange(4)}
    found = measured(lambda some, which: scores[some["row"]][:, which], views, classes)
    assert found["top-1"] == 0.5
    assert found["top-5"] == 1.0
    assert found["unseen/top-1"] == 0.5
    assert found["unseen/among all"] == 0.0
    assert found["order"] == 0.5
    assert found["chance"] == found["unseen/chance"] == 0.5
    views = {"class": torch.tensor([0, 0, 0, 1]), "there": views["there"], "row": torch.tensor([0, 0, 0, 1])}
    found = measured(lambda some, which: scores[some["row"]][:, which], views, classes)
    assert (found["order"], found["order/balanced"]) == (0.75, 0.5)  # one answer to all
    assert ranks(torch.ones(1, 3), torch.tensor([0])).tolist() == [3]  # a tie counts against us


def test_shuffled_frames_are_the_same_frames():
    collate = Collate({"video": Features(2, signal="video")}, keep=("class",))
    rows = [{"video": torch.arange(24.0).reshape(12, 2) + 100 * at, "class": at, "id": at} for at in range(3)]
    plainly, mixed = collate(rows)["video"], shuffled(collate, 4)(rows)["video"]
    assert not torch.equal(plainly.values, mixed.values)
    for own, other in zip(*(one.values.reshape(3, 4, 6) for one in (plainly, mixed)), strict=True):
        assert torch.equal(own, other[other[:, 0].argsort()])


def test_ten_times_the_rate():
    """One step of AdamW moves a weight ten times as far, and its value is that of the plain module."""
    torch.manual_seed(0)
    slow = torch.nn.Linear(3, 2)
    fast = copy.deepcopy(slow)
    faster([fast], 10.0)
    assert torch.allclose(fast.weight, slow.weight, atol=1e-6)
    items = torch.randn(5, 3)
    for module in (slow, fast):
        optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.0)
        before = module.weight.detach().clone()
        module(items).square().sum().backward()
        optimiser.step()
        module.moved = (module.weight - before).detach().abs()
    assert torch.allclose(fast.moved, 10 * slow.moved, rtol=1e-2)
    assert {name: tuple(value.shape) for name, value in plain(fast).items()} == {"weight": (2, 3), "bias": (2,)}
    assert torch.equal(plain(fast)["weight"], fast.weight)


def test_new_parts_are_faster_and_the_kept_tower_is_plain():
    tower = _tower(cross=False, integrate=0).grown(cross=True, integrate=1)
    wanted = {name: value.clone() for name, value in tower.state_dict().items()}
    faster(tower.new_parts(), 10.0)
    names = [name for name, _ in tower.named_parameters() if "parametrizations" in name]
    assert names
    assert all("message" in name or name.startswith("mit.") for name in names)
    found = plain(tower)
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in wanted.items())
    items = tower.collate([torch.randn(12, 5)])
    again = tower.over(Features(5, signal="video"), found).eval()
    assert torch.allclose(again(items).pooled, tower.eval()(items).pooled, atol=1e-5)


def test_arms_share_the_start_and_new_parts_begin_alike(tmp_path):
    one = x_clip.tiny().but(train__steps=1)
    for cfg in (one, one.but(prompts=0), one.but(cross=False, integrate=0, prompts=0)):
        measures = x_clip.run(cfg, Run.of("x_clip", cfg, root=tmp_path))
        assert measures["test/order/chance"] == 0.5
    assert len(list(tmp_path.glob("x_clip_start-*"))) == 1
    again = x_clip.run(one, Run.of("x_clip", one.but(), root=tmp_path / "again"))
    untimed = {name for name in again if not name.startswith("seconds")}
    first = Run.of("x_clip", one, root=tmp_path).result
    assert {name: again[name] for name in untimed} == {name: first[name] for name in untimed}


@pytest.mark.parametrize("make", [clip, xclip])
def test_from_a_checkpoint(make, tmp_path):
    """CLIP grows, X-CLIP goes on; all of it is trained, and what is kept is read back."""
    folder = save(make(), tmp_path / make.__name__, tokenizer(), _processor())
    cfg = x_clip.tiny().but(
        pretrained=str(folder), frames=FRAMES, shots=2, integrate=2 if make is xclip else 1, prompts=2,
        train__steps=2, train__batch_size=4, train__log_every=1,
    )  # fmt: skip
    run = Run.of("x_clip", cfg, root=tmp_path / "runs")
    measures = x_clip.run(cfg, run)
    assert 0 <= measures["test/top-1"] <= 1
    space = Space.load(run.folder / "space")
    rows = splits(cfg.data, 0)["test"]
    assert space.embed(video=list(rows["video"][:2])).shape == space.embed(text=["a dog", "a cat"]).shape
    assert space.branch("video").encoder.stem.pixels == PIXELS


def test_a_film_is_kept_in_small(tmp_path):
    cfg = x_clip.tiny().but(train__steps=1)
    run = Run.of("x_clip", cfg, root=tmp_path)
    x_clip.run(cfg, run)
    figure = run.pictures()["films"]
    assert len(figure) < 60_000
    assert figure.count("data:image/webp;base64,") == 4
    drawn = film_picture([(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), [("<b>", 0.5)])])
    assert "&lt;b&gt;" in drawn


@pytest.mark.parametrize(("changes", "said"), [
    ({"data__source": "made", "data__columns": ("image",), "data__options": {}, "data__split_by": "id"},
     "x_clip wants one column of videos .* data.columns gives image"),
    ({"classes": "species"}, "and the column classes=species"),
    ({"width": 48}, "48 principal components of .* rows of width 64: too few"),
])  # fmt: skip
def test_rows_that_do_not_fit(tmp_path, changes, said):
    cfg = x_clip.tiny().but(**changes)
    with pytest.raises(UserError, match=said):
        x_clip.run(cfg, Run.of("x_clip", cfg, root=tmp_path))


NAMES = ("a red dot", "a blue dot", "a red box", "a blue box", "a green fan")


@pytest.fixture
def vectors(tmp_path):
    """Saved vectors of frames: class k is e_k in half of the frames; three rows cannot be used, one has none."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for at in range(64):
        number = at % len(NAMES)
        video = 5 + 0.3 * torch.randn(5, 6, generator=generator)
        video[::2, number] += 3
        part = "novel" if number == 4 else "base"
        rows.append({"id": f"{at:03}", "video": video.tolist(), "text": NAMES[number], "part": part})
    rows[5]["video"] = [[float("nan")] * 6] * 5
    rows[6]["video"] = [[0.0] * 4] * 5
    rows[7]["video"] = []
    rows[8]["video"] = None
    made = {name: [row[name] for row in rows] for name in rows[0]}
    Dataset.from_dict(made, features=datasets.Features({
        "id": Value("string"), "video": List(List(Value("float32"))), "text": Value("string"), "part": Value("string"),
    })).save_to_disk(tmp_path / "rows")  # fmt: skip
    return x_clip.tiny().but(
        data__source="hub", data__options={"path": str(tmp_path / "rows")}, data__split_by="id", captions="text",
        reverse=None, novel="part", text__head__map="learned", train__lr=1e-3,
        train__steps=80, start__steps=40,
    )  # fmt: skip


def test_from_vectors_of_frames(vectors, tmp_path):
    """A frame is a cell: what cannot be used is noted, the novel class is not trained, and the space reads vectors."""
    run = Run.of("x_clip", vectors, root=tmp_path / "runs")
    measures = x_clip.run(vectors, run)
    assert {row for _, row in run.quarantined()} == {"005", "006", "007"}
    assert measures["test/chance"] == 0.25
    assert measures["test/unseen/chance"] == 1.0
    assert measures["test/top-1"] > 0.5
    space = Space.load(run.folder / "space")
    stem = space.branch("video").encoder.stem
    assert (stem.width, stem.frames, space.branch("video").encoder.cells) == (6, 4, 1)
    row = splits(vectors.data, 0)["test"][0]["video"]
    assert torch.allclose(space.embed(video=[row]), space.embed(video=[torch.tensor(row)[[0, 1, 3, 4]]]), atol=1e-5)


def test_the_start_sees_what_training_may_see(vectors, tmp_path, monkeypatch):
    """Class names as captions: neither held-out classes nor further shots; other captions are seen of all rows."""
    seen = []
    monkeypatch.setattr(start, "fit", lambda learner, rows, *_, **__: seen.append([row["class"] for row in rows]))
    x_clip.run(vectors.but(shots=3, classifier="regression"), Run.of("x_clip", vectors, root=tmp_path / "few"))
    assert sorted(seen.pop()) == [0, 0, 0, 1, 1, 1, 3, 3, 3, 4, 4, 4]  # by the sorted names, 2 is the novel one
    moving = x_clip.tiny().but(shots=1, classifier="regression")
    x_clip.run(moving, Run.of("x_clip", moving, root=tmp_path / "moving"))
    assert len(seen.pop()) == len(splits(moving.data, 0)["train"])


def test_regression_on_the_mean_of_frames(vectors, tmp_path):
    cfg = vectors.but(classifier="regression")
    measures = x_clip.run(cfg, Run.of("x_clip", cfg, root=tmp_path / "runs"))
    assert measures["test/top-1"] > 0.9  # the classes are linearly told apart
    assert measures["test/chance"] == 0.25
    generator = torch.Generator().manual_seed(0)
    rows = [{"class": at % 3, "video": torch.randn(4, 2, generator=generator)} for at in range(60)]
    for row in rows:
        row["video"] = row["video"] - row["video"].mean(0)  # the mean of the frames says nothing
    found = regression(rows[:30], {"dev": rows[30:45], "test": rows[45:]}, Classes(["a", "b", "c"], [0, 1], [2], {}))
    assert found["test/top-1"] == 0.5  # and the third class is not asked about


def test_one_frame_of_a_video(tmp_path):
    """Another frame each time in training, the same one whenever a row is measured; nothing is lost by shuffling."""
    cfg = x_clip.tiny().but(one_frame=True, cross=False, integrate=0, prompts=0, train__steps=1)
    measures = x_clip.run(cfg, Run.of("x_clip", cfg, root=tmp_path))
    assert measures["test/lost by shuffling"] == 0.0
    look = start.one_frame(2)
    frames = torch.arange(8.0)[:, None]
    found = [look(frames, torch.Generator().manual_seed(seed))[:, 0].tolist() for seed in range(40)]
    assert {tuple(one) for one in found} == {(0, 1), (2, 3), (4, 5), (6, 7)}


def test_what_shuffling_costs():
    classes = Classes(["a", "b"], [0, 1], [], {})
    views = {"class": torch.tensor([0, 1]), "there": torch.ones(2, dtype=torch.bool), "scores": torch.eye(2)}
    found = measured_twice(
        lambda some, which: some["scores"][:, which], views, views | {"scores": torch.ones(2, 2)}, classes
    )
    assert (found["top-1"], found["shuffled/top-1"], found["lost by shuffling"]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("changes", "said"), [
    ({"novel": "id"}, "the column 'id' says .* of 'a blue box': wanted base or novel"),
    ({"novel": "none"}, "and the column classes=text and novel=none"),
    ({"pretrained": "some/clip", "classifier": "regression"}, "regression reads frozen vectors, pretrained=some/clip"),
    ({"pretrained": "some/clip"}, "pretrained=some/clip reads pixels, 'video' holds vectors of frames"),
])  # fmt: skip
def test_vectors_that_do_not_fit(vectors, tmp_path, changes, said):
    cfg = vectors.but(**changes)
    with pytest.raises(UserError, match=said):
        x_clip.run(cfg, Run.of("x_clip", cfg, root=tmp_path / "runs"))
