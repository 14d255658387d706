"""The text toolkit: each pairing by a slow loop, each loss by its formula, and what does not fit in one line."""

import math
import re

import pytest
import torch
from torch.nn.functional import normalize

from antiphon.config import ConfigError, parse
from antiphon.data.pairs import Pairs
from antiphon.data.wordnet import Thesaurus
from antiphon.encoders.heads import Head
from antiphon.encoders.space import Branch
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.recipes import text_contrast
from antiphon.recipes.text_contrast.classes import texts_of
from antiphon.recipes.text_contrast.learner import drawn_of, opened
from antiphon.recipes.text_contrast.rows import (
    VIEWS,
    asked_words,
    collate_for,
    most_common,
    one_word,
    replace_words,
    training_rows,
    word_shares,
)
from antiphon.recipes.text_contrast.tail import Labelled, Tail, in_buckets, labelled
from antiphon.recipes.text_contrast.views import changed, touched, with_antonyms
from antiphon.runs import Run

TEXTS = ["rent a car", "a big car please", "play a song", "what is this song", "a a a"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def thesaurus(monkeypatch):
    """Another one than WordNet, which is a package to fetch."""
    known = Thesaurus({"one": ("single", "sole"), "red": ("scarlet",), "two": ("both",)}, frozenset({"red", "small"}))
    for module in ("rows", "views"):
        monkeypatch.setattr(f"antiphon.recipes.text_contrast.{module}.wordnet", lambda: known)


def _rows(names=("rent", "rent", "play", "play", "none")):
    data = {"id": list("abcde"), "text": TEXTS, "kind": list(names)}

    class Table(dict):
        def __len__(self):
            return len(TEXTS)

    rows = training_rows(Table(data), ["text"], "kind")
    return [row | {"__index__": at, "__epoch__": 0} for at, row in enumerate(rows)]


def _learner(**changes):
    torch.manual_seed(0)
    cfg = text_contrast.tiny().but(**changes)
    encoder = WordCnn("tiny", buckets=4096, dropout=0.0)
    shares = word_shares(asked_words(_rows(), {"a"}), encoder) if cfg.pairing == "words" else None
    return text_contrast.TextContrast(cfg, encoder, shares), encoder


def _views(learner, encoder, view="none", labels=2):
    collate = collate_for(
        learner.cfg.pairing, encoder, _rows(), view=view, rate=0.5, labels=labels, common={"a"}, replaced=0.5, seed=0
    )
    batch = collate(_rows())
    del batch["quarantine"]
    return batch, {name: view.detach() for name, view in learner.embed(batch).items()}


def test_a_text_is_asked_for_its_words_and_those_of_others_that_it_has_are_left_out():
    learner, encoder = _learner(labels=2, temperature=0.5)
    batch, views = _views(learner, encoder)
    named = {encoder.collate([word]).values[0, 0].item(): word for text in TEXTS for word in text.split()}
    words = [named.get(views[f"id_word{part}"][row].item()) for part in range(2) for row in range(5)]
    assert [words[row] in TEXTS[row].split() for row in range(4)] == [True] * 4
    assert not batch["word0"].present[4]  # "a a a" has nothing to be asked for
    losses = []
    for row, text in enumerate(TEXTS[:4]):
        scores = {}
        for key, word in enumerate(words):
            if key % 5 != 4 and (key % 5 == row or word not in text.split()):
                scores[key] = float(views["text"][row] @ views[f"word{key // 5}"][key % 5]) / 0.5
        total = math.log(sum(math.exp(score) for score in scores.values()))
        own = [score for key, score in scores.items() if key % 5 == row]
        losses.append(-sum(score - total for score in own) / len(own))
    assert learner.losses(views)["words"].detach().item() == pytest.approx(sum(losses) / 4, abs=1e-5)


@pytest.mark.parametrize("corrected", [False, True])
def test_binary_noise_contrast_is_its_formula(corrected):
    """-log s(f+ + b - log K p+) - sum_k log(1 - s(f_k + b - log K p_k)), over labels."""
    learner, encoder = _learner(pairing="label", loss="binary", corrected=corrected, temperature=0.5)
    _, views = _views(learner, encoder)
    shares, labels = views["share"].tolist(), views["label"].tolist()
    assert shares == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.2])
    total = 0.0
    for i in range(5):
        for k in range(5):
            score = float(views["text"][i] @ views["name"][k]) / 0.5 + learner.scale.bias.item()
            score -= math.log(5 * shares[k]) if corrected else 0.0
            share = 1 / (1 + math.exp(-score))
            total -= math.log(share if labels[i] == labels[k] else 1 - share)
    assert learner.losses(views)["label"].detach().item() == pytest.approx(total / 5, rel=1e-5)


