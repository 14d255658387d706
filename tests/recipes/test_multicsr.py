"""MultiCSR: curation by hand, the masked loss by a loop, the released code's form, and stages that can be left out."""

from __future__ import annotations

import math

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import normalize

from antiphon.encoders.features import Features
from antiphon.errors import UserError, WrongValue
from antiphon.evaluation.collapse import CollapseWarning
from antiphon.generation.endpoint import Endpoint
from antiphon.generation.written import Writing, Written
from antiphon.objectives.contrast import contrast
from antiphon.recipes import multicsr
from antiphon.recipes.multicsr.chance import random_words
from antiphon.recipes.multicsr.corpus import set_aside
from antiphon.recipes.multicsr.learner import watch
from antiphon.recipes.multicsr.masking import allowed_pairs, masked_contrast, official, share_masked
from antiphon.recipes.multicsr.shown import numbers, table
from antiphon.recipes.multicsr.triplets import (
    Triplet,
    at_random,
    bounds_of,
    curated,
    described,
    mixed,
    score,
    swapped,
    without,
    write,
)
from antiphon.runs import Run
from antiphon.training.fit import Moment
from tests.generation.test_endpoint import served


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _triplet(name, same, contrary):
    return Triplet(f"text {name}", f"same {name}", f"not {name}", same, contrary)


class Stub:
    """Writes by rule: nothing about the text "mute"."""

    name = "stub"

    def write(self, prompt, opposite, texts, cfg):
        side = "not " if "contradicts" in prompt.instruction else "same "
        return ["" if text == "mute" else f"{side}{text} {cfg.weight:g} {opposite is not None}" for text in texts]

    def score(self, prompt, pairs):
        return [4.0 if said.startswith("same") else None if "odd" in text else 1.5 for text, said in pairs]


def test_triplets_are_written_and_scored(tmp_path):
    kept = Written(tmp_path / "a.jsonl")
    found = write(["one", "mute", "odd"], "contrastive", Stub(), kept, Writing(weight=0.5))
    assert found == [
        Triplet("one", "same one 0.5 True", "not one 0.5 True"),
        Triplet("odd", "same odd 0.5 True", "not odd 0.5 True"),
    ]
    plain = write(["one"], "plain", Stub(), kept, Writing(weight=0.5))
    assert plain == [Triplet("one", "same one 0 False", "not one 0 False")]
    scores = [(one.score_same, one.score_contrary) for one in score(found, Stub(), kept)]
    assert scores == [(4.0, 1.5), (4.0, None)]


def test_the_rule_of_the_released_filter():
    every = [
        _triplet("kept", 4.0, 1.0),
        _triplet("turned", 1.0, 3.5),
        _triplet("low", 2.9, 1.0),
        _triplet("high", 4.0, 3.1),
        _triplet("equal", 3.0, 3.0),
        _triplet("edge", 3.0, 2.9),
        _triplet("brink", 4.0, 3.0),
        _triplet("mute", None, 1.0),
    ]
    turned = swapped(every)
    assert [one.text for one in turned] == [one.text for one in every[:-1]]
    assert turned[1] == Triplet("text turned", "not turned", "same turned", 3.5, 1.0)
    assert [one.text for one in curated(turned, 3.0, 3.0)] == ["text kept", "text turned", "text edge", "text brink"]


def test_thresholds_by_quantile():
    every = [_triplet(at, 2 + at / 10, 1 + at / 10) for at in range(11)]
    high, low = bounds_of(every, 0.7)
    assert (high, low) == (pytest.approx(2.3), pytest.approx(1.7))
    assert len([one for one in every if one.score_same >= high - 1e-9]) == 8
    assert [one.text for one in curated(every, high - 1e-9, low + 1e-9)] == [f"text {at}" for at in range(3, 8)]
    assert bounds_of([], 0.7) == (0.0, 0.0)
    assert [one.text for one in at_random(every, 4, 0)] != [one.text for one in at_random(every, 4, 1)]
    assert len(at_random(every, 4, 0)) == 4


