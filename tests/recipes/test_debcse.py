"""DebCSE: propensities and weights by hand, draws that follow their chances, and the loss by a loop."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import normalize

from antiphon.decode import split_words
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.items import Items
from antiphon.errors import UserError
from antiphon.evaluation.captions import rouge_l
from antiphon.evaluation.floors import length_ratio
from antiphon.recipes import debcse
from antiphon.recipes.debcse.probes import biases, false_negatives
from antiphon.recipes.debcse.rows import Drawn
from antiphon.recipes.debcse.sampling import (
    CHANGES,
    Candidates,
    Draws,
    Pool,
    Surface,
    candidates_of,
    draws_of,
    pool_of,
    thresholds,
)
from antiphon.runs import Run, read_jsonl

TEXTS = [
    "a man plays a guitar",
    "the man is playing guitar",
    "a guitar plays a man",
    "rain falls on the old town",
    "it",
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def test_surface_by_rouge_l_and_lengths():
    for one in TEXTS:
        surf = Surface(one)
        for other in TEXTS:
            wanted = 0.5 * rouge_l([one], [[other]], beta=1.0) + 0.5 * length_ratio(one, other)
            assert surf(other) == pytest.approx(wanted, abs=1e-9)
        assert surf(one) == 1.0


def test_common_words_by_the_usual_table():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        first, second = (torch.randint(5, (int(size),), generator=generator).tolist() for size in (9, 12))
        table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
        surf = Surface(" ".join(f"w{word}" for word in first))
        assert surf.common([f"w{word}" for word in second]) == table[-1][-1]


def test_the_pool_holds_each_text_and_what_was_made_of_it():
    pool = pool_of(TEXTS, 0)
    assert pool.texts[:5] == TEXTS
    assert pool.corpus == 5
    assert Counter(pool.origin) == dict.fromkeys(range(5), 1 + len(CHANGES))
    for text, origin in zip(pool.texts, pool.origin, strict=True):
        known = set(split_words(TEXTS[origin])) | set(split_words("that is to say"))
        assert set(split_words(text)) <= known
    assert pool == pool_of(TEXTS, 0)


@pytest.fixture
def made():
    """Two texts with three candidates each, whose cosines and surfaces are known."""
    guide = normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]]), dim=1)
    surface = [{0: 1.0, 1: 0.2, 2: 0.5, 3: 0.9}, {0: 0.2, 1: 1.0, 2: 0.01, 3: 0.6}]
    found = Candidates([[0, 1, 2], [1, 0, 2]], [[1, 2, 3], [0, 2, 3]], surface)
    return Pool(["p", "q", "r", "s"], [0, 1, 0, 1]), found, guide


def test_weights_by_hand(made):
    pool, found, guide = made
    draws = draws_of("unclipped", pool, found, guide, (0.7, 0.1), 0.05)
    # of text 0: a copy with sem 1 and surf 1, text 1 with sem .8 and surf .2; text 2 is too far
    assert draws.positives[0][0] == [0, 1]
    assert draws.positives[0][1] == pytest.approx([1 / 5, 4 / 5])
    # negatives of text 0: text 1 is too near; sem 0 with 1 - surf .5, sem -.6 with .1
    assert draws.negatives[0][0] == [2, 3]
    assert draws.negatives[0][1] == pytest.approx([2 / 18, 16 / 18])
    # of text 1 with cosines .8, .6, 0: text 3 alone is far enough
    assert draws.negatives[1] == ([3], [1.0])
    strict = draws_of("unclipped", pool, found, guide, (0.9, 0.7), 0.05)
    assert strict.positives[0] == ([0], [1.0])  # text 1 with .8 is no longer near enough
    assert draws_of("unclipped", pool, found, guide, (0.9, 0.85), 0.05).negatives[0][0] == [1, 2, 3]
    meaning = draws_of("semantic", pool, found, guide, (0.7, 0.1), 0.05)
    assert meaning.positives[0][1] == pytest.approx([1 / 1.8, 0.8 / 1.8])
    looks = draws_of("surface", pool, found, guide, (0.7, 0.1), 0.05)
    assert looks.positives[1][0] == [1, 0, 2]
    top = 5 + 0.75 * 15  # the 95th percentile of 1, 1, 2, 5, 5 and 20: 1 / .01 would be 100, but the least is .05
    assert looks.positives[1][1] == pytest.approx([1 / (6 + top), 5 / (6 + top), top / (6 + top)])


def test_weights_are_cut_at_their_95th_percentile(made):
    pool, found, guide = made
    cut = draws_of("weighted", pool, found, guide, (0.7, 0.1), 0.05).positives[0]
    weights = sorted([1.0, 4.0, 1.0, 4.0])  # w+ of all candidates that fit, of both texts
    top = weights[2] + 0.85 * (weights[3] - weights[2])
    assert cut[1] == pytest.approx([1 / (1 + min(4.0, top)), min(4.0, top) / (1 + min(4.0, top))])


def test_simple_rules(made):
    pool, found, guide = made
    assert draws_of("dropout", pool, found, guide, (0.7, 0.1), 0.05) == Draws(
        [([0], [1.0]), ([1], [1.0])], [([], [])] * 2
    )
    near = draws_of("neighbours", pool, found, guide, (0.7, 0.1), 0.05)
    assert near.positives == [([1], [1.0]), ([0, 2], [0.5, 0.5])]  # text 2 was made of text 0
    assert near.negatives == [([], [])] * 2


def test_candidates_are_the_nearest_both_ways():
    corpus = [
        f"{colour} {shape} number {n}" for colour in ("red", "blue") for shape in ("ring", "star") for n in "12345"
    ]
    pool = pool_of(corpus, 0)
    guide = normalize(torch.randn(len(pool.texts), 6, generator=torch.Generator().manual_seed(0)), dim=1)
    found = candidates_of(pool, guide, near=3, seed=0)
    for at in range(len(corpus)):
        own = [place for place, origin in enumerate(pool.origin) if origin == at]
        order = sorted((p for p in range(len(corpus)) if p != at), key=lambda p: -float(guide[at] @ guide[p]))
        assert set(found.positives[at]) == {*own, *order[:3]}
        assert at not in found.negatives[at]
        best = max(Surface(corpus[at])(other) for p, other in enumerate(corpus) if p != at)
        assert max(found.surface[at][p] for p in found.negatives[at]) == pytest.approx(best)


def test_thresholds_are_quantiles_of_random_pairs():
    angles = torch.rand(4000, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    alpha, beta = thresholds(torch.stack([angles.cos(), angles.sin()], 1), 0.75, 0.5, seed=0)
    assert alpha == pytest.approx(math.cos(math.pi / 4), abs=0.03)
    assert beta == pytest.approx(0.0, abs=0.03)


def test_draws_follow_their_chances_and_are_the_rows_own(made, tmp_path):
    pool, found, guide = made
    draws = draws_of("unclipped", pool, found, guide, (0.7, 0.1), 0.05)
    encoder = Features(2, signal="text")
    items = Items(encoder, [], FeatureCache(tmp_path))
    items.of = {text: guide[at : at + 1] for at, text in enumerate(pool.texts)}
    drawn = Drawn(items, pool, draws, guide, hard=1, seed=0)
    counts = Counter()
    for epoch in range(2000):
        batch = drawn([{"id": "0", "place": 0, "__epoch__": epoch, "__index__": 0}])
        place = next(at for at in range(4) if torch.equal(batch["positive"].values[0, 0], guide[at]))
        counts[place] += 1
        assert torch.equal(batch["guide_positive"].values, batch["positive"].values)
        assert batch["origin_positive"].tolist() == [pool.origin[place]]
    assert counts[1] / 2000 == pytest.approx(0.8, abs=0.03)
    assert counts[0] + counts[1] == 2000
    row = {"id": "0", "place": 0, "__epoch__": 3}
    assert torch.equal(drawn([row])["positive"].values, drawn([row, {**row, "place": 1}])["positive"].values[:1])


def test_the_loss_by_a_loop():
    torch.manual_seed(0)
    cfg = debcse.tiny()
    learner = debcse.DebCSE(cfg, Features(8, signal="text"), 0.3).eval()
    rows = 5
    views = {name: normalize(torch.randn(rows, 8), dim=1) for name in ("text", "positive", "negative_0")}
    views |= {f"guide_{name}": normalize(torch.randn(rows, 3), dim=1) for name in ("text", "positive", "negative_0")}
    views |= {f"has_{name}": torch.ones(rows, dtype=torch.bool) for name in ("text", "positive", "negative_0")}
    views["has_negative_0"][2] = False
    views |= {"origin_text": torch.arange(5), "origin_positive": torch.tensor([0, 7, 1, 3, 9])}
    views["origin_negative_0"] = torch.tensor([6, 4, -1, 7, 8])
    found = learner.losses(views)["contrast"]
    total = 0.0
    for i in range(rows):
        parts = []
        for name in ("positive", "negative_0"):
            for j in range(rows):
                own = name == "positive" and i == j
                origin = int(views[f"origin_{name}"][j])
                known = origin in (i, int(views["origin_positive"][i]))
                near = float(views["guide_text"][i] @ views[f"guide_{name}"][j]) >= 0.3
                if own or (views[f"has_{name}"][j] and not known and not near):
                    parts.append(math.exp(float(views["text"][i] @ views[name][j]) / 0.05))
        total -= math.log(math.exp(float(views["text"][i] @ views["positive"][i]) / 0.05) / sum(parts)) / rows
    assert found.item() == pytest.approx(total, rel=1e-4)


def test_what_is_masked_gets_no_gradient():
    learner = debcse.DebCSE(debcse.tiny(), Features(4, signal="text"), 0.5).eval()
    views = {name: normalize(torch.randn(3, 4), dim=1).requires_grad_() for name in ("text", "positive")}
    guide = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    views |= {f"guide_{name}": guide for name in ("text", "positive")}
    views |= {f"has_{name}": torch.ones(3, dtype=torch.bool) for name in ("text", "positive")}
    views |= {f"origin_{name}": torch.arange(3) for name in ("text", "positive")}
    scores = views["text"] @ views["positive"].T / 0.05
    learner.losses(views)["contrast"].backward()
    # texts 0 and 1 are near to the guide: neither is the other's negative, and text 2 is one of both
    wanted = scores.masked_fill(torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool(), -torch.inf).softmax(1)
    slope = (wanted - torch.eye(3)) / 3 / 0.05
    torch.testing.assert_close(views["positive"].grad, slope.detach().T @ views["text"].detach())


def test_what_follows_lengths_and_what_does_not():
    texts = ["w " * (1 + at % 30) for at in range(200)]

    def by_length(asked):
        angle = torch.tensor([len(text.split()) for text in asked]) / 40
        return torch.stack([angle.cos(), angle.sin()], 1)

    def by_chance(asked):
        return normalize(torch.randn(len(asked), 8, generator=torch.Generator().manual_seed(0)), dim=1)

    assert biases(by_length, texts, Counter())["length"] > 0.99
    assert biases(by_chance, [*texts[:-1], "v"], Counter({"w": 9}))["length"] < 0.05


def test_false_negatives_with_and_without_a_guard():
    rows = Dataset.from_dict({"text": list("abcdef"), "intent": ["x", "x", "x", "y", "y", "y"]})
    sides = {letter: [1.0, 0.0] if letter in "abc" else [0.0, 1.0] for letter in "abcdef"}
    found = false_negatives(lambda texts: torch.tensor([sides[t] for t in texts]), rows, 0.5, batch_size=6, seed=0)
    assert found == {"all": pytest.approx(12 / 30), "left": 0.0}


def test_arms_share_the_guide_and_a_user_needs_no_scores(tmp_path):
    short = debcse.tiny().but(train__steps=2, start__steps=2)
    for cfg in (short, short.but(rule="dropout"), short.but(dev=(), asked=(), locked=True)):
        measures = debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))
    assert len(list(tmp_path.glob("debcse_guide-*"))) == 2  # one of the arms, and one of the locked encoder
    assert "bias/length" in measures
    assert not any(name.startswith("test/") for name in measures)


def test_a_language_model_may_be_the_guide(tmp_path):
    """Its vectors are centred on the corpus, and no run is made for it."""
    cfg = debcse.tiny().but(guide="scratch-tiny", layers=1, train__steps=2)
    measures = debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))
    assert not list(tmp_path.glob("debcse_guide-*"))
    assert -1 <= measures["test/sts"] <= 1


def test_too_few_texts(tmp_path):
    cfg = debcse.tiny().but(data__limit=3)
    with pytest.raises(UserError, match="3 different texts in sts: wanted more than near=4"):
        debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))


def test_what_cannot_be_used_is_told(tmp_path):
    """Copies and texts without words are set aside by name, not dropped."""
    lines = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("ring", "star", "cross")]
    (tmp_path / "my.csv").write_text("\n".join(["text", *lines, lines[0], "?!", ""]))
    data = {"source": "folder", "options": {"folder": str(tmp_path / "my.csv")}, "columns": ["text"]}
    cfg = debcse.tiny().but(data=data, dev=(), asked=(), train__steps=2, start__steps=2, near=3)
    run = Run.of("debcse", cfg, root=tmp_path / "runs")
    debcse.run(cfg, run)
    reasons = {line["reason"] for line in read_jsonl(run.folder / "quarantine.jsonl")}
    assert "no words" in reasons
    assert any(reason.startswith("the same as ") for reason in reasons)