def test_classes_are_supcon_over_two_views():
    learner, encoder = _learner(pairing="class", temperature=0.5)
    _, views = _views(learner, encoder, view="deletion")
    scores = (views["text"] @ views["view"].T / 0.5).double()
    rows = []
    for i, label in enumerate(views["label"]):
        same = [k for k in range(5) if views["label"][k] == label]
        rows.append(-sum(float(scores[i, k] - scores[i].logsumexp(0)) for k in same) / len(same))
    assert learner.losses(views)["class"].detach().item() == pytest.approx(sum(rows) / 5, abs=1e-5)


def test_two_views_are_contrasted_both_ways():
    learner, encoder = _learner(pairing="texts", temperature=0.5)
    _, views = _views(learner, encoder, view="deletion")
    scores = views["text"] @ views["view"].T / 0.5
    cross_entropy = torch.nn.functional.cross_entropy
    wanted = (cross_entropy(scores, torch.arange(5)) + cross_entropy(scores.T, torch.arange(5))) / 2
    assert torch.allclose(learner.losses(views)["texts"], wanted, atol=1e-5)


def test_only_the_hardest_are_compared():
    learner, encoder = _learner(pairing="texts", negatives="hard", hard=1, temperature=0.5)
    _, views = _views(learner, encoder, view="deletion")
    scores = views["text"] @ views["view"].T / 0.5
    both = []
    for matrix in (scores, scores.T):
        others = matrix.masked_fill(torch.eye(5).bool(), -math.inf).amax(1)
        both.append((torch.logaddexp(matrix.diagonal(), others) - matrix.diagonal()).mean())
    assert torch.allclose(learner.losses(views)["texts"], sum(both) / 2, atol=1e-5)


def test_a_text_with_few_others_is_compared_with_all_of_them_and_the_rest_with_the_hardest():
    learner, encoder = _learner(pairing="class", negatives="hard", hard=2, temperature=0.5)
    names = ("rent", "rent", "rent", "rent", "play")
    collate = collate_for(
        "class", encoder, _rows(names), view="none", rate=0.5, labels=2, common=set(), replaced=0.5, seed=0
    )
    batch = collate(_rows(names))
    del batch["quarantine"]
    views = learner.embed(batch)
    scores = views["text"] @ views["view"].T / 0.5
    losses = []
    for row in range(5):
        others = scores[row][torch.tensor([name != names[row] for name in names])].sort(descending=True).values[:2]
        own = scores[row][torch.tensor([name == names[row] for name in names])]
        assert len(others) == (2 if row == 4 else 1)
        losses.append((torch.cat([own, others]).logsumexp(0) - own).mean())
    assert torch.allclose(learner.losses(views)["class"], sum(losses) / 5, atol=1e-5)


@pytest.mark.parametrize("pairing", ["class", "label", "words", "texts"])
def test_keys_of_earlier_batches_are_negatives_but_where_they_answer(pairing):
    learner, encoder = _learner(pairing=pairing, negatives="queue", queue=32, temperature=0.5, labels=2)
    _, views = _views(learner, encoder)
    keys, positives, allowed, _ = learner.matched(views)
    learner.losses(views)
    held = learner.queue.keys[: len(keys), :-1]
    assert torch.equal(held, keys)
    assert len(learner.queue) == len(keys)
    # the same batch again: what answers a text there, here or in the queue, is no negative of it
    again = allowed & ~positives
    if pairing == "words":  # a word of another text that this one has too
        again = ~views["bag"][:, torch.cat([views["id_word0"], views["id_word1"]])]

    def loss(queries, others):
        scores = torch.cat([queries @ others.T, queries @ held.T], 1) / 0.5
        found = []
        for row in range(len(scores)):
            own = scores[row][: len(others)][positives[row]]
            among = scores[row][torch.cat([allowed[row], again[row]])]
            found += [(among.logsumexp(0) - own).mean()] if len(own) else []
        return sum(found) / len(found)

    wanted = loss(views["text"], keys)
    if pairing == "texts":
        wanted = (wanted + loss(keys, views["text"])) / 2
    learner.eval()
    assert torch.allclose(learner.losses(views)[pairing], wanted, atol=1e-5)
    learner.losses(views)
    assert len(learner.queue) == len(keys)  # what is only measured is not kept


