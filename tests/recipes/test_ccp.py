"""CCP: the loss by a slow loop, the guards, the windows, and what is measured."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn.functional import normalize

from antiphon.data.pairs import Pairs
from antiphon.encoders.grams import GramBag
from antiphon.errors import UserError
from antiphon.evaluation.geometry import centring
from antiphon.recipes import ccp
from antiphon.recipes.ccp.guards import Banks, Projection, RunningNorm
from antiphon.recipes.ccp.leaks import leak
from antiphon.recipes.ccp.measures import (
    GramTfIdf,
    accuracies,
    both_ways,
    calibrations,
    found_first,
    geometry_of,
    language_probe,
    languages_of,
    length_scores,
    masked,
    neighbours,
    outside_pairs,
    pairs_of,
    summed_up,
    translated,
    words_in_common,
)
from antiphon.recipes.ccp.pictures import bars
from antiphon.recipes.ccp.rows import Column, Windows, as_many, by_language, training_rows
from antiphon.runs import Run

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def column(texts=WORDS, documents=(6, 4), lines=None):
    names = [name for name, count in zip("ab", documents, strict=True) for _ in range(count)]
    places = [at for count in documents for at in range(count)]
    return Column(list(texts), names, list(lines or [f"{at}" for at in range(len(texts))]), places)


def two_languages():
    return {"xx": column(), "yy": column([f"{word}k" for word in WORDS])}


def rows_of(columns=None, **changes):
    settings = {"window": 2, "shuffled": False, "balance": 0.5, "seed": 0} | changes
    rows = training_rows(columns or two_languages(), **settings)
    return [row | {"__index__": at, "__epoch__": 0} for at, row in enumerate(rows)]


def learner_and_views(**changes):
    torch.manual_seed(0)
    cfg = ccp.tiny().but(**changes)
    encoder = GramBag("tiny", buckets=512)
    learner = ccp.CCP(cfg, encoder, 2)
    batch = Windows(encoder, 0, 2)(rows_of())
    assert batch.pop("quarantine") == []
    return learner, {name: view.detach() for name, view in learner.embed(batch).items()}


@torch.no_grad()
def slow_loss(learner, views, negatives):
    """L by a loop in float64; negatives: of row i a list of (vector, number)."""
    total = {}
    for query, key in (("text", "context"), ("context", "text")):
        asked = learner.project(views[query], query=True)
        keys = learner.keys_of(views)
        losses = []
        for i in range(len(asked)):
            own = {int(views["number"][i]), int(views["other"][i])}
            own |= set(views["near" if query == "text" else "near_other"][i].tolist())
            against = [vector for vector, number in negatives(i, keys[key], key) if number not in own]
            scores = [float(asked[i] @ vector) / learner.cfg.temperature for vector in [keys[key][i], *against]]
            losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[0])
        total[f"{query}_to_{key}"] = sum(losses) / len(losses)
    return total


@pytest.mark.parametrize("norm", ["asymmetric", "symmetric", "layer", "none"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_loss_is_its_equation_within_the_batch(norm, momentum):
    learner, views = learner_and_views(bank="batch", norm=norm, momentum=momentum, temperature=0.5)
    learner.eval()
    numbers = {"context": views["other"], "text": views["number"]}

    def negatives(i, keys, name):
        same = [j for j in range(len(keys)) if views["language"][j] == views["language"][i] and j != i]
        return [(keys[j], int(numbers[name][j])) for j in same]

    wanted = slow_loss(learner, views, negatives)
    found = learner.losses(views)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("bank", ["language", "shared"])
def test_the_loss_is_its_equation_with_a_bank(bank):
    learner, views = learner_and_views(bank=bank, temperature=0.5)
    learner.train()
    first = learner.losses(views)
    assert sum(first.values()).item() == pytest.approx(0, abs=1e-6)  # nothing in the bank yet
    learner.eval()

    def negatives(i, keys, name):
        against, numbers, filled = learner.banks.of(int(views["language"][i]))
        return [(against[k], int(numbers[k])) for k in range(len(against)) if filled[k]]

    wanted = slow_loss(learner, views, negatives)
    for name, value in learner.losses(views).items():
        assert value.item() == pytest.approx(wanted[name], abs=1e-5)
    assert wanted["text_to_context"] > 0.5
    assert sum(len(queue) for queue in learner.banks.queues) == 20  # in evaluation nothing is pushed


def test_no_query_meets_an_empty_bank():
    learner, views = learner_and_views(temperature=0.5)
    learner.fill(views, 8, 0)
    assert [len(queue) for queue in learner.banks.queues] == [10, 10]
    assert int(learner.slow[1].norm.seen) == 3
    assert all(loss > 1 for loss in learner.losses(views).values())


def test_a_bank_holds_one_language():
    banks = Banks(2, 8, 3, shared=False)
    banks.push(torch.eye(3), torch.tensor([5, 6, 7]), torch.tensor([0, 1, 0]))
    keys, numbers, filled = banks.of(0)
    assert numbers[filled].tolist() == [5, 7]
    assert torch.equal(keys[filled], torch.eye(3)[[0, 2]])
    mixed = Banks(2, 8, 3, shared=True)
    mixed.push(torch.eye(3), torch.tensor([5, 6, 7]), torch.tensor([0, 1, 0]))
    assert len(mixed.of(1)[0]) == 2 * len(banks.of(1)[0])  # as many of each language, and as old ones
    assert mixed.of(1)[1][mixed.of(1)[2]].tolist() == [5, 6, 7]


def test_a_positive_is_never_among_its_own_negatives():
    """With a bank of the rows themselves, the loss counts all but the row's own sentence and those of its window."""
    learner, views = learner_and_views(temperature=1.0)
    learner.banks.push(torch.zeros(20, 32), views["number"], views["language"])
    near = torch.cat([views["number"][:, None], views["near"]], 1)
    zeros = torch.zeros(20, 32)
    found = learner.eval()._direction(zeros, zeros, near, views["other"], views["language"])
    # ten sentences of a language, in documents of six and four, less those at most two places away; and the positive
    counts = [10 - sum(1 for other in range(size) if abs(other - at) <= 2) for size in (6, 4) for at in range(size)]
    assert found.item() == pytest.approx(sum(math.log(1 + count) for count in counts) / 10, abs=1e-6)


