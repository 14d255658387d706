"""DebCSE: propensities and weights by hand, draws that follow their chances, and the loss by a loop."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn.functional import normalize

from antiphon.data.pairs import load
from antiphon.decode import split_words
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import identity_head
from antiphon.encoders.items import Items
from antiphon.encoders.space import Branch
from antiphon.errors import UserError
from antiphon.evaluation.captions import rouge_l
from antiphon.evaluation.floors import length_ratio
from antiphon.objectives.negatives import debiased_contrast
from antiphon.recipes import debcse
from antiphon.recipes.debcse.learner import mean_cosine
from antiphon.recipes.debcse.material import OF_THE_MATERIAL, material, usable
from antiphon.recipes.debcse.probes import biases, even, false_negatives, norms
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
    same_class,
    thresholds,
)
from antiphon.runs import Run, read_jsonl
from antiphon.training.fit import TrainingError

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


def _drawn(rule, made, *, bounds=(0.7, 0.1), cut=None):
    return draws_of(rule, rule, *made, bounds, least=0.05, cut=cut)


def test_weights_by_hand(made):
    draws = _drawn("weighted", made)
    # of text 0: a copy with sem 1 and surf 1, text 1 with sem .8 and surf .2; text 2 is too far
    assert draws.positives[0][0] == [0, 1]
    assert draws.positives[0][1] == pytest.approx([1 / 5, 4 / 5])
    # negatives of text 0: text 1 is too near; sem 0 with 1 - surf .5, sem -.6 with .1
    assert draws.negatives[0][0] == [2, 3]
    assert draws.negatives[0][1] == pytest.approx([2 / 18, 16 / 18])
    # of text 1 with cosines .8, .6, 0: text 3 alone is far enough
    assert draws.negatives[1] == ([3], [1.0])
    strict = _drawn("weighted", made, bounds=(0.9, 0.7))
    assert strict.positives[0] == ([0], [1.0])  # text 1 with .8 is no longer near enough
    assert _drawn("weighted", made, bounds=(0.9, 0.85)).negatives[0][0] == [1, 2, 3]
    meaning = _drawn("semantic", made, cut=0.95)
    assert meaning.positives[0][1] == pytest.approx([1 / 1.8, 0.8 / 1.8])
    looks = _drawn("surface", made, cut=0.95)
    assert looks.positives[1][0] == [1, 0, 2]
    top = 5 + 0.75 * 15  # the 95th percentile of 1, 1, 2, 5, 5 and 20: 1 / .01 would be 100, but the least is .05
    assert looks.positives[1][1] == pytest.approx([1 / (6 + top), 5 / (6 + top), top / (6 + top)])


def test_weights_are_cut_at_a_quantile(made):
    weights = sorted([1.0, 4.0, 1.0, 4.0])  # w+ of all candidates that fit, of both texts
    for cut in (0.95, 0.5):
        found = _drawn("weighted", made, cut=cut).positives[0]
        top = float(np.quantile(weights, cut))
        assert found[1] == pytest.approx([1 / (1 + min(4.0, top)), min(4.0, top) / (1 + min(4.0, top))])


def test_either_side_has_a_rule_of_its_own(made):
    both = _drawn("weighted", made)
    none = [([], [])] * 2
    copies = draws_of("copy", "weighted", *made, (0.7, 0.1), least=0.05, cut=None)
    assert copies == Draws([([0], [1.0]), ([1], [1.0])], both.negatives)
    near = draws_of("neighbours", "none", *made, (0.7, 0.1), least=0.05, cut=None)
    assert near == Draws([([1], [1.0]), ([0, 2], [0.5, 0.5])], none)  # text 2 was made of text 0
    assert draws_of("weighted", "none", *made, (0.7, 0.1), least=0.05, cut=None) == Draws(both.positives, none)
    mixed = draws_of("semantic", "surface", *made, (0.7, 0.1), least=0.05, cut=None)
    assert mixed == Draws(_drawn("semantic", made).positives, _drawn("surface", made).negatives)


def test_how_often_the_own_class_is_drawn():
    draws = Draws(
        [([0, 1, 2], [0.5, 0.3, 0.2]), ([1], [1.0]), ([0], [1.0])], [([1, 2], [0.4, 0.6]), ([], []), ([], [])]
    )
    found = same_class(draws, ["x", "x", "y"])
    assert found == pytest.approx({"right_positives": (0.3 / 0.5 + 0) / 2, "wrong_negatives": 0.4})
    assert same_class(Draws([([0], [1.0])], [([], [])]), ["x"]) == {}


def test_candidates_are_the_nearest_both_ways():
    corpus = [
        f"{colour} {shape} number {n}"
        for colour in ("red", "blue", "grey")
        for shape in ("ring", "star")
        for n in "12345"
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
    pool, _, guide = made
    draws = _drawn("weighted", made)
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


def test_the_corrected_loss_is_the_objective_itself():
    torch.manual_seed(0)
    learner = debcse.DebCSE(debcse.tiny().but(prior=0.1), Features(8, signal="text")).eval()
    views = {name: normalize(torch.randn(5, 8), dim=1) for name in ("text", "positive")}
    views |= {f"guide_{name}": normalize(torch.randn(5, 3), dim=1) for name in ("text", "positive")}
    views |= {f"has_{name}": torch.ones(5, dtype=torch.bool) for name in ("text", "positive")}
    views |= {f"origin_{name}": torch.arange(5) for name in ("text", "positive")}
    wanted = debiased_contrast(views["text"] @ views["positive"].T / 0.05, prior=0.1, lowest=-20.0)
    assert learner.losses(views)["contrast"].item() == pytest.approx(wanted.item(), rel=1e-5)
    plain = debcse.DebCSE(debcse.tiny(), Features(8, signal="text")).eval()
    assert plain.losses(views)["contrast"].item() != pytest.approx(wanted.item(), rel=1e-3)


def test_what_follows_lengths_and_what_does_not():
    texts = ["w " * (1 + at % 30) for at in range(200)]
    angle = torch.tensor([len(text.split()) for text in texts]) / 40
    by_length = torch.stack([angle.cos(), angle.sin()], 1)
    by_chance = normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    found = biases(by_length, torch.ones(200), texts, Counter())
    assert found["length"] > 0.99
    assert found["frequency"] == found["norm"] == 0  # all words are as rare
    assert biases(by_chance, torch.ones(200), [*texts[:-1], "v"], Counter({"w": 9}))["length"] < 0.05


def test_what_follows_frequent_words():
    texts = ["often often" if at % 2 else "rare rare" for at in range(100)]
    sides = torch.tensor([[1.0, 0.0] if at % 2 else [0.0, 1.0] for at in range(100)])
    counts = Counter({"often": 1000, "rare": 1})
    found = biases(sides, torch.tensor([1.0 + at % 2 for at in range(100)]), texts, counts)
    assert found["frequency"] == pytest.approx(1)
    assert found["norm"] == pytest.approx(1)
    assert found["length"] == 0


def test_norms_are_of_the_vectors_before_they_are_unit(tmp_path):
    items = Items(Features(2, signal="text"), [], FeatureCache(tmp_path))
    items.of = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[0.0, 2.0]])}
    branch = Branch(items.encoder, identity_head(2))
    assert norms(items, branch, ["a", "b", "a"]).tolist() == pytest.approx([5, 2, 5])


def test_lengths_that_differ_alike_are_one_bin():
    """What knows lengths alone tells nothing inside a bin; what knows the scores tells all."""
    rows = {"text_1": ["w"] * 120, "text_2": ["w " * (1 + at % 3) for at in range(120)]}
    scores = [float(at % 3) * 10 + at % 7 for at in range(120)]
    lengths = [float(at % 3) for at in range(120)]
    assert even(scores, rows | {"score": scores}) == pytest.approx(1)
    assert even(lengths, rows | {"score": scores}) is None
    noise = torch.randn(120, generator=torch.Generator().manual_seed(0)).tolist()
    likely = [length + 0.01 * each for length, each in zip(lengths, noise, strict=True)]
    assert spearmanr(likely, scores).statistic > 0.7 > 0.3 > abs(even(likely, rows | {"score": scores}))
    assert even(scores, rows | {"score": scores}, least=41) is None


def test_texts_are_used_once_and_never_where_they_are_scored():
    scored = {"dev/x": {"text_1": ["A cat sat."], "text_2": ["dogs bark"]}}
    rows = [
        ("a", "a cat, sat!"),
        ("b", "Rain falls."),
        ("c", "rain falls"),
        ("d", None),
        ("e", "?"),
        ("f", "falls rain"),
    ]
    texts, refused = usable(rows, scored)
    assert texts == ["Rain falls.", "falls rain"]
    assert refused == [
        ("a", "a scored set has it"), ("c", "the same words as b"), ("d", "no words"), ("e", "no words"),
    ]  # fmt: skip


def test_biases_are_read_on_texts_that_nothing_is_trained_on():
    cfg = debcse.tiny()
    found = material(cfg.only(*OF_THE_MATERIAL).model_dump_json())
    trained, rows = set(found.pool.texts[: found.pool.corpus]), load(cfg.data)
    assert len(found.trial.held) == round(0.2 * len(rows))
    assert set(found.trial.held) | trained == set(rows["text"])
    assert not set(found.trial.held) & trained
    assert found.trial.counts == Counter(word for text in trained for word in split_words(text))


def test_training_is_watched_and_ends_where_all_falls_together(tmp_path):
    cfg = debcse.tiny().but(train__steps=20, start__steps=2)
    run = Run.of("debcse", cfg, root=tmp_path)
    debcse.run(cfg, run)
    told = {line["step"]: line for line in run.metrics()}
    assert all({"alignment", "uniformity", "rank", "cosine"} <= set(line) for line in told.values())
    assert told[1]["rank"] != told[20]["rank"]
    strict = cfg.but(collapsed=(told[10]["cosine"] + told[20]["cosine"]) / 2)
    at = 10 if told[10]["cosine"] > told[20]["cosine"] else 20
    with pytest.raises(TrainingError, match=f"step {at}: the mean cosine of different texts is"):
        debcse.run(strict, Run.of("debcse", strict, root=tmp_path))


def test_mean_cosine_of_different_texts():
    vectors = normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    wanted = (vectors @ vectors.T)[~torch.eye(9, dtype=torch.bool)].mean().item()
    assert mean_cosine(vectors) == pytest.approx(wanted, abs=1e-6)


def test_false_negatives_with_and_without_a_guard():
    sides = {letter: [1.0, 0.0] if letter in "abc" else [0.0, 1.0] for letter in "abcdef"}
    found = false_negatives(
        lambda texts: torch.tensor([sides[t] for t in texts]), list("abcdef"), list("xxxyyy"), 0.5, batch_size=6, seed=0
    )
    assert found == {"all": pytest.approx(12 / 30), "left": 0.0}


def test_arms_share_the_guide_and_a_user_needs_no_scores(tmp_path):
    short = debcse.tiny().but(train__steps=2, start__steps=2)
    alone = short.but(dev=(), asked=(), intents=None, locked=True)
    for cfg in (short, short.but(positives="copy", negatives="none", guard=False), alone):
        measures = debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))
    assert len(list(tmp_path.glob("debcse_guide-*"))) == 2  # one of the arms, and one of the locked encoder
    assert "bias/length" in measures
    assert not any(name.startswith("test/") for name in measures)


def test_the_guard_goes_with_any_rule(tmp_path):
    """Copies with a guard, and weighted pairs without."""
    short = debcse.tiny().but(train__steps=2, start__steps=2)
    for guard in (True, False):
        for changes in ({"positives": "copy", "negatives": "none"}, {}):
            cfg = short.but(guard=guard, **changes)
            found = debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))
            assert (found["false_negatives/left"] < found["false_negatives/all"]) == guard


def test_a_language_model_may_be_the_guide(tmp_path):
    """Its vectors are centred on the corpus, no run is made for it, and whom a text draws is by them."""
    cfg = debcse.tiny().but(guide="scratch-tiny", layers=1, train__steps=2)
    found = material(cfg.only(*OF_THE_MATERIAL).model_dump_json())
    texts = found.pool.texts[: found.pool.corpus]
    vectors = found.guide(texts)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1] * len(texts), abs=1e-5)
    assert vectors.mean(0).norm() < 0.2  # 0.9 or so where nothing is taken off
    measures = debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))
    assert not list(tmp_path.glob("debcse_guide-*"))
    other = cfg.but(guide=None, start__steps=2)
    assert debcse.run(other, Run.of("debcse", other, root=tmp_path))["test/sts"] != measures["test/sts"]


def test_too_few_texts(tmp_path):
    cfg = debcse.tiny().but(data__limit=5)
    with pytest.raises(
        UserError, match="4 different texts in made_documents to train on, 1 held out: wanted more than"
    ):
        debcse.run(cfg, Run.of("debcse", cfg, root=tmp_path))


def test_what_cannot_be_used_is_told(tmp_path):
    """Copies and texts without words are set aside by name, not dropped."""
    lines = [f"a {colour} {shape}" for colour in ("red", "blue", "grey") for shape in ("ring", "star", "cross")]
    (tmp_path / "my.csv").write_text("\n".join(["text", *lines, lines[0], "?!", ""]))
    data = {"source": "folder", "options": {"folder": str(tmp_path / "my.csv")}, "columns": ["text"]}
    cfg = debcse.tiny().but(data=data, dev=(), asked=(), intents=None, train__steps=2, start__steps=2, near=3)
    run = Run.of("debcse", cfg, root=tmp_path / "runs")
    debcse.run(cfg, run)
    reasons = {line["reason"] for line in read_jsonl(run.folder / "quarantine.jsonl")}
    assert "no words" in reasons
    assert any(reason.startswith("the same words as ") for reason in reasons)
