"""ProtoCLIP: back-translation and its losses as the paper writes them, episodes by seed, a control that is CLIP."""

import io
import math
import re

import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPImageProcessorPil

from antiphon.data.collate import EPOCH, INDEX
from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head
from antiphon.encoders.space import Branch, Space
from antiphon.errors import UserError
from antiphon.evaluation.clustering import kmeans
from antiphon.recipes import protoclip
from antiphon.recipes.protoclip.episodes import Episodes, Groups
from antiphon.recipes.protoclip.pictures import changed, nearest, prototypes
from antiphon.recipes.protoclip.rows import masked, without
from antiphon.runs import Run
from tests.encoders.test_text import clip, tokenizer
from tests.encoders.tiny import save

ROWS = 40


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _learner(**changes):
    torch.manual_seed(0)
    cfg = protoclip.tiny().but(**changes)
    branches = {signal: Branch(Features(6, signal=signal), Head(6, 32)) for signal in ("image", "text")}
    return protoclip.ProtoClip(cfg, branches, ROWS, 0.07)


def _batch(rows, learner):
    """What `Collate` makes of rows of features."""
    batch = {
        name: branch.encoder.collate([row[name] for row in rows]) for name, branch in learner.branches.items()
    } | {"label": torch.tensor([row["label"] for row in rows])}  # fmt: skip
    return batch | ({"row": torch.tensor([row[INDEX] for row in rows])} if INDEX in rows[0] else {})


def _rows(count=ROWS):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "id": str(at),
            "label": at,
            "image": torch.randn(1, 6, generator=generator),
            "text": torch.randn(1, 6, generator=generator),
            INDEX: at,
            EPOCH: 3,
        }
        for at in range(count)
    ]


def _clustered(taught=None, **changes):
    learner = _learner(**changes)
    rows = _rows()
    learner.regroup(rows, lambda part: _batch(part, learner), taught)
    views = learner.embed(_batch(rows, learner))
    return learner, {name: view.detach() for name, view in views.items()}


def test_back_translation_is_the_mean_of_the_students_own_vectors():
    learner, views = _clustered()
    for source, student in (("text", "image"), ("image", "text")):
        group = learner.groups[source]
        for cluster in range(len(group.centroids)):
            members = [at for at in range(ROWS) if group.labels[at] == cluster]
            wanted = sum(views[f"further_{student}"][at] for at in members) / max(1, len(members))
            assert torch.allclose(group.prototypes(student)[cluster], torch.as_tensor(wanted), atol=1e-5), cluster


def test_own_prototypes_are_the_other_sides_centroids():
    group = _clustered(prototypes="own")[0].groups["text"]
    assert torch.equal(group.prototypes("image"), group.centroids)


@pytest.mark.parametrize("softness", [0.01, 0.0])
def test_the_prototype_loss_is_the_papers(softness):
    """A slow loop over p and q, in float64."""
    learner, views = _clustered(softness=softness)
    total = 0.0
    for student, source in (("image", "text"), ("text", "image")):
        group = learner.groups[source]
        centroids, mine = group.centroids.double(), group.prototypes(student).double()
        for i in range(ROWS):
            own = int(views[f"{source}_group"][i])
            p = (views[f"further_{student}"][i].double() @ mine.T / 0.07).log_softmax(0)
            q = torch.eye(len(centroids))[own].double()
            if softness:
                q = (centroids[own] @ centroids.T / softness).softmax(0)
            total -= float((q * p).sum()) / ROWS / 2
    assert learner.losses(views)["prototypes"].item() == pytest.approx(total, abs=1e-4)