def test_a_key_under_the_asymmetric_norm_does_not_hang_on_its_batch():
    torch.manual_seed(0)
    project, rows = Projection(6, 4, "asymmetric"), torch.randn(8, 6)
    project.learn(rows)
    assert torch.allclose(project(rows, query=False)[:2], project(rows[:2], query=False), atol=1e-6)
    assert not torch.allclose(project(rows, query=True)[:2], project(rows[:2], query=True), atol=1e-2)
    both = Projection(6, 4, "symmetric")
    assert not torch.allclose(both(rows, query=False)[:2], both(rows[:2], query=False), atol=1e-2)


def test_running_statistics_are_a_batch_norms():
    torch.manual_seed(0)
    ours, theirs, rows = RunningNorm(5), torch.nn.BatchNorm1d(5), torch.randn(7, 5) * 3 + 1
    assert torch.allclose(ours(rows, together=True), theirs(rows), atol=1e-5)
    ours.learn(rows)
    assert torch.allclose(ours.mean, rows.mean(0), atol=1e-6)  # the first batch is taken whole
    ours.learn(rows + 1)
    assert torch.allclose(ours.mean, rows.mean(0) + 0.5, atol=1e-5)
    assert not any(buffer.requires_grad for buffer in ours.buffers())


def test_the_key_encoder_follows_slowly():
    learner, views = learner_and_views(momentum=0.9)
    before = [p.clone() for p in learner.slow.parameters()]
    with torch.no_grad():
        for parameter in [*learner.branches.parameters(), *learner.project.parameters()]:
            parameter.add_(1.0)
    learner.train().losses(views)
    for old, new in zip(before, learner.slow.parameters(), strict=True):
        assert torch.allclose(new, old + 0.1, atol=1e-5)
        assert not new.requires_grad


def test_windows_are_of_the_document():
    rows = rows_of(window=2)
    texts = {row["number"]: row["text"] for row in rows}
    assert len(rows) == 20
    for row in rows:
        at, name = WORDS.index(row["text"].removesuffix("k")), row["document"]
        near = [
            WORDS[other] + "k" * name.startswith("yy")
            for other in range(max(0, at - 2), min(10, at + 3))
            if other != at and (other < 6) == (at < 6)
        ]
        assert [text for text, _, _ in row["around"]] == [texts[number] for number in row["near"]] == near
        assert all(texts[number] == text for text, number, _ in row["around"])
        assert all(row["number"] in others for _, _, others in row["around"])