def test_replaced_words_corrected_for_the_noise_are_electrics_odds():
    rows = _rows()
    cfg = text_contrast.tiny().but(pairing="tokens", corrected=True, replaced=0.25, text__encoder="scratch-tiny-words")
    torch.manual_seed(0)
    learner = opened(cfg, rows)
    encoder = learner.branches["text"].encoder.eval()
    text = encoder.collate(["rent a car", "play a song"])
    whole = encoder.collate(["rent a car", "play this song"])
    words = [word for row in rows for word in row["text"].split()]
    logits = learner.real(encoder(text).tokens)[:, :, 0].detach()
    for row, line in enumerate(("rent a car", "play a song")):
        total = 0.0
        for at, word in enumerate(line.split()):
            noise = 0.25 * words.count(word) / len(words)
            chance = 1 / (1 + math.exp(-float(logits[row, at])) * noise / 0.75)
            total -= math.log(chance if text.values[row, at] == whole.values[row, at] else 1 - chance)
        assert learner._replaced(encoder, text, whole)[row].item() == pytest.approx(total / 3, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"pairing": "tokens", "negatives": "queue"},
            "pairing=tokens has a loss of its own: leave negatives=queue out",
        ),
        ({"pairing": "tokens", "loss": "triplet"}, "leave loss=triplet out"),
        ({"pairing": "texts", "corrected": True}, "pairing=texts does not know how often a key comes"),
        ({"study": "tail", "pairing": "label"}, "study=tail compares a text with all labels: leave pairing=label out"),
        ({"study": "spans", "negatives": "hard"}, "study=spans has a loss of its own: leave negatives=hard out"),
    ],
)
def test_nothing_that_is_set_is_ignored(changes, said):
    with pytest.raises(ConfigError, match=said):
        text_contrast.tiny().but(**changes)


def _methods():
    return re.findall(r"^\| ([^|]+) \|.*\| `([^`]+)` \|$", text_contrast.__doc__, re.MULTILINE)


def test_the_taxonomy_names_its_methods():
    assert len(_methods()) == 12


@pytest.mark.parametrize(("method", "words"), _methods())
def test_a_published_method_is_a_config_that_trains(method, words, tmp_path):
    columns = ["text", "text"] if "pairing=pair" in words else ["text"]
    changes = parse(text_contrast.tiny(), words.split()).but(train__steps=2, data__limit=96)
    changes = changes.but(data__columns=columns, queue=256)
    run = Run.of("text_contrast", changes, root=tmp_path)
    text_contrast.run(changes, run)
    assert all(math.isfinite(line["loss"]) for line in run.metrics())
    assert (run.folder / "space").is_dir()


def test_one_class_on_test_is_told():
    with pytest.raises(UserError, match=r"dev has no two classes of colour to tell apart: leave data\.split_by=colour"):
        texts_of(text_contrast.tiny().but(data__split_by="colour", data__limit=120), 0)


def test_the_pair_is_the_other_column():
    class Table(dict):
        def __len__(self):
            return 2

    rows = training_rows(Table(id=["a", "b"], text=["one", "two"], text_b=["eins", "zwei"]), ["text", "text_b"], None)
    encoder = WordCnn("tiny", buckets=4096, dropout=0.0)
    collate = collate_for("pair", encoder, rows, view="none", rate=0.5, labels=2, common=set(), replaced=0.5, seed=0)
    batch = collate([row | {"__index__": at, "__epoch__": 0} for at, row in enumerate(rows)])
    assert torch.equal(batch["text"].values, encoder.collate(["one", "two"]).values)
    assert torch.equal(batch["view"].values, encoder.collate(["eins", "zwei"]).values)


def test_triplets_within_the_margin_cost_nothing():
    learner, encoder = _learner(pairing="texts", loss="triplet")
    _, views = _views(learner, encoder)
    apart = normalize(torch.eye(5, 32), dim=1)
    assert learner.losses(views | {"text": apart, "view": apart})["texts"] == 0
    assert learner.losses(views | {"text": apart, "view": apart.roll(1, 0)})["texts"] == pytest.approx(0.2)


