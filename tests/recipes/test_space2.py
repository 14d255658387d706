"""SPACE-2: views of trees by hand and by sets, the loss by a slow loop, and what is masked and brought together."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.objectives.contrast import contrast
from antiphon.objectives.targets import same_label
from antiphon.recipes import space2
from antiphon.recipes.space2.learner import view_losses
from antiphon.recipes.space2.material import far, material, shuffled, whole_dialogs
from antiphon.recipes.space2.measures import (
    Turns,
    bins,
    intent_scores,
    ndcg,
    read_intents,
    read_turns,
    tree_scores,
    words_scores,
)
from antiphon.recipes.space2.rows import (
    MASK,
    TurnBatches,
    drawn,
    frequent_words,
    masked,
    turn_text,
    turns_of,
    value_places,
    with_words,
)
from antiphon.recipes.space2.trees import (
    VIEWS,
    TreeCodes,
    combined_scores,
    exact_scores,
    pair_scores,
    read_tree,
    stacked,
    view_scores,
    view_sets,
)
from antiphon.recipes.space2.tuning import divergence, places_of
from antiphon.runs import Run
from antiphon.types import Padded

BUS = [("buses", "inform", "to", "bern"), ("buses", "inform", "when", "noon")]
TRAIN = [("trains", "inform", "to", "bern"), ("trains", "request", "fare", None)]
THANKS = [("buses", "thank_you", None, None)]
NOTHING = []
TREES = [BUS, TRAIN, THANKS, NOTHING, BUS, NOTHING, [(None, "play", "artist", "abba")]]
BY_VIEW = [f"supervised_{view}" for view in VIEWS]
SETTINGS = {"previous": "previous", "most": (6, 18), "tree": "tree", "levels": {}}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _scores(trees):
    codes = TreeCodes(trees)
    return codes.matrix(trees), codes.starts


def _unit(*shape):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)


def test_ten_views_of_two_trees_by_hand():
    found = dict(zip(VIEWS, stacked(view_scores(*_scores([BUS, TRAIN])))[:, 0, 1].tolist(), strict=True))
    shared = {
        "D": 0, "I": 1 / 2, "S": 1 / 3, "V": 1 / 2, "DI": 0, "IS": 1 / 3, "SV": 1 / 2, "DIS": 0, "ISV": 1 / 2,
        "DISV": 0,
    }  # fmt: skip
    assert found == pytest.approx(shared)


def test_a_view_sees_only_whole_parts():
    sets = view_sets([("buses", "thank_you", None, None), (None, None, "to", "bern")])
    assert sets["DI"] == {("buses", "thank_you")}
    assert sets["SV"] == {("to", "bern")}
    assert not sets["IS"] | sets["DIS"] | sets["ISV"] | sets["DISV"]


def test_the_sparse_product_is_the_jaccard_index_of_sets():
    found = stacked(view_scores(*_scores(TREES)))
    sets = [view_sets(tree) for tree in TREES]
    for at, view in enumerate(VIEWS):
        for i, left in enumerate(sets):
            for j, right in enumerate(sets):
                union = left[view] | right[view]
                wanted = 1.0 if i == j else len(left[view] & right[view]) / len(union) if union else 0.0
                assert found[at, i, j] == pytest.approx(wanted), (view, i, j)


def test_only_what_is_shared_is_held():
    wide = [[(f"d{n}", "inform", "slot", str(n))] for n in range(50)]
    by_view = dict(zip(VIEWS, view_scores(*_scores(wide)), strict=True))
    assert by_view["I"].nnz == 2500
    assert by_view["D"].nnz == by_view["DISV"].nnz == 50


def test_the_combined_score_leaves_out_empty_views():
    found = combined_scores(*_scores(TREES))
    assert found[0, 4] == 1
    assert found[2, 0] == pytest.approx(1 / 10)  # D alone; S, V and so on are not empty in the other turn
    assert found[3, 5] == 0
    assert found.diagonal().tolist() == [1] * len(TREES)


def test_exact_means_equal_trees():
    found = exact_scores(_scores(TREES)[0])
    assert found.nonzero().tolist() == sorted([[n, n] for n in range(7)] + [[0, 4], [4, 0]])


@pytest.mark.parametrize("count", [1, 3])
def test_the_loss_is_its_formula(count):
    first, second = _unit(4, 3, 5), _unit(4, 3, 5).flip(0)
    shared = torch.rand(count, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shared = (shared + shared.transpose(1, 2)) / 2
    shared[:, range(4), range(4)] = 1
    shared[:, 0, 2] = shared[:, 2, 0] = 0
    both, total = torch.cat([first, second]), 0.0
    for view in range(3):
        r = shared[view if count > 1 else 0]
        for i in range(8):
            others = [j for j in range(8) if j != i]
            exps = {j: math.exp(float(both[i, view] @ both[j, view]) / 0.3) for j in others}
            weights = {j: float(r[i % 4, j % 4]) for j in others}
            parts = [weights[j] * math.log(exps[j] / sum(exps.values())) for j in others]
            total -= sum(parts) / sum(weights.values()) / (3 * 8)
    found = view_losses(first, second, shared, temperature=0.3).mean()
    assert found.item() == pytest.approx(total, abs=1e-10)


def test_scores_of_nought_and_one_are_hard_supcon():
    first, second, labels = _unit(5, 1, 4), _unit(5, 1, 4).flip(0), torch.tensor([0, 1, 0, 2, 1])
    shared = (labels[:, None] == labels[None]).double()[None]
    both = torch.cat([first, second])[:, 0]
    targets = same_label(labels.repeat(2), drop_diagonal=True).double()
    supcon = contrast(both @ both.T / 0.07, targets, mask=~torch.eye(10).bool())
    assert torch.allclose(view_losses(first, second, shared, temperature=0.07), supcon)


def test_turns_without_annotation_are_nt_xent():
    first, second = _unit(5, 2, 4), _unit(5, 2, 4).flip(0)
    shared = pair_scores("views", *_scores([NOTHING] * 5))
    assert torch.equal(shared, torch.eye(5).expand(10, 5, 5))
    losses = []
    for view in range(2):
        both = torch.cat([first, second])[:, view]
        scores = (both @ both.T / 0.07).masked_fill(torch.eye(10).bool(), -math.inf)
        losses.append(cross_entropy(scores, torch.arange(10).roll(5)))
    found = view_losses(first, second, torch.eye(5, dtype=torch.float64)[None], temperature=0.07).mean()
    assert found.item() == pytest.approx(float(sum(losses)) / 2, rel=1e-6)


def test_trees_are_read_from_json():
    assert read_tree('[["Buses ", null, "", "Bern"]]', "a") == [("buses", None, None, "bern")]
    assert read_tree(None, "a") == []
    for text in ("{", '[["a", "b"]]', '["abcd", 3]', "3"):
        with pytest.raises(UserError, match="row a: no tree in"):
            read_tree(text, "a")


def test_the_turn_before_is_other_words():
    assert turn_text("Where to, please?", "Bern!", (2, 9)) == "_to _please Bern!"
    assert turn_text(None, "one two three", (2, 2)) == "one two"
    assert turn_text("a b", "c", (0, 9)) == "c"


def test_words_of_values_are_found():
    assert value_places("_bern to New  York, at Noon", [("b", "i", "to", "new york"), ("b", "i", "when", "noon")]) == [
        2,
        3,
        5,
    ]
    assert value_places("to York", [("b", "i", "to", "new york"), ("b", "i", None, None)]) == []


def test_values_are_masked_else_a_share():
    generator = torch.Generator().manual_seed(0)
    found = [masked(([5, 6, 7], [1]), generator, share=0.5, drawn=[9]) for _ in range(400)]
    assert all(asked == [MASK, 6, MASK] and seen[::2] == [5, 7] for seen, asked in found)
    kinds = [seen[1] for seen, _ in found]
    assert [kinds.count(kind) / 400 for kind in (MASK, 9, 6)] == pytest.approx([0.8, 0.1, 0.1], abs=0.06)
    share = np.mean(
        [np.mean([a != MASK for a in masked(([5] * 9, []), generator, share=0.3, drawn=[9])[1]]) for _ in range(200)]
    )
    assert share == pytest.approx(0.3, abs=0.04)


def _rows(tmp_path, trees=TREES):
    import json

    from datasets import Dataset

    texts = [f"to bern number {at}" for at in range(len(trees))]
    data = Dataset.from_dict(
        {"id": [f"r{at}" for at in range(len(trees))], "text": texts, "tree": [json.dumps(tree) for tree in trees]}
    )
    found, _ = turns_of(data, "text", **SETTINGS)
    return with_words(found, WordCnn("tiny", buckets=64, dropout=0.0))


def _batch(batches, places):
    return batches([{**batches.rows[at], "__index__": at, "__epoch__": 0} for at in places])


def test_a_batch_has_as_many_unlabelled_turns(tmp_path):
    rows = _rows(tmp_path)
    codes = TreeCodes(TREES)
    batches = TurnBatches(rows, rows[:2], codes, share=0.5, together=1, seed=0)
    batch = _batch(batches, [0, 3, 6])
    assert torch.equal(batch["codes"].values, codes.matrix([BUS, NOTHING, TREES[6]]))
    known = {tuple(row["words"][0]) for row in rows[:2]}
    assert {tuple(line) for line in batch["other"].values.tolist()} <= known
    assert len(batch["other"]) == len(batch["other_masked"]) == 3
    assert "other" not in _batch(TurnBatches(rows, [], codes, share=0.5, together=1, seed=0), [0])
    assert torch.equal(_batch(batches, [3])["other"].values[0], batch["other"].values[1])


def test_turns_of_one_slot_come_together(tmp_path):
    trees = [[(f"d{at % 3}", "inform", "to", str(at))] for at in range(30)]
    batches = TurnBatches(_rows(tmp_path, trees), [], TreeCodes(trees), share=0.5, together=4, seed=0)
    places = _batch(batches, [0, 1])["row"].tolist()
    assert places[::4] == [0, 1]
    assert [place % 3 for place in places] == [0] * 4 + [1] * 4
    for at in range(30):  # never the row itself, and none twice
        assert len(set(_batch(batches, [at])["row"].tolist())) == 4


def test_where_too_few_share_a_slot_others_come(tmp_path):
    trees = [[("a", "inform", "to", "bern")], [("a", "inform", "to", "rome")], *([("b", "play", None, None)],) * 4]
    batches = TurnBatches(_rows(tmp_path, trees), [], TreeCodes(trees), share=0.5, together=4, seed=0)
    places = _batch(batches, [0])["row"].tolist()
    assert places[:2] == [0, 1]
    assert len(set(places)) == 4


def test_shuffled_trees_are_others_and_nothing_else(tmp_path):
    trees = [[("d", "inform", "to", str(at))] for at in range(40)]
    rows = _rows(tmp_path, trees)
    found = shuffled(rows, 0)
    assert [row | {"tree": None} for row in found] == [row | {"tree": None} for row in rows]
    assert sorted(row["tree"] for row in found) == sorted(row["tree"] for row in rows)
    assert sum(row["tree"] != other["tree"] for row, other in zip(found, rows, strict=True)) > 30
    assert found == shuffled(rows, 0) != shuffled(rows, 1)


def test_domains_and_dialogs_are_held_out_whole():
    def row(dialog, domain, *intents):
        return {"dialog": dialog, "domain": domain, "tree": [(domain, intent, None, None) for intent in intents]}

    parts = {
        "train": [row("a", "buses"), row("b", "buses"), row("c", "buses")],
        "dev": [row("b", "music"), row("d", "music")],
        "test": [row("c", "movies"), row("d", "movies"), row("e", "movies")],
    }
    found = whole_dialogs(parts)
    dialogs = {side: [each["dialog"] for each in rows] for side, rows in found.items()}
    assert dialogs == {"train": ["a"], "dev": ["b"], "test": ["c", "d", "e"]}
    unseen, domains = {"movies", "music"}, {"play": ("music",), "rate": ("books",), "find": ("books", "movies")}
    kept = {
        "buses": row("x", "buses", "play"), "books": row("x", None, "rate"), "movies": row("x", "movies"),
        "music": row("x", None, "play"), "either": row("x", None, "find"), "both": row("x", None, "rate", "play"),
        "unknown": row("x", None, "other"), "nothing": row("x", None),
    }  # fmt: skip
    assert [name for name, each in kept.items() if far(each, unseen, domains)] == ["buses", "books"]


def _table(path, lines, split_by=None):
    path.write_text("\n".join(lines))
    return Pairs(source="folder", columns=("text",), options={"folder": str(path)}, split_by=split_by)


def test_no_turn_of_a_held_out_domain_or_dialog_is_trained_on(tmp_path):
    """The whole way: dialogs of two domains each, and more rows of which the intent tells the domain."""
    turns = [
        (f"word{at} of d{(at // 4 + at % 2) % 8}", f"t{at // 4}", f"d{(at // 4 + at % 2) % 8}") for at in range(200)
    ]
    own = [f"{text},{dialog},{domain},k" for text, dialog, domain in turns]
    more = [*(f"other{at},d{at % 8}" for at in range(40)), "other40,strange"]
    names = {f"d{at}": (f"d{at}",) for at in range(8)}
    cfg = space2.tiny().but(
        data=_table(tmp_path / "my.csv", ["text,dialog,domain,kind", *own], "domain"), unlabelled=(),
        more=(_table(tmp_path / "more.csv", ["text,kind", *more]),), levels={"intent": "kind"}, domains=names,
    )  # fmt: skip
    found = material(cfg.model_dump_json(), 0)
    held = {text.split()[-1] for turns in found.held.values() for text in turns.plain}
    trained = [row for row in found.labelled if row["text"].startswith("word")]
    assert len(held) >= 2
    assert trained
    assert not held & {row["domain"] for row in trained}
    assert not {dialog for _, dialog, domain in turns if domain in held} & {row["dialog"] for row in trained}
    assert {row["tree"][0][1] for row in found.labelled if row["text"].startswith("other")} == set(names) - held
    assert found.counts["rows/left_out"] > 0


def test_a_dialog_is_in_one_split_where_nothing_else_is_said(tmp_path):
    own = _table(tmp_path / "my.csv", ["text,dialog,kind", *(f"word{at},t{at // 10},k{at % 3}" for at in range(200))])
    cfg = space2.tiny().but(data=own, unlabelled=(), levels={"intent": "kind"})
    found = material(cfg.model_dump_json(), 0)
    held = {int(text[4:]) // 10 for turns in found.held.values() for text in turns.plain}
    assert held
    assert not held & {int(row["plain"][4:]) // 10 for row in found.labelled}


def test_labels_that_are_asked_for_must_be_there(tmp_path):
    own = _table(tmp_path / "my.csv", ["text,kind", *(f"word{at},k{at % 3}" for at in range(60))])
    cfg = space2.tiny().but(data=own, unlabelled=(), levels={}, asked=(), train__steps=2)
    with pytest.raises(UserError, match="scores=views wants labels, and no row of folder has any"):
        space2.run(cfg, Run.of("space2", cfg, root=tmp_path / "runs"))
    without = cfg.but(scores="none")
    assert space2.run(without, Run.of("space2", without, root=tmp_path / "runs"))["test/tree/spearman"] == 0


def test_frequent_words_and_drawn_rows(tmp_path):
    rows = _rows(tmp_path)
    often = frequent_words(rows, 3)
    assert set(often.tolist()) == {rows[0]["words"][0][at] for at in range(3)}
    assert drawn(rows, 3, 0) == drawn(rows, 3, 0) != drawn(rows, 3, 1)
    assert drawn(rows, None, 0) == rows


def _learner(rows, **changes):
    torch.manual_seed(0)
    settings = {"width": 16, "projected": 8, "scores": "views", "temperature": 0.07, "mlm": 0.1} | changes
    codes = TreeCodes([row["tree"] for row in rows])
    encoder = WordCnn("tiny", buckets=64, dropout=0.0)
    head = HeadConfig(pooling="attention", norm="none")
    return space2.Space2(encoder, codes.starts, frequent_words(rows, 2), head=head, **settings), encoder, codes


@pytest.mark.parametrize(
    ("scores", "names"),
    [
        ("views", {*BY_VIEW, "supervised_mlm", "unsupervised", "unsupervised_mlm"}),
        ("labelled", {*BY_VIEW, "supervised_mlm"}),
        ("combined", {"supervised", "supervised_mlm", "unsupervised", "unsupervised_mlm"}),
        ("mlm", {"supervised_mlm", "unsupervised_mlm"}),
    ],
)
def test_each_arm_has_its_losses(scores, names, tmp_path):
    rows = _rows(tmp_path)
    learner, _, codes = _learner(rows, scores=scores)
    batch = _batch(TurnBatches(rows, rows, codes, share=0.5, together=1, seed=0), range(7))
    batch.pop("quarantine")
    losses = learner(batch)
    assert set(losses) == names
    sum(losses.values()).backward()
    lacking = [name for name, each in learner.named_parameters() if each.requires_grad and each.grad is None]
    assert not lacking


def test_the_arms_differ_in_the_labelled_half_alone(tmp_path):
    rows = _rows(tmp_path)
    found = {}
    for scores in ("views", "combined", "exact", "none"):
        learner, _, codes = _learner(rows, scores=scores, mlm=0)
        batch = _batch(TurnBatches(rows, rows, codes, share=0.5, together=1, seed=0), range(7))
        batch.pop("quarantine")
        views = learner.embed(batch)
        losses = learner.losses(views)
        found[scores] = {"unsupervised": losses.pop("unsupervised").item(), "supervised": sum(losses.values()).item()}
        wanted = view_losses(
            views["text_1"], views["text_2"], pair_scores(scores, views["codes"], codes.starts), temperature=0.07
        )
        assert found[scores]["supervised"] == pytest.approx(wanted.mean().item(), rel=1e-5)
    assert len({round(each["supervised"], 5) for each in found.values()}) == 4
    assert len({round(each["unsupervised"], 5) for each in found.values()}) == 1


def test_views_may_weigh_more_or_nothing(tmp_path):
    rows = _rows(tmp_path)
    learner, _, codes = _learner(rows, mlm=0, view_weights={"I": 0, "D": 3})
    batch = _batch(TurnBatches(rows, [], codes, share=0.5, together=1, seed=0), range(7))
    batch.pop("quarantine")
    views = learner.embed(batch)
    own = view_losses(
        views["text_1"], views["text_2"], pair_scores("views", views["codes"], codes.starts), temperature=0.07
    )
    weights = {view: {"I": 0, "D": 3}.get(view, 1) for view in VIEWS}
    wanted = {f"supervised_{v}": w * own[at].item() / 11 for at, (v, w) in enumerate(weights.items())}
    assert {name: loss.item() for name, loss in learner.losses(views).items()} == pytest.approx(wanted, rel=1e-5)
    for weights in ({"X": 1}, dict.fromkeys(VIEWS, 0)):
        with pytest.raises(UserError, match="wanted weights of D, I, S"):
            _learner(rows, view_weights=weights)


def test_masked_words_are_guessed_by_the_word_vectors(tmp_path):
    rows = _rows(tmp_path)
    learner, encoder, codes = _learner(rows, scores="mlm")
    batch = _batch(TurnBatches(rows, [], codes, share=0.5, together=1, seed=0), range(7))
    seen, asked = batch["text_masked"].values.unbind(2)
    lost, count = 0.0, 0
    words = learner.words.vocabulary.tolist()
    for row in range(7):
        length = int(batch["text_masked"].lengths[row])
        tokens = encoder(Padded(seen[row : row + 1, :length], torch.tensor([length]))).tokens[0]
        for at in range(length):
            if asked[row, at].item() in words:
                logits = (
                    learner.words.transform(tokens[at]) @ encoder.embedding.weight[words].T + learner.words.bias
                ).tolist()
                own = logits[words.index(asked[row, at].item())]
                lost += math.log(sum(math.exp(logit) for logit in logits)) - own
                count += 1
    assert count > 3
    batch.pop("quarantine")
    assert learner(batch)["supervised_mlm"].item() == pytest.approx(0.1 * lost / count, rel=1e-4)


def test_ndcg_by_hand():
    scores, gains = np.array([[0, 3.0, 2, 1]]), np.array([[9, 0.5, 0, 1]])
    counts = np.array([[False, True, True, True]])
    wanted = (0.5 + 1 / math.log2(4)) / (1 + 0.5 / math.log2(3))
    assert ndcg(scores, gains, counts, 3) == pytest.approx(wanted)
    assert ndcg(np.zeros((1, 4)), gains, counts, 1) == 0  # ties count against
    assert ndcg(scores, 0 * gains, counts, 3) == 0


def test_pairs_of_one_dialog_do_not_count():
    rows = [{"text": str(at), "plain": str(at), "tree": TREES[at], "dialog": at // 2} for at in range(7)]
    held = read_turns(rows, 7, 0)
    assert held.counts[0].tolist() == [False, False, True, True, True, True, True]
    perfect = np.linalg.cholesky(held.shared + 0.5 * np.eye(7))
    found = tree_scores(perfect, held)
    assert found["spearman"] > 0.9  # the zeros are ties, which rounding breaks
    assert found["ndcg"] == pytest.approx(1)
    assert tree_scores(np.ones((7, 2)), held)["spearman"] == 0
    assert bins(held.shared, held, 4)[0][0] < bins(held.shared, held, 4)[-1][0]
    assert isinstance(held, Turns)


def test_examples_and_questions_never_meet():
    made = Pairs(source="made", columns=("text",), limit=480)
    intents = read_intents(space2.Asked(name="made", data=made, classes="shape"))
    places = [set(each.tolist()) for each in intents.places.values()]
    assert [len(each) for each in places] == [48, 96, 336]
    assert len(set.union(*places)) == 480
    own = read_intents(space2.Asked(name="made", data=made, test=made.but(limit=90), classes="shape"))
    assert [len(own.places[side]) for side in ("dev", "test", "pool")] == [48, 90, 432]
    onehot = np.eye(6)[intents.labels]
    words = words_scores(intents, shots=(1, 2), seed=0)
    assert set(words) == {f"{s}/{k}" for s in ("dev", "test") for k in ("few_shot/1", "few_shot/2", "full/centroid")}
    assert words["test/full/centroid"] == 1  # "a red circle": of the six shapes one is in the text
    found = intent_scores(lambda texts: onehot, intents, shots=(1, 2), seed=0, l2=0.1)
    assert set(found) == {
        f"{s}/{k}" for s in ("dev", "test") for k in ("few_shot/1", "few_shot/2", "logistic/2", "full/centroid")
    }
    assert set(found.values()) == {1.0}
    with pytest.raises(UserError, match="an intent has 56 examples"):
        intent_scores(lambda texts: onehot, intents, shots=(99,), seed=0, l2=None)


def test_examples_for_tuning_are_so_many_of_each_intent_by_the_seed():
    made = Pairs(source="made", columns=("text",), limit=480)
    intents = read_intents(space2.Asked(name="made", data=made, classes="shape"))
    few, again, other = (places_of(intents, 2, seed) for seed in (5, 5, 6))
    assert few == again != other
    assert np.bincount(intents.labels[few]).tolist() == [2] * 6
    assert set(few) <= set(intents.places["pool"].tolist()) == set(places_of(intents, "all", 0))
    with pytest.raises(UserError, match="examples=99: an intent has 56"):
        places_of(intents, 99, 0)


def test_tuning_learns_and_leaves_the_space_as_it_is(tmp_path):
    cfg = space2.tiny().but(scores="random", examples=(2, "all"), tuning__steps=30)
    measures = space2.run(cfg, Run.of("space2", cfg, root=tmp_path))
    assert measures["test/tuned/all"] > 0.9 > measures["chance/test/full"] == pytest.approx(1 / 6)
    assert measures["test/made/tuned/2"] == measures["test/tuned/2"]
    assert measures["tfidf/test/tuned/all"] == measures["tfidf/test/full/centroid"]
    assert measures["jaccard/test/made/tuned/all"] == measures["jaccard/test/full/centroid"]
    assert measures["test/tree/spearman"] == pytest.approx(measures["random/test/tree/spearman"])


def test_divergence_is_symmetric_kl():
    first, second = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    p, q = first.softmax(1), second.softmax(1)
    wanted = ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2
    assert torch.allclose(divergence(first, second), wanted)
    assert divergence(first, first) == 0


def test_what_does_not_fit_is_told(tmp_path):
    made = Pairs(source="made", columns=("text",))
    said = {
        "wants an encoder of whole words, as scratch-small-words, not scratch-tiny": {"text__encoder": "scratch-tiny"},
        "wants one column of texts, data.columns gives image": {
            "data": Pairs(source="made", columns=("image",)),
        },
        "no level or column topic; levels are domain, intent": {"levels": {"topic": "shape"}},
        "no level or column size; levels are domain, intent": {"levels": {"slot": "size"}},
        "made: no column kind, the rows have": {"asked": (space2.Asked(name="made", data=made, classes="kind"),)},
    }  # fmt: skip
    for number, (text, changes) in enumerate(said.items()):
        cfg = space2.tiny().but(**changes)
        with pytest.raises(UserError, match=text):
            space2.run(cfg, Run(tmp_path / str(number), cfg))


def test_nothing_trained_is_the_random_floor(tmp_path):
    cfg = space2.tiny().but(scores="random", tune=False)
    measures = space2.run(cfg, Run.of("space2", cfg, root=tmp_path))
    assert measures["test/tree/spearman"] == pytest.approx(measures["random/test/tree/spearman"])
    other = cfg.but(scores="shuffled", train__steps=3)
    again = space2.run(other, Run.of("space2", other, root=tmp_path))
    assert again["random/test/tree/spearman"] == measures["random/test/tree/spearman"]
    assert {f"{at}{name}" for at in ("rank/", "rank/start/") for name in (*VIEWS, "h")} <= set(again)
    assert again["rank/D"] != again["rank/start/D"] == measures["rank/D"]
    assert set(Run.of("space2", other, root=tmp_path).pictures()) == {"trees", "projections", "shared"}