def test_shuffled_order_keeps_the_sentences_and_breaks_the_context():
    plain, mixed = rows_of(), rows_of(shuffled=True)
    assert sorted(row["text"] for row in plain) == sorted(row["text"] for row in mixed)
    pairs = [{(row["text"], text) for row in rows for text, _, _ in row["around"]} for rows in (plain, mixed)]
    assert len(pairs[0] & pairs[1]) < 0.7 * len(pairs[0])
    assert all(row["text"].endswith("k") == row["around"][0][0].endswith("k") for row in mixed)  # within a language


def test_small_languages_are_drawn_more_often():
    columns = {"xx": column(), "yy": column(WORDS[:4], (2, 2))}
    counts = [[row["language"] for row in rows_of(columns, balance=a)].count(1) for a in (1.0, 0.5, 0.0)]
    assert counts == [4, round(10 * math.sqrt(0.4)), 10]


def test_the_other_sentence_is_drawn_by_seed_epoch_and_row():
    encoder = GramBag("tiny", buckets=64)
    rows = rows_of()
    again = [row | {"__epoch__": 1} for row in rows]
    drawn = [Windows(encoder, seed, 2)(part)["other"].tolist() for seed, part in ((0, rows), (0, rows), (0, again))]
    assert drawn[0] == drawn[1] != drawn[2]
    assert Windows(encoder, 1, 2)(rows)["other"].tolist() != drawn[0]
    assert Windows(encoder, 0, 2)(rows[3:5])["other"].tolist() == drawn[0][3:5]


def test_lines_of_several_documents_are_left_out():
    data = {"t": ["a", "see also", "b", "see also", "b"], "d": [2, 2, 2, 1, 2], "l": ["x"] * 5, "n": list("12345")}

    class Table(dict):
        def __len__(self):
            return 5

    found = by_language(Table(data), "t", "d", "l", "n")
    assert found["x"].texts == ["a", "b", "b"]
    assert found["x"].lines == ["1", "3", "5"]
    assert found["x"].places == [0, 2, 3]
    assert training_rows(found, window=1, shuffled=False, balance=1, seed=0) == []  # "b" is no neighbour of "b"
    rows = training_rows(found, window=2, shuffled=False, balance=1, seed=0)
    assert [(row["text"], row["around"][0][0]) for row in rows] == [("a", "b"), ("b", "a")]
    assert by_language(Table(data), "t", "d", None, None)["all"].lines == [None] * 3


def test_translations_are_matched_by_line():
    columns = {
        "eng": Column(["a", "b", "c"], ["1"] * 3, ["x", "y", "y"], [0, 1, 2]),
        "deu": Column(["B", "A"], ["1"] * 2, ["y", "x"], [0, 1]),
        "fra": Column(["z"], ["1"], [None], [0]),
    }
    assert translated(columns, "deu", "eng") == (["A"], ["a"])
    assert list(pairs_of(columns, "eng")) == [("deu", "eng")]


def test_accuracy_counts_ties_as_wrong():
    assert found_first(torch.tensor([[2.0, 1.0], [3.0, 3.0]])) == 0.5
    assert both_ways(torch.ones(3, 2), torch.ones(3, 2)) == 0
    assert both_ways(torch.eye(3), torch.eye(3)) == 1
    told = summed_up({("deu", "eng"): 0.5, ("fra", "eng"): 0.3, ("deu", "fra"): 0.1}, "eng")
    assert told == {"accuracy": 0.4, "others": 0.1, "accuracy/deu": 0.5, "accuracy/fra": 0.3}


def test_centring_mends_languages_that_stand_apart():
    torch.manual_seed(0)
    means = torch.randn(2, 6) * 5
    concepts = torch.randn(10, 6)
    vectors = dict(zip(WORDS, concepts + means[0], strict=True))
    vectors |= {f"{word}k": concept + means[1] for word, concept in zip(WORDS, concepts, strict=True)}
    columns, embed = two_languages(), lambda texts: torch.stack([vectors[text] for text in texts])
    fitted = calibrations(embed, columns, "yy")
    pairs = pairs_of(columns, "yy")
    assert accuracies(embed, pairs, fitted["none"])["xx", "yy"] < 0.9
    for kind in ("centre", "scale", "whiten", "rotate"):
        assert accuracies(embed, pairs, fitted[kind])["xx", "yy"] == 1.0
    assert torch.equal(fitted["centre"]["xx"].mean, centring(embed(WORDS)).mean)