def test_what_was_written_is_described():
    triplets = [
        Triplet("a man sings", "A man sings!", "nobody sings"),
        Triplet("no dog runs", "a cat sleeps", "no dog runs"),
    ]
    found = described(triplets, 4)
    assert found["quality/written"] == 0.5
    assert found["quality/copied"] == 0.5
    assert found["quality/copied_contrary"] == 0.5
    assert found["quality/jaccard_same"] == 0.5
    assert found["quality/jaccard_contrary"] == pytest.approx((1 / 4 + 1) / 2)
    assert found["quality/negated"] == 0.5  # the second text says no itself


def test_strangers_as_a_floor_of_what_was_written():
    triplets = [Triplet("a man sings", "a man sings", "no man"), Triplet("dogs run", "dogs run", "dogs sit")]
    assert described(triplets, 2)["quality/copied"] == 1.0
    found = described(mixed(triplets), 2)
    assert found["quality/copied"] == found["quality/jaccard_same"] == 0.0


def test_random_words_know_words_alone():
    embed = random_words(64, 0)
    found = embed(["a man sings", "sings a man", "dogs run", "?"])
    assert torch.allclose(found.norm(dim=1), torch.ones(4))
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert abs(float(found[0] @ found[2])) < 0.5
    assert not torch.equal(random_words(64, 1)(["dogs"]), embed(["dogs"]))


def test_collapse_is_told():
    cfg = multicsr.tiny()
    learner, look = multicsr.MultiCSR(cfg, Features(8, signal="text")), watch()
    batch = {name: learner.branch.encoder.collate([torch.ones(1, 8)] * 4) for name in ("text", "positive")}
    with pytest.warns(CollapseWarning, match="text"):
        look(Moment(10, {"contrast": 1.0}, batch, learner.train()))
    assert learner.training
    learner.losses({name: normalize(torch.randn(4, 8), dim=1) for name in ("text", "positive")})
    assert learner.levels()["alignment"] > 0 > learner.levels()["uniformity"]


def test_scored_sentences_are_not_trained_on():
    scored = {"test/x": Dataset.from_dict({"text_1": ["A Man sings."], "text_2": ["a dog"]})}
    assert without(["a man sings", "a dog runs", "a  DOG!"], scored) == ["a dog runs"]