def test_replaced_words_are_told_word_by_word():
    learner, encoder = _learner(pairing="tokens")
    batch, views = _views(learner, encoder)
    losses = []
    for row in range(5):
        count = int(batch["text"].lengths[row])
        assert count == int(batch["whole"].lengths[row])
        logits = learner.real(encoder(batch["text"][row : row + 1]).tokens)[0, :count, 0].detach().tolist()
        same = (batch["text"].values[row] == batch["whole"].values[row])[:count].tolist()
        share = [1 / (1 + math.exp(-logit)) for logit in logits]
        losses.append(-sum(math.log(p if own else 1 - p) for p, own in zip(share, same, strict=True)) / count)
    assert (batch["text"].values != batch["whole"].values).any()
    assert learner.losses(views)["tokens"].detach().item() == pytest.approx(sum(losses) / 5, abs=1e-5)


def test_words_that_all_texts_have_are_not_asked_for():
    assert most_common(_rows(), 1) == {"a"}
    assert asked_words(_rows()[:1], {"a"}) == ["car", "rent"]
    generator = torch.Generator().manual_seed(0)
    assert {one_word("rent a car", generator, common={"a"}) for _ in range(20)} == {"rent", "car"}
    assert one_word("a", generator, common={"a"}) is None


def test_replaced_words_come_from_the_rows():
    generator = torch.Generator().manual_seed(0)
    found = replace_words("one two three four", generator, by=["x"], chance=0.5).split()
    assert 0 < found.count("x") < 4
    assert all(new in ("x", old) for new, old in zip(found, ["one", "two", "three", "four"], strict=True))


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "none"])
def test_every_view_changes_a_text(view, thesaurus):
    change = VIEWS[view](0.5)
    found = {change("one two three four five six", torch.Generator().manual_seed(seed)) for seed in range(9)}
    assert len(found) > 1


@pytest.mark.parametrize("pairing", ["texts", "class", "label", "tokens", "pair", "none"])
def test_every_pairing_trains_and_leaves_a_space(pairing, tmp_path):
    columns = ("text", "text") if pairing == "pair" else ("text",)
    cfg = text_contrast.tiny().but(pairing=pairing, train__steps=3, data__columns=columns)
    measures = text_contrast.run(cfg, Run(tmp_path, cfg))
    assert 0 <= measures["test/zero_shot/accuracy"] <= 1
    assert (tmp_path / "space").is_dir()
    if pairing == "none":
        assert measures["test/zero_shot/accuracy"] == measures["random/test/zero_shot/accuracy"]


def test_what_does_not_fit_is_told(tmp_path):
    said = {
        "pairing=pair wants two columns of texts, data.columns gives text": {"pairing": "pair"},
        "pairing=texts wants one column of texts, data.columns gives image": {
            "pairing": "texts", "data": Pairs(source="made", columns=("image",)),
        },
        "pairing=label wants classes=COLUMN": {"pairing": "label", "classes": None},
        "wants an encoder of whole words, as scratch-small-words, not scratch-tiny": {"text__encoder": "scratch-tiny"},
        "no text has a word beside the 999 most frequent": {"common": 999},
    }  # fmt: skip
    for number, (text, changes) in enumerate(said.items()):
        cfg = text_contrast.tiny().but(**changes)
        with pytest.raises(UserError, match=text):
            text_contrast.run(cfg, Run(tmp_path / str(number), cfg))


def test_so_many_keys_are_drawn_for_each_text():
    torch.manual_seed(0)
    others = torch.rand(40, 12) < 0.6
    others[0] = False
    others[1] = True
    found = drawn_of(others, 3)
    assert not (found & ~others).any()
    assert found.sum(1).tolist() == [min(3, int(row.sum())) for row in others]
    shares = torch.stack([drawn_of(others[1:2].expand(1, 12), 3)[0] for _ in range(800)]).float().mean(0)
    assert torch.allclose(shares, torch.full((12,), 3 / 12), atol=0.06)
    assert torch.equal(drawn_of(others, 99), others)


