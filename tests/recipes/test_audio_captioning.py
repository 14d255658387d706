"""Audio captioning: what is changed in training and what is not, what a prompt holds, and what is measured."""

import pytest
import torch
from torch.nn.functional import normalize

from antiphon.data.collate import EPOCH, INDEX
from antiphon.data.sources import load
from antiphon.encoders.pretrained import clap_space
from antiphon.encoders.space import Space
from antiphon.errors import UserError
from antiphon.generation.caption import Captioner
from antiphon.recipes import audio_captioning
from antiphon.recipes.audio_captioning.measuring import Shown, compared, drawn
from antiphon.recipes.audio_captioning.names import NAMES
from antiphon.recipes.audio_captioning.rows import (
    Heard,
    augmented,
    collate_of,
    in_place_of_texts,
    names_kind,
    neighbours,
    references_of,
)
from antiphon.runs import Run
from tests.recipes.clap import clap_checkpoint, sounding_rows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _vectors(rows=12, width=16):
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(0)), dim=1)


def test_neighbours_by_a_loop():
    vectors = _vectors()
    found = neighbours(vectors, 3)
    for at, own in enumerate(vectors):
        order = sorted((other for other in range(12) if other != at), key=lambda other: -float(own @ vectors[other]))
        assert torch.equal(found[at], vectors[[at, *order[:3]]])
    assert neighbours(vectors[:2], 5).shape == (2, 2, 16)


def test_instances_are_replaced_so_often_and_by_every_neighbour():
    item, generator = neighbours(_vectors(), 4)[0], torch.Generator().manual_seed(0)
    found = torch.cat([augmented(item, generator, replace=0.5, variance=0.0) for _ in range(2000)])
    counts = [(found - each).norm(dim=1).lt(1e-5).sum().item() / 2000 for each in item]
    assert counts[0] == pytest.approx(0.5, abs=0.04)
    assert counts[1:] == pytest.approx([0.125] * 4, abs=0.03)
    assert torch.allclose(augmented(item, generator, replace=0.0, variance=0.0)[0], item[0])


def test_noise_has_its_variance_in_every_dimension_and_the_sum_is_of_length_one():
    """Noise of variance v in D dimensions has length sqrt(v D), so that the cosine with the unit vector is known."""
    item, generator = normalize(torch.randn(1, 400), dim=1), torch.Generator().manual_seed(0)
    found = torch.cat([augmented(item, generator, replace=0.0, variance=0.003) for _ in range(300)])
    assert torch.allclose(found.norm(dim=1), torch.ones(300), atol=1e-5)
    assert float((found @ item[0]).mean()) == pytest.approx(1 / (1 + 0.003 * 400) ** 0.5, abs=0.01)


def test_a_replaced_instance_keeps_its_target():
    """Only the vector is another one: the ids are the row's own; rows are drawn by seed and epoch alone."""
    vectors = _vectors()
    rows = [{"id": str(at), "vector": one, "ids": [at, at], INDEX: at, EPOCH: 0} for at, one in
            enumerate(neighbours(vectors, 3))]  # fmt: skip
    collate = collate_of(16, replace=1.0, variance=0.0, tags=2, seed=0)
    batch = collate(rows)
    assert batch["ids"].values.tolist() == [[at, at] for at in range(12)]
    assert ((batch["vector"].values[:, 0] * vectors).sum(1) < 0.999).all()
    assert batch["chance"].values.shape == (12, 1, 5)
    again = collate(rows[::-1])
    assert torch.equal(again["vector"].values.flip(0), batch["vector"].values)
    later = collate([row | {EPOCH: 1} for row in rows])
    assert not torch.equal(later["vector"].values, batch["vector"].values)


def _learner():
    cfg = audio_captioning.tiny()
    made = Captioner.__new__(Captioner)
    torch.nn.Module.__init__(made)
    made.names = list(NAMES)
    made.register_buffer("name_vectors", normalize(torch.randn(len(NAMES), cfg.width), dim=1))
    return audio_captioning.Captioning(made, names=2, spoiled=0.3)


def test_names_of_a_prompt_are_the_nearest_and_some_are_spoiled():
    torch.manual_seed(0)
    learner = _learner()
    vectors = learner.captioner.name_vectors
    chance = torch.rand(len(vectors), 5, generator=torch.Generator().manual_seed(0))
    found = learner.tags(vectors, chance)
    kept = sum(names[0] == NAMES[at] for at, names in enumerate(found)) / len(found)
    assert kept == pytest.approx(0.7, abs=0.08)
    rare = audio_captioning.Captioning(learner.captioner, names=2, spoiled=0.0, often=0.5)
    shares = [bool(names) for names in rare.tags(vectors, chance)]
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.1)
    assert all(names[0] == NAMES[at] for at, names in enumerate(rare.tags(vectors, chance)) if names)


def test_there_are_many_more_names_than_kinds():
    assert len(set(NAMES)) == len(NAMES) > 200


def test_supervision_draws_sounds_of_the_captions_kind():
    vectors = _vectors(4)
    found, places = in_place_of_texts(vectors, ["cat", "cat", "dog", "rain"], ["dog", "", "cat", "dog", "lion"], 0)
    assert places == [0, 2, 3]
    assert torch.equal(found[0], vectors[2])
    assert any(torch.equal(found[1], one) for one in vectors[:2])