def _case(rows=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    text, same, contrary = (normalize(torch.randn(rows, 6, generator=generator).double(), dim=1) for _ in range(3))
    guides = [normalize(torch.randn(rows, 3, generator=generator).double(), dim=1) for _ in range(2)]
    scores = text @ torch.cat([same, contrary]).T / 0.05
    return scores, guides[0] @ torch.cat(guides).T


def test_the_masked_loss_by_a_loop():
    scores, guide = _case()
    there = torch.ones(10, dtype=torch.bool)
    allowed = allowed_pairs(guide, there, 0.3)
    assert not bool(allowed.all())
    total = 0.0
    for i in range(5):
        below = sum(math.exp(scores[i, j]) for j in range(10) if i == j or not float(guide[i, j]) > 0.3)
        total -= math.log(math.exp(scores[i, i]) / below) / 5
    assert float(masked_contrast(scores, allowed)) == pytest.approx(total, rel=1e-12)


def test_phi_of_one_is_infonce():
    scores, guide = _case()
    allowed = allowed_pairs(guide.clamp(-1, 1), torch.ones(10, dtype=torch.bool), 1.0)
    assert bool(allowed.all())
    assert torch.equal(masked_contrast(scores, allowed), contrast(scores))


def test_a_masked_pair_gets_no_gradient_but_counts_in_the_released_form():
    scores, guide = _case()
    there = torch.ones(10, dtype=torch.bool)
    allowed = allowed_pairs(guide, there, 0.3)
    (slope,) = torch.autograd.grad(masked_contrast(scores.requires_grad_(), allowed), scores)
    assert bool((slope[~allowed] == 0).all())
    assert bool((slope[allowed] != 0).all())
    # in the released form the pair's logit is 0, which is not to be without it
    scores = scores.detach() / 10
    loss = official(scores, allowed, there)
    removed = torch.where(allowed, scores, -torch.inf).softmax(1)
    own = torch.eye(5, 10).double()
    without_it = -(own * removed.log().clamp(min=-100) + (1 - own) * (1 - removed).log()).mean()
    assert float(loss) > 1.1 * float(without_it)


def test_the_released_form_by_a_loop():
    scores, guide = _case(seed=3)
    scores = scores / 10
    there = torch.ones(10, dtype=torch.bool)
    allowed = allowed_pairs(guide, there, 0.3)
    total = 0.0
    for i in range(5):
        row = [float(scores[i, j]) * float(allowed[i, j]) for j in range(10)]
        shares = [math.exp(value) / sum(map(math.exp, row)) for value in row]
        total -= sum(math.log(p) if i == j else math.log(1 - p) for j, p in enumerate(shares)) / 50
    assert float(official(scores, allowed, there)) == pytest.approx(total, rel=1e-9)


def test_own_hard_negatives_can_be_masked_and_one_negative_stays():
    guide = torch.tensor([[1.0, 0.99, 0.97, 0.98], [0.2, 1.0, 0.1, 0.99]])
    there = torch.ones(4, dtype=torch.bool)
    assert allowed_pairs(guide, there, 0.95).tolist() == [[True, False, True, False], [True, True, True, False]]
    bare = allowed_pairs(guide, there, 0.95, rescued=False)  # as the released code has it
    assert bare.tolist() == [[True, False, False, False], [True, True, True, False]]
    alone = allowed_pairs(torch.ones(1, 1), torch.ones(1, dtype=torch.bool), 0.95)
    assert alone.tolist() == [[True]]


def test_shares_masked():
    text = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    contrary = normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), dim=1)
    found = share_masked(text, contrary, 0.95, batch_size=3, seed=0)
    assert found == {
        "masked/texts": pytest.approx(2 / 6),
        "masked/contrary": pytest.approx(2 / 6),
        "masked/own": pytest.approx(2 / 3),
        "masked/rescued": 0.0,
    }
    assert share_masked(text, None, 0.95, batch_size=3, seed=0) == {
        "masked/texts": pytest.approx(2 / 6),
        "masked/rescued": 0.0,
    }
    near = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)[:2]
    assert share_masked(near, None, 0.95, batch_size=2, seed=0)["masked/rescued"] == 1.0
    assert share_masked(near, near, 0.95, batch_size=2, seed=0)["masked/rescued"] == 1.0


def test_the_learner_compares_texts_with_what_was_written():
    views = {name: normalize(torch.randn(4, 8), dim=1) for name in ("text", "positive", "negative")}
    views |= {f"guide_{name}": normalize(torch.randn(4, 3), dim=1) for name in ("text", "negative")}
    cfg = multicsr.tiny().but(phi=0.2)
    scores = views["text"] @ torch.cat([views["positive"], views["negative"]]).T / cfg.temperature
    guide = views["guide_text"] @ torch.cat([views["guide_text"], views["guide_negative"]]).T
    there = torch.ones(8, dtype=torch.bool)
    allowed = allowed_pairs(guide, there, 0.2)
    found = multicsr.MultiCSR(cfg, Features(8, signal="text")).losses(views)
    torch.testing.assert_close(found["contrast"], masked_contrast(scores, allowed))
    found = multicsr.MultiCSR(cfg.but(loss="official"), Features(8, signal="text")).losses(views)
    bare = allowed_pairs(guide, there, 0.2, rescued=False)
    torch.testing.assert_close(found["official"], official(scores, bare, there))