def test_the_teacher_is_hard_and_clusters_its_own_vectors():
    generator = torch.Generator().manual_seed(5)
    kinds = torch.arange(ROWS) % 4
    taught = 0.1 * torch.eye(4)[kinds] + 1e-3 * torch.randn(ROWS, 4, generator=generator)
    learner, views = _clustered(taught, teacher="all-MiniLM-L6-v2", teacher_width=4, prototypes="none")
    group, total = learner.groups["teacher"], 0.0
    assert torch.equal(group.labels, kmeans(taught, 4, seed=3, iterations=10)[0])
    for student in ("image", "text"):
        scores = views[f"further_{student}"].double() @ group.prototypes(student).double().T / 0.07
        scores[:, ~group.alive] = -torch.inf
        total += cross_entropy(scores, group.labels).item() / 2
    losses = learner.losses(views)
    assert set(losses) == {"contrast", "teacher"}
    assert losses["teacher"].item() == pytest.approx(total, abs=1e-4)


def test_empty_clusters_do_not_compete():
    """A row of zeros would score 0, above every prototype that points away."""
    group = Groups(3, 2, 2, {"image": 2})
    vectors = torch.tensor([[-1.0, 0.0]] * 3)
    group.put(
        torch.zeros(3, dtype=torch.int64), torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(3, dtype=torch.bool),
        {"image": -vectors}, translated=True,
    )  # fmt: skip
    assert group.alive.tolist() == [True, False]
    for softness in (0.0, 0.01):
        loss, right = group.loss("image", lambda scores: scores / 0.07, vectors, group.labels, softness)
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert right == 1


def test_without_prototypes_it_is_clip():
    learner, views = _clustered(prototypes="none")
    scores = normalize(views["image"], dim=1) @ normalize(views["text"], dim=1).T / 0.07
    own = torch.arange(ROWS)
    wanted = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    losses = learner.losses(views)
    assert set(losses) == {"contrast"}
    assert losses["contrast"].item() == pytest.approx(wanted.item(), abs=1e-5)
    assert not any(parameter.requires_grad for parameter in learner.further.parameters())


def test_before_the_first_clustering_prototypes_cost_nothing():
    learner = _learner()
    views = learner.embed(_batch(_rows(), learner))
    assert learner.losses(views)["prototypes"].item() == 0


def test_a_row_that_lacks_a_signal_is_in_no_cluster():
    learner, rows = _learner(), _rows()
    rows[7]["image"] = None
    learner.regroup(rows, lambda part: _batch(part, learner), None)
    views = {name: view.detach() for name, view in learner.embed(_batch(rows, learner)).items()}
    group = learner.groups["text"]
    kept = [at for at in range(ROWS) if at != 7 and group.labels[at] == group.labels[0]]
    wanted = torch.stack([views["further_image"][at] for at in kept]).mean(0)
    assert torch.allclose(group.prototypes("image")[group.labels[0]], wanted, atol=1e-5)
    assert math.isfinite(sum(learner.losses(views).values()).item())


def test_the_last_episodes_move_the_text_side_alone():
    learner, views = _clustered()
    learner.rest()
    assert set(learner.losses(views)) == {"contrast"}
    moving = {name.rpartition(".head")[0] or name for name, one in learner.named_parameters() if one.requires_grad}
    assert moving == {"branches.text", "scale.log_scale"}


def test_an_episode_is_drawn_without_replacement_by_its_number():
    rows = [{"id": str(at)} for at in range(20)]
    episodes = Episodes(rows, 8, 0, lambda batch: {"ids": [row["id"] for row in batch]})
    first, second = episodes.drawn(0), episodes.drawn(1)
    assert len(set(first)) == len(episodes.places) == 8
    assert set(first) != set(second)
    assert Episodes(rows, 8, 0, lambda batch: {}).drawn(1) == second
    places = [{INDEX: place, EPOCH: 1} for place in (3, 5)]
    assert episodes(places) == {"ids": [str(second[3]), str(second[5])]}
    assert [row["id"] for row in episodes.of(1)] == [str(at) for at in second]