def test_what_both_say_is_masked():
    assert masked(["Anna has 3 cats"], ["Anna hat 3 Katzen"]) == (["has cats"], ["hat katzen"])
    assert masked(["Anna"], ["anna!"]) == (["?"], ["?"])


def test_neighbours_by_the_slow_loop():
    torch.manual_seed(0)
    vectors, own = torch.randn(10, 4).double(), column()
    units = normalize(vectors, dim=1)
    ranks = []
    for i in range(10):
        near = [j for j in range(10) if 0 < abs(i - j) <= 2 and (i < 6) == (j < 6)]
        best = max(float(units[i] @ units[j]) for j in near)
        ranks.append(1 + sum(float(units[i] @ units[j]) >= best for j in range(10) if j != i and j not in near))
    assert neighbours(vectors, own, 2) == pytest.approx(sum(1 / rank for rank in ranks) / 10)


def test_languages_that_stand_apart_are_told_apart():
    torch.manual_seed(0)
    apart = {"xx": torch.randn(10, 4) + 9, "yy": torch.randn(10, 4) - 9}
    found = geometry_of(apart, two_languages())
    assert found["language_probe"] == 1.0
    assert found["centroid_distance"] > 1.5
    one = geometry_of({"xx": apart["xx"]}, two_languages())
    assert set(one) == {"effective_rank", "mean_cosine"}


def test_ngram_scores_are_cosines():
    model = GramTfIdf(WORDS)
    scores = model.scores(WORDS, [*WORDS, "жук"])
    assert torch.allclose(scores[:, :10].diagonal(), torch.ones(10, dtype=torch.float64), atol=1e-5)
    assert scores[:, 10].max() < 0.1  # the ends of words are all that they share
    assert scores[3, 4] == pytest.approx(float(model.scores(["five"], ["four"])), abs=1e-9)
    assert length_scores(["ab"], ["ab", "abcd"]).argmax() == 0
    assert words_in_common(["a b", "c"], ["b", "c"]).tolist() == [[0.5, 0], [0, 1]]


def test_centred_ngram_scores_by_dense_vectors():
    model, other = GramTfIdf(WORDS), [f"{word}k" for word in WORDS]
    sides = [torch.from_numpy(model._weighted(tuple(texts)).toarray()) for texts in (WORDS, other)]
    left, right = (normalize(side - side.mean(0), dim=1) for side in sides)
    found = model.scores(WORDS, other, around=(model.mean(WORDS), model.mean(other)))
    assert torch.allclose(found, left @ right.T, atol=1e-5)


def test_languages_of_pairs_of_translations():
    pairs = {("deu", "eng"): (["A", "B"], ["a", "b"]), ("fra", "eng"): (["x", "x"], ["b", "c"])}
    assert languages_of(pairs, "eng") == {"deu": ["A", "B"], "eng": ["a", "c"], "fra": ["x"]}
    apart = {"deu": torch.randn(20, 4) + 9, "eng": torch.randn(20, 4) - 9}
    assert language_probe(apart, dict.fromkeys(apart, torch.arange(20) % 2 == 0)) == 1.0


def test_as_many_rows_of_training_as_are_held_out():
    rows = rows_of(balance=0.0)
    found = as_many([*rows, *rows], rows[:3])
    assert {row["language"] for row in found} == {0}
    assert len({row["document"] for row in found}) == 1
    assert len({row["id"] for row in found}) == len(found) in (4, 6)  # a whole document, each row once


def test_pairs_of_columns():
    class Table(dict):
        column_names = ("id", "text_eng", "text_deu")

    found = outside_pairs(Table(text_eng=["a", "b"], text_deu=["A", None]), "eng")
    assert found == {("deu", "eng"): (["A"], ["a"])}