def test_arms_share_the_guide_and_the_writing(tmp_path):
    short = multicsr.tiny().but(train__steps=2, start__steps=2)
    simcse = {"written": "none", "curated": "none", "masked": False}
    found = {}
    for name, change in (
        ("whole", {}),
        ("random", {"curated": "random"}),
        ("plain", {"written": "plain", "curated": "none"}),
        ("few", {"most": 3}),
        ("simcse", simcse),
        ("user", {"dev": (), "asked": (), "locked": False}),
    ):
        cfg = short.but(**change)
        found[name] = multicsr.run(cfg, Run.of("multicsr", cfg, root=tmp_path))
    assert found["whole"]["quality/kept"] == found["random"]["quality/kept"] < 1
    assert found["plain"]["quality/kept"] == 1
    assert found["few"]["triplets"] == 3 < found["whole"]["triplets"] < found["plain"]["triplets"]
    assert {"start/test/sts", "random/test/sts", "tfidf/test/sts"} <= found["whole"].keys()
    assert "quality/kept" not in found["simcse"]
    assert not any(name.startswith("test/") for name in found["user"])
    assert len(list(tmp_path.glob("multicsr_guide-*"))) == 2  # of the arms, and of the user's rows
    assert len(list((tmp_path / "cache" / "written").glob("*.jsonl"))) == 1


def test_a_server_writes_and_scores(tmp_path):
    def said(body):
        instruction, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
        text = asked.split("\n")[0].partition(": ")[2]
        if "how alike" in instruction:
            return "0.5" if "no " in asked else "about 4" if "star" in text else "4.5"
        return f"no {text}\nNext:" if "contradicts" in instruction else f"one {text}"

    short = multicsr.tiny().but(train__steps=2, start__steps=2, drawn=1.0)
    with served(said) as (url, seen):
        cfg = short.but(endpoint=Endpoint(url=url, model="m"), written="plain", threshold="official")
        found = multicsr.run(cfg, Run.of("multicsr", cfg, root=tmp_path))
        asked = len(seen)
        cfg = cfg.but(phi=0.5)
        multicsr.run(cfg, Run.of("multicsr", cfg, root=tmp_path))
        assert len(seen) == asked == 4 * 30  # two texts and two scores of each sentence, once
    assert found["quality/negated"] == 1.0
    assert found["quality/kept"] == pytest.approx(1 - 1 / 6)  # of six shapes the stars' scores are no numbers
    assert found["quality/turned"] == 0.0


def test_a_picture_escapes_what_was_written():
    written = {"x": Triplet("x", "<b>", "no x")}
    drawn = table(["x", "y"], {}, written, {"x": Triplet("x", "no x", "<b>", 3.0, 1.0)})
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn
    assert "turned (3.00, 1.00)" in drawn
    assert "(nothing)" in drawn
    assert "<td>kept by them</td><td>0.500</td>" in numbers({"quality/kept": 0.5, "quality/other": 1.0})


def test_rows_left_out_are_named_once(tmp_path):
    cfg = multicsr.tiny().but(words=(1, 3), train__steps=2, start__steps=2)
    run = Run.of("multicsr", cfg, root=tmp_path)
    found = multicsr.run(cfg, run)
    named = run.quarantined()
    assert len(named) == found["corpus/left_out"] > 0
    set_aside(cfg, run, {name: "again" for _, name in named})
    assert len((run.folder / "quarantine.jsonl").read_text().splitlines()) == len(named)


def test_settings_that_cannot_be(tmp_path):
    few = multicsr.tiny().but(words=(40, 50))
    with pytest.raises(UserError, match="0 different sentences of 40 to 50 words in made"):
        multicsr.run(few, Run.of("multicsr", few, root=tmp_path))
    strict = multicsr.tiny().but(threshold="official")
    with pytest.raises(UserError, match=r"0 triplets of .* are left: lower the thresholds"):
        multicsr.run(strict, Run.of("multicsr", strict, root=tmp_path))
    remote = multicsr.tiny().but(endpoint=Endpoint(url="http://127.0.0.1:1", model="m"))
    with pytest.raises(WrongValue, match="wants logits"):
        multicsr.run(remote, Run.of("multicsr", remote, root=tmp_path))