def test_too_few_steps_for_an_episode_are_refused(tmp_path):
    cfg = protoclip.tiny().but(train__steps=4, warm=1)
    with pytest.raises(UserError, match=r"train.steps=4 are 2.0 episodes of 2 steps: wanted more than warm=1"):
        protoclip.run(cfg, Run.of("protoclip", cfg, root=tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__columns": ("image", "speech"), "teacher": "x"}, "teacher=x reads a text column"),
        ({"prototypes": "own", "teacher": "x"}, "and prototypes=own"),
        ({"data__columns": ("image",)}, "pairs two columns named by their signals"),
        ({"masked": True, "classes": None}, "masked=true takes the words of classes=None out of texts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, said, tmp_path):
    cfg = protoclip.tiny().but(**changes)
    with pytest.raises(UserError, match=said):
        protoclip.run(cfg, Run.of("protoclip", cfg, root=tmp_path))


def test_a_pretrained_clip_is_trained_whole(tmp_path):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    folder = save(clip(), tmp_path / "hub", tokenizer(), processor)
    cfg = protoclip.tiny().but(pretrained=str(folder), train__steps=4, finish=0, augment=True)
    protoclip.run(cfg, run := Run.of("protoclip", cfg, root=tmp_path))
    assert {"image", "text"} == set(Space.load(run.folder / "space").branches)
    assert all("prototypes" in line for line in run.metrics())
    bad = cfg.but(locked=("image",))
    with pytest.raises(UserError, match="is trained whole"):
        protoclip.run(bad, Run.of("protoclip", bad, root=tmp_path))


def test_the_picture_shows_words_and_thumbnails():
    file = io.BytesIO()
    Image.new("RGB", (60, 30), "red").save(file, "PNG")
    drawn = str(prototypes([([file.getvalue(), b"no picture", None], ["A <b> cat, animal", "cat", None])]))
    assert drawn.count("data:image/jpeg;base64,") == 1
    assert "cat, a, &lt;b&gt;, animal" in drawn
    assert re.search(r"<b>", drawn) is None


def test_augmentation_is_by_its_generator():
    picture = Image.effect_noise((80, 60), 90).convert("RGB")
    one, again, other = (changed(picture, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.size == (256, 256)
    assert one.tobytes() == again.tobytes() != other.tobytes()


def test_members_stand_by_their_nearness():
    vectors = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.2], [0.0, 1.0], [1.0, 0.0]]), dim=1)
    there = torch.tensor([True, True, True, True, False])
    found = nearest(torch.tensor([1, 1, 1, 0, 1]), torch.eye(2).flip(0), vectors, there, most=2)
    assert found == [[0, 2, 1, 4], [3]]


def test_the_classes_words_are_taken_out():
    stems = {"animal", "sign"}
    for text, wanted in (
        ("A lion, animal, big Animals", "A lion, big"),
        ("signs, sign", None),
        ("design, signal", "design, signal"),  # words that only hold one
        ("sign-post of iron", "of iron"),
        (None, None),
    ):
        assert without(stems, text) == wanted
    rows = {"text": ["a tool, animal", "food and drink"], "top": ["animals", "signs_and_foods"], "label": [0, 1]}
    found = masked({"train": Dataset.from_dict(rows), "dev": Dataset.from_dict(rows | {"top": ["tools", "x"]})}, "top")
    assert list(found["train"]["text"]) == ["a", "and drink"]  # of all splits' classes; "and" is too short a word
    assert list(found["train"]["label"]) == [0, 1]


def test_masked_rows_are_trained_and_drawn(tmp_path):
    """Captions that have nothing left are no captions: the run goes on without them."""
    cfg = protoclip.tiny().but(masked=True)
    run = Run.of("protoclip", cfg, root=tmp_path)
    measures = protoclip.run(cfg, run)
    assert 0 <= measures["test/zero_shot"] <= 1
    shapes = {"circle", "square", "triangle"}
    assert not shapes & set(re.findall(r"[a-z]+", run.pictures()["prototypes"].lower()))