@pytest.mark.parametrize("loss", ["ranking", "binary"])
def test_the_loss_of_drawn_keys_is_its_formula(loss, monkeypatch):
    """The positives, and of the others only those that were drawn."""
    kept = torch.ones(5, 5).bool().fill_diagonal_(False) & (torch.arange(25).view(5, 5) % 3 == 0)
    monkeypatch.setattr("antiphon.recipes.text_contrast.learner.drawn_of", lambda others, count: others & kept)
    learner, encoder = _learner(pairing="label", loss=loss, negatives="drawn", drawn=2, corrected=True, temperature=0.5)
    _, views = _views(learner, encoder)
    labels, shares = views["label"].tolist(), views["share"].tolist()
    total = 0.0
    for i in range(5):
        scores = {}
        for k in range(5):
            if labels[k] == labels[i] or kept[i, k]:
                score = float(views["text"][i] @ views["name"][k]) / 0.5 - math.log(2 * shares[k])
                scores[k] = score + (learner.scale.bias.item() if loss == "binary" else 0.0)
        own = [k for k in scores if labels[k] == labels[i]]
        if loss == "ranking":
            log_sum = math.log(sum(math.exp(score) for score in scores.values()))
            total += sum(log_sum - scores[k] for k in own) / len(own)
        else:
            total += sum(math.log(1 + math.exp(-score if k in own else score)) for k, score in scores.items())
    assert learner.losses(views)["label"].detach().item() == pytest.approx(total / 5, rel=1e-5)


def _tagger(**changes):
    torch.manual_seed(0)
    cfg = text_contrast.tiny().but(study="tail", temperature=0.5, **changes)
    encoder = WordCnn("tiny", buckets=4096, dropout=0.0)
    data = Labelled(
        texts={"train": TEXTS}, marks={"train": [[0, 1], [1], [2], [], [0]]}, names=["rent car", "car", "song"],
        counts=torch.tensor([2, 2, 1]), left_out={},
    )  # fmt: skip
    branch = Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))
    return Tail(cfg, branch, data), {"text": encoder.collate(TEXTS), "marks": data.marks["train"]}


@pytest.mark.parametrize(("answers", "loss"), [("words", "binary"), ("words", "ranking"), ("numbers", "binary")])
def test_labels_of_a_text_by_their_formula(answers, loss):
    tagger, batch = _tagger(answers=answers, loss=loss)
    if answers == "numbers":
        assert tagger.answer.bias.tolist() == pytest.approx([math.log(2 / 3), math.log(2 / 3), math.log(1 / 4)])
    total, rows = 0.0, 0
    for i, text in enumerate(TEXTS):
        vector = tagger.branch.head(tagger.branch.encoder(tagger.branch.encoder.collate([text])))[0]
        if answers == "numbers":
            scores = (tagger.answer.weight @ vector + tagger.answer.bias).tolist()
        else:
            names = [tagger.branch(tagger.names[at : at + 1])[0] for at in range(3)]
            bias = tagger.scale.bias.item() if loss == "binary" else 0.0
            scores = [float((normalize(vector, dim=0) @ name).detach()) / 0.5 + bias for name in names]
        own = batch["marks"][i]
        if loss == "binary":
            total += sum(math.log(1 + math.exp(-s if k in own else s)) for k, s in enumerate(scores))
            rows += 1
        elif own:
            log_sum = math.log(sum(math.exp(score) for score in scores))
            total += sum(log_sum - scores[k] for k in own) / len(own)
            rows += 1
    assert tagger(batch)[answers].item() == pytest.approx(total / rows, rel=1e-5)


def test_precision_is_told_of_the_head_and_of_the_tail():
    counts = torch.tensor([40, *[10] * 4, *[2] * 20, *[1] * 80])
    positives = torch.zeros(30, 105, dtype=torch.bool)
    positives[0, [0, 1, 5, 30]] = True  # a label of each of four buckets; the others are not asked for
    scores = torch.randn(30, 105, generator=torch.Generator().manual_seed(0))
    scores[0, [0, 1]] = 9.0
    found = in_buckets(scores, positives, counts)
    worst = [1 / (1 + int((scores[:, k] > scores[0, k]).sum())) for k in (5, 30)]
    assert found["head"] == found["ap_1"] == found["ap_2"] == 1.0
    assert (found["ap_3"], found["ap_4"]) == pytest.approx(worst)
    assert "ap_5" not in found
    assert found["tail_less_head"] == pytest.approx(worst[1] - 1)
    assert found["ap"] == pytest.approx((2 + sum(worst)) / 4)