def test_a_norm_of_the_batch_leaks():
    """A made leak: queries and keys that are their batch's mean and nothing else."""
    torch.manual_seed(0)
    views = {"vectors": torch.randn(40, 8), "language": torch.zeros(40, dtype=torch.int64)}
    views |= {"number": torch.arange(40), "other": torch.arange(40) + 100, "near": torch.arange(40)[:, None] + 100}
    settings = {"batch_size": 10, "groups": None, "seed": 0}

    def of_batch(part):
        return normalize(part["vectors"].mean(0).expand(len(part["vectors"]), -1), dim=1)

    def of_row(part):
        return normalize(part["vectors"], dim=1)

    leaking = leak(views, queries=of_batch, keys=of_batch, **settings)
    assert leaking["together"] == 1.0
    assert leaking["gap"] > 0.3
    assert leak(views, queries=of_row, keys=of_row, **settings) == {"together": 1.0, "apart": 1.0, "gap": 0.0}
    views["vectors"] = views["vectors"][torch.arange(40) // 10]  # ten of each; in its own window each is no rival
    views["near"] = torch.arange(40).reshape(4, 10).repeat_interleave(10, 0) + 100
    assert leak(views, queries=of_row, keys=of_row, **settings)["apart"] == 1.0
    views["near"] = views["other"][:, None]
    assert leak(views, queries=of_row, keys=of_row, **settings)["apart"] == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "symmetric", "together": True},
        {"bank": "batch", "order": "shuffled"},
        {"momentum": 0.0, "norm": "none"},
        {"bank": "shared", "norm": "layer"},
    ],
)
def test_every_arm_trains(changes, tmp_path):
    cfg = ccp.tiny().but(train__steps=30, disjoint=False, **changes)
    measures = ccp.run(cfg, Run(tmp_path, cfg))
    losses = [line["loss"] for line in Run(tmp_path, cfg).metrics() if "loss" in line]
    if "momentum" in changes:  # keys of the encoder's own past: all become alike, and the loss returns to log K
        assert losses[-1] == pytest.approx(2 * math.log(cfg.bank_size), abs=0.05)
    else:
        assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert measures["test/effective_rank"] != measures["random/test/effective_rank"]  # what is measured was trained
    leaks = changes.get("norm") == "symmetric"
    assert (measures["test/leak/rise"] != 0 or measures["test/leak/gap"] != 0) == leaks
    for metric in ("accuracy", "outside/accuracy", "others", "neighbours"):
        assert {f"{floor}/test/{metric}" for floor in ("random", "tfidf", "jaccard")} <= measures.keys()
    assert (tmp_path / "space").is_dir()
    assert "test-outside" in Run(tmp_path, cfg).pictures()


def test_one_language_and_no_translations(tmp_path):
    cfg = ccp.tiny().but(train__steps=4, language=None, line=None, outside=None)
    measures = ccp.run(cfg, Run(tmp_path, cfg))
    assert 0 < measures["test/neighbours"] <= 1
    assert "test/accuracy" not in measures
    assert "test/language_probe" not in measures


def test_gradients_reach_the_query_encoder_alone():
    learner, views = learner_and_views(bank="batch")
    leaves = {name: view.clone().requires_grad_() if view.is_floating_point() else view for name, view in views.items()}
    sum(learner.losses(leaves).values()).backward()
    assert leaves["text"].grad.abs().sum() > 0
    assert leaves["context"].grad.abs().sum() > 0
    assert leaves["text_key"].grad is None


def test_bars():
    drawn = str(bars({"deu": {"a<b": 0.2, "c": 0.1}, "fra": {"a<b": 0.4, "c": 0.0}}, y="accuracy"))
    assert drawn.count("<rect") == 4
    assert "a&lt;b" in drawn
    with pytest.raises(ValueError, match="all with the same series"):
        bars({"deu": {"a": 0.2}, "fra": {"b": 0.4}}, y="accuracy")


def test_what_does_not_fit_is_told(tmp_path):
    said = {
        "ccp wants one column of texts, data.columns gives image": {
            "data": Pairs(source="made", columns=("image",), split_by="concept"),
        },
        "document=page: no such column, the rows have": {"document": "page"},
        "language=tongue: no such column, .*; set language=null where there is none": {"language": "tongue"},
        "data.split_by=text puts document .* into train and .*: set data.split_by=document": {
            "data": Pairs(source="made_documents", columns=("text",), split_by="text"),
        },
        "bank_size=16 is below train.batch_size=32: make it larger": {"bank_size": 16},
        "no sentence has another one near it: is id the column": {"document": "id"},
    }  # fmt: skip
    for number, (text, changes) in enumerate(said.items()):
        cfg = ccp.tiny().but(disjoint=False, **changes)
        with pytest.raises(UserError, match=text):
            ccp.run(cfg, Run(tmp_path / str(number), cfg))


def test_a_copy_is_no_alias():
    learner, _ = learner_and_views(momentum=0.9)
    held = copy.deepcopy(learner.slow.state_dict())
    with torch.no_grad():
        for parameter in learner.branches.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(held[name], value) for name, value in learner.slow.state_dict().items())