def test_references_are_of_the_kind_or_the_rows_own():
    rows = load("made", rows=6)
    assert references_of(rows, None, None)[0] == ["a red circle"]
    found = references_of(rows, load("made", rows=12), "shape")
    assert found[0] == ["a red circle", "a green circle"]


def test_a_kind_is_named_by_its_words():
    assert names_kind("A puppy whines", "dog bark")
    assert not names_kind("A hotdog", "dog bark")
    assert names_kind("the red circle", "circle")


def test_pictures_escape_what_came_from_rows():
    heard = Heard(["<b>"], ["rain"], torch.ones(1, 2), [["x"]])
    table, caption = drawn(heard, Shown([["rain"]], ["Rain & <i>wind</i>"], ["snow"]))
    assert "<i>" not in table
    assert "Rain &amp; &lt;i&gt;" in table
    assert "name the kind of 100% of all test sounds" in caption
    assert "of 0%" in caption


def test_ways_stand_beside_each_other():
    names = ("sound", "projected", "text", "retrieved", "template", "prior")
    metrics = ("hit", "unique", "CIDEr-D", "BLEU-4", "ROUGE-L")
    found = {
        f"{name}/{metric}": at + place / 10 for at, name in enumerate(names) for place, metric in enumerate(metrics)
    }
    table, caption = compared(found | {"shuffled/hit": 0.125})
    assert "<td>the nearest training caption</td><td>3.00</td><td>3.10</td><td>3.20</td>" in table
    assert "dealt out at random name 0.12" in caption


def test_arms_that_part_from_the_beginning_share_no_start(tmp_path):
    cfg = audio_captioning.tiny().but(train__steps=2, space__steps=2, start=None)
    measures = audio_captioning.run(cfg, Run.of("audio_captioning", cfg, root=tmp_path))
    assert not list(tmp_path.glob("audio_captioning_start-*"))
    assert 0 <= measures["test/retrieved/hit"] <= 1


def test_arms_share_the_space_and_the_start_and_what_is_kept_captions_sounds(tmp_path):
    short = audio_captioning.tiny().but(train__steps=2, space__steps=2, start__steps=2, sound=None)
    for seed, cfg in [(0, short), (0, short.but(augment="none", names=0)), (1, short.but(learn_from="sound"))]:
        run = Run.of("audio_captioning", cfg, seed=seed, root=tmp_path)
        audio_captioning.run(cfg, run)
    assert len(list(tmp_path.glob("audio_captioning_start-*"))) == 1
    assert len(list(tmp_path.glob("audio_captioning_space-*"))) == 2  # one a seed
    space, captioner = Space.load(run.folder / "space"), Captioner.load(run.folder / "captioner")
    vectors = space.embed(speech=list(load("made", rows=3)["speech"]))
    said = captioner.captions(vectors, cfg.decoding, tags=2)
    assert said == captioner.captions(vectors, cfg.decoding, tags=2)
    assert len(said) == 3
    assert captioner.tags == cfg.names
    assert "captions" in run.pictures()


def test_texts_of_the_rows_own(tmp_path):
    """A user's pairs of sounds and captions need no kinds."""
    cfg = audio_captioning.tiny().but(
        train__steps=2, space__steps=2, start__steps=2, classes=None, references=None, learn_from="sound"
    )
    measures = audio_captioning.run(cfg, Run.of("audio_captioning", cfg, root=tmp_path))
    assert 0 <= measures["test/sound/ROUGE-L"] <= 1


def test_rows_that_do_not_fit(tmp_path):
    cfg = audio_captioning.tiny().but(data__columns=("image", "text"))
    with pytest.raises(UserError, match=r"wants one column of sounds and one of texts, data.columns has image, text"):
        audio_captioning.run(cfg, Run.of("audio_captioning", cfg, root=tmp_path))


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values:UserWarning")
def test_the_space_may_be_a_clap_checkpoint(tmp_path):
    data = sounding_rows(tmp_path / "rows", "audio", "text")
    cfg = audio_captioning.tiny().but(
        data=data, paired=data, captions=data, references=None, classes=None, sound=None, width=8,
        checkpoint=str(clap_checkpoint(tmp_path / "clap")), train__steps=2, start__steps=2,
    )  # fmt: skip
    measures = audio_captioning.run(cfg, Run.of("audio_captioning", cfg, root=tmp_path / "runs"))
    assert 0 <= measures["test/sound/ROUGE-L"] <= 1
    assert not list((tmp_path / "runs").glob("audio_captioning_space-*"))
    space = Space.load(next((tmp_path / "runs").glob("audio_captioning-*")) / "space")
    given = clap_space(cfg.checkpoint)[0]
    assert torch.allclose(space.embed(text=["a red boat"]), given.embed(text=["a red boat"]), atol=1e-6)
    wide = cfg.but(width=16)
    with pytest.raises(UserError, match="towers for audio, text and width 8; the rows have audio, and width=16"):
        audio_captioning.run(wide, Run.of("audio_captioning", wide, root=tmp_path / "runs"))