def test_labels_that_are_rare_and_rows_without_a_text_are_left_out(tmp_path):
    lines = ["text,kinds", *(f'red {at},"Red,  colour"' for at in range(30)), *(f",blue{at}" for at in range(3))]
    (tmp_path / "rows.csv").write_text("\n".join([*lines, 'blue 1,"blue, colour, red"', "green 1,green"]) + "\n")
    data = Pairs(source="folder", options={"folder": str(tmp_path / "rows.csv")}, columns=("text",))
    found = labelled(text_contrast.tiny().but(data=data, classes="kinds", least=5), 0)
    assert found.names == ["colour", "red"]
    assert sum(map(len, found.texts.values())) == 32
    assert found.left_out["left_out/rows"] == 3
    assert {tuple(marks) for part in found.marks.values() for marks in part} <= {(1, 0), (0, 1), ()}
    with pytest.raises(UserError, match="0 labels in kinds stand with 99 training texts: lower least"):
        labelled(text_contrast.tiny().but(data=data, classes="kinds", least=99), 0)


def test_words_that_turn_a_meaning_round_are_counted():
    before = ["no man has 2 dogs", "she isn't here", "a cat"]
    assert touched(before, before) == 0
    assert touched(before, ["man has dogs", "she isn't here", ""]) == pytest.approx(2 / 3)
    assert touched(before, ["no no man has 2 dogs", "she runs here", "cat a"]) == pytest.approx(2 / 3)
    assert touched(["a cat"], ["a"]) == 0
    assert changed(["one two three"], "none", 0.0, 0) == ["one two three"]
    assert changed(["one two three four"] * 9, "deletion", 0.5, 1) != changed(
        ["one two three four"] * 9, "deletion", 0.5, 2
    )


def test_views_are_measured_once_for_all_arms(tmp_path, monkeypatch):
    tiny = text_contrast.tiny().but(study="views", train__steps=3, rates=(0.2, 0.4))
    first = text_contrast.run(tiny, Run.of("text_contrast", tiny, root=tmp_path))
    monkeypatch.setattr("antiphon.recipes.text_contrast.views._sweep", lambda *_: 1 / 0)
    other = tiny.but(view="span", rate=0.4)
    second = text_contrast.run(other, Run.of("text_contrast", other, root=tmp_path))
    assert first["test/sts"] == first["deletion_0.2/test/sts"] == second["deletion_0.2/test/sts"]
    assert second["test/touched"] == first["span_0.4/test/touched"] > 0
    assert set(Run.of("text_contrast", other, root=tmp_path).pictures()) == {"views-sts", "views-touched"}


def test_words_with_an_antonym_are_counted(tmp_path, thesaurus):
    assert touched(["a red cat", "small red"], ["a scarlet cat", "small red red"], with_antonyms) == pytest.approx(
        2 / 3
    )
    tiny = text_contrast.tiny().but(
        study="views", train__steps=2, swept=("synonyms", "repetition"), opposed=True, view="synonyms"
    )
    run = Run.of("text_contrast", tiny, root=tmp_path)
    found = text_contrast.run(tiny, run)
    assert 0 < found["test/opposed"] < 1  # about a fifth of "red" became scarlet
    assert found["repetition_0.2/test/opposed"] > 0
    assert "deletion_0.2/test/sts" not in found
    assert set(run.pictures()) == {"views-sts", "views-touched", "views-opposed"}


def test_what_does_not_fit_a_study_is_told(tmp_path):
    said = {
        "view=deletion rate=0.3 is none of swept=": {"study": "views", "rate": 0.3},
        "view=synonyms rate=0.2 is none of swept=": {"study": "views", "view": "synonyms"},
        "study=keys wants classes=COLUMN, two counts or more": {"study": "keys", "counts": (4,)},
        "answers=numbers wants loss=binary, got loss=ranking": {"study": "tail", "answers": "numbers"},
        "study=tail wants one column of texts and one of labels": {"study": "tail", "classes": None},
    }
    for number, (text, changes) in enumerate(said.items()):
        cfg = text_contrast.tiny().but(**changes)
        with pytest.raises(UserError, match=text):
            text_contrast.run(cfg, Run(tmp_path / str(number), cfg))


def test_more_keys_are_another_training_each(tmp_path):
    cfg = text_contrast.tiny().but(study="keys", counts=(8, 1), train__steps=3)
    found = text_contrast.run(cfg, Run.of("text_contrast", cfg, root=tmp_path))
    most, least = (found[f"keys_{count}/test/zero_shot/accuracy"] for count in (8, 1))
    assert found["test/gain"] == most - least
    assert found["random/test/gain"] == 0.0
    assert set(Run.of("text_contrast", cfg, root=tmp_path).pictures()) == {"keys-ranking"}
