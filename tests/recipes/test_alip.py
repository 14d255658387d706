"""ALIP: gates and losses as the paper writes them, weights without gradient, captions by one who never saw them."""

import math

import pytest
import torch
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil

from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head
from antiphon.encoders.space import Branch, Space
from antiphon.errors import UserError
from antiphon.recipes import alip
from antiphon.recipes.alip.captions import Tagger, caption, mislead, tags_of, told_apart
from antiphon.recipes.alip.gates import Gates
from antiphon.runs import Run
from tests.encoders.test_text import clip, tokenizer
from tests.encoders.tiny import save

ROWS = 9


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _learner(**changes):
    torch.manual_seed(0)
    cfg = alip.tiny().but(**changes)
    branches = {signal: Branch(Features(6, signal=signal), Head(6, 32)) for signal in ("image", "text")}
    return alip.Alip(cfg, branches, 0.07)


def _views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    views = {
        name: normalize(torch.randn(ROWS, 8, generator=generator), dim=1).requires_grad_()
        for name in ("image", "text", "caption")
    }
    there = {f"has_{name}": torch.ones(ROWS, dtype=torch.bool) for name in ("image", "text", "caption")}
    rows = torch.arange(ROWS)
    return views | there | {"label": rows, "caption_label": rows, "moved": (rows % 3 == 0).long()}


def _slow(views, history, gamma=2.0, gates="both"):
    """L in float64, row by row, after the paper."""
    x, t, c = (views[name].detach().double() for name in ("image", "text", "caption"))

    def row_loss(a, b, i):
        rows, columns = a @ b.T / 0.07, b @ a.T / 0.07
        return -(rows.log_softmax(1)[i, i] + columns.log_softmax(1)[i, i]).item() / 2

    total = 0.0
    for i in range(ROWS):
        tc, xt, xc = (float(a[i] @ b[i]) for a, b in ((t, c), (x, t), (x, c)))
        w_s = math.exp(gamma * (tc - history[0])) if tc <= history[0] else 1.0
        w_t = math.exp(gamma * (xt - history[1])) if w_s < 1 else 1.0
        w_c = math.exp(gamma * (xc - history[2])) if w_s < 1 else 1.0
        if gates == "language":
            w_t = w_c = 1.0
        if gates == "description":
            w_s = 1.0
        if gates == "none":
            w_s = w_t = w_c = 1.0
        total += (w_s * w_t * row_loss(x, t, i) + w_s * w_c * row_loss(x, c, i)) / ROWS
    return total


def _means(views):
    return alip.similarities_of(views).mean(1)


@pytest.mark.parametrize("gates", ["both", "language", "description", "none"])
def test_the_loss_is_the_papers(gates):
    learner, views = _learner(gates__which=gates), _views()
    losses = learner.losses(views)
    wanted = _slow(views, _means(views).tolist(), gates=gates)
    assert sum(losses.values()).item() == pytest.approx(wanted, abs=1e-5)


def test_the_means_move_before_the_weights_are_taken():
    """H starts at the first batch's mean, or where the official code has it."""
    learner, first, second = _learner(gates__momentum=0.9), _views(0), _views(1)
    learner.losses(first)
    assert torch.allclose(learner.gates.history, _means(first))
    loss = learner.losses(second)
    history = 0.9 * _means(first) + 0.1 * _means(second)
    assert torch.allclose(learner.gates.history, history)
    assert sum(loss.values()).item() == pytest.approx(_slow(second, history.tolist()), abs=1e-5)
    official = _learner(gates__momentum=0.99, gates__start=1.0)
    official.losses(first)
    assert torch.allclose(official.gates.history, 0.99 + 0.01 * _means(first))


def test_means_stand_still_outside_training_and_are_kept_in_checkpoints():
    learner = _learner()
    learner.losses(_views())
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    learner.eval().losses(_views(1))
    assert all(torch.equal(buffer, before[name]) for name, buffer in learner.named_buffers())
    assert {"gates.history", "gates.steps", "told", "batches"} <= set(learner.state_dict())


def test_no_gradient_flows_through_the_weights():
    """The gradient is that of the loss with the weights as constants."""
    learner, views = _learner(), _views()
    sum(learner.losses(views).values()).backward()
    weights = learner.gates.applied(alip.similarities_of(views))
    x, t, c = (views[name].detach().requires_grad_() for name in ("image", "text", "caption"))
    total = torch.zeros(())
    for other, weight in ((t, weights[0]), (c, weights[1])):
        scores = x @ other.T / 0.07
        rows = -(scores.log_softmax(1).diagonal() + scores.log_softmax(0).diagonal()) / 2
        total = total + (weight * rows).mean()
    total.backward()
    for name, leaf in (("image", x), ("text", t), ("caption", c)):
        assert torch.allclose(views[name].grad, leaf.grad, atol=1e-5), name


def test_a_consistent_row_weighs_one_and_an_inconsistent_one_may_weigh_more():
    gates = Gates(alip.tiny().gates)
    gates.history.fill_(0.5)
    w_s, w_t, w_c = gates(torch.tensor([[0.5, 0.9, 0.4], [0.1, 0.1, 0.7], [0.9, 0.9, 0.3]]))
    assert w_s.tolist() == pytest.approx([1, 1, math.exp(-0.2)])
    assert w_t.tolist() == pytest.approx([1, 1, math.exp(0.4)])
    assert w_c.tolist() == pytest.approx([1, 1, math.exp(-0.4)])


def test_shuffled_weights_are_the_same_ones_elsewhere():
    plain, mixed = _learner(), _learner(gates__shuffled=True)
    similarities = alip.similarities_of(_views())
    for learner in (plain, mixed):
        learner.gates.move(similarities)
    one, other = plain.gates.applied(similarities), mixed.gates.applied(similarities)
    assert not torch.equal(one, other)
    assert torch.allclose(one.sort(1).values, other.sort(1).values)
    places = [int((one[0] == value).nonzero()[0, 0]) for value in other[0]]
    if len(set(one[0].tolist())) == ROWS:
        assert torch.equal(one[1, places], other[1])  # both pairs of a row go together


def test_held_weights_are_one():
    learner, similarities = _learner(gates__hold=1), alip.similarities_of(_views())
    learner.gates.move(similarities)
    assert torch.equal(learner.gates.applied(similarities), torch.ones(2, ROWS))
    learner.gates.move(similarities)
    assert not torch.equal(learner.gates.applied(similarities), torch.ones(2, ROWS))


@pytest.mark.parametrize("path", ["text", "caption"])
def test_a_path_alone_is_clip_without_gates(path):
    views = _views()
    losses = _learner(paths=path, gates__which="none").losses(views)
    scores, own = views["image"] @ views[path].T / 0.07, torch.arange(ROWS)
    wanted = (torch.nn.functional.cross_entropy(scores, own) + torch.nn.functional.cross_entropy(scores.T, own)) / 2
    assert set(losses) == {path}
    assert losses[path].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_a_row_without_a_caption_weighs_one_and_moves_no_mean():
    learner, views = _learner(), _views()
    views["has_caption"] = torch.arange(ROWS) != 4
    kept = {name: view[views["has_caption"]] for name, view in views.items()}
    learner.losses(views)
    assert torch.allclose(learner.gates.history, _means(kept))


def test_quality_is_per_third_and_knows_nothing_where_nothing_is_moved():
    learner = _learner(train__steps=3)
    assert learner.quality() == {}
    for seed in range(3):
        learner.losses(_views(seed))
    found = learner.quality()
    assert len(found) == 9
    views = _views(0)
    weights = _learner().gates
    weights.move(alip.similarities_of(views))
    wanted = told_apart(weights(alip.similarities_of(views))[0], views["moved"] == 0)
    assert found["gates/first third/language"] == pytest.approx(wanted)


def test_told_apart_counts_pairs():
    generator = torch.Generator().manual_seed(0)
    values, right = torch.randint(0, 5, (40,), generator=generator).float(), torch.arange(40) % 3 == 0
    ahead = [float(a > b) + 0.5 * float(a == b) for a in values[right] for b in values[~right]]
    assert told_apart(values, right) == pytest.approx(sum(ahead) / len(ahead))
    with pytest.raises(ValueError, match="40 of 40 rows are right"):
        told_apart(values, torch.ones(40, dtype=torch.bool))


def test_misled_rows_are_told():
    rows = [{"text": f"text {at}", "label": at, "caption": f"caption {at}"} for at in range(20)]
    mislead(rows, 0.3, seed=1)
    moved = [at for at, row in enumerate(rows) if row["moved"]]
    assert len(moved) == 6
    assert all((row["text"] != f"text {at}") == bool(row["moved"]) for at, row in enumerate(rows))
    assert all(
        row["caption"] == f"caption {at}" and row["text"] == f"text {row['label']}" for at, row in enumerate(rows)
    )


def test_the_tagger_reads_features_it_has_not_seen():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(120) % 4
    features = 3 * torch.eye(4, 10)[kinds] + torch.randn(120, 10, generator=generator)
    tags = [[("cat", "dog", "sun", "moon")[kind], "thing"] for kind in kinds.tolist()]
    guessed = Tagger(features[:80], tags[:80])(features[80:])
    assert sum(own[0] in guess for own, guess in zip(tags[80:], guessed, strict=True)) >= 36
    assert all("thing" in guess for guess in guessed)
    with pytest.raises(ValueError, match="1 different tags: a caption names three"):
        Tagger(features, [["cat"]] * 120)


def test_the_taggers_dual_form_is_ridge_regression():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator).double()
    tags = [[name for name, there in zip("abc", row, strict=True) if there] for row in (features[:, :3] > 0).tolist()]
    tagger = Tagger(features, tags, penalty=0.7)
    wanted = torch.tensor([[float(name in own) for name in tagger.names] for own in tags]).double()
    inputs = (features - features.mean(0)) / features.std(0)
    gram = inputs.T @ inputs + 0.7 * 30 * 5 / 100 * torch.eye(5)
    assert torch.allclose(tagger.weights, torch.linalg.solve(gram, inputs.T @ (wanted - wanted.mean(0))), atol=1e-8)


def test_captions_are_words():
    assert tags_of(" Red, big  dog ,,cat") == ["red", "big  dog", "cat"]
    assert tags_of(None) == []
    assert caption(["cat", "dog", "sun"]) == "a picture of cat, dog and sun"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tags": "words"}, r"no column 'words' for the tagger: the rows have id, .*: name one by caption="),
        ({"caption": "words"}, "no column 'words' for captions"),
        ({"data__columns": ("speech", "text")}, "alip reads the columns image and text"),
        ({"pretrained": "x", "locked": True}, "give locked=false with pretrained"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, said, tmp_path):
    cfg = alip.tiny().but(**changes)
    with pytest.raises(UserError, match=said):
        alip.run(cfg, Run.of("alip", cfg, root=tmp_path))


def test_a_pretrained_clip_with_captions_of_its_own_is_trained_whole(tmp_path):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    folder = save(clip(), tmp_path / "hub", tokenizer(), processor)
    cfg = alip.tiny().but(pretrained=str(folder), caption="concept", train__steps=3, transfer=None)
    measures = alip.run(cfg, run := Run.of("alip", cfg, root=tmp_path))
    assert set(Space.load(run.folder / "space").branches) == {"image", "text"}
    assert measures["captions/right"] == 1
    assert set(run.pictures()) == {"weights", "training"}


def test_without_noise_there_is_no_picture_and_no_quality(tmp_path):
    cfg = alip.tiny().but(noise=0.0, train__steps=2)
    measures = alip.run(cfg, run := Run.of("alip", cfg, root=tmp_path))
    assert not run.pictures()
    assert not any("third" in name for name in measures)


def test_the_oracle_never_sees_a_wrong_text(tmp_path, monkeypatch):
    seen = []
    losses = alip.Alip.losses

    def watched(self, views):
        seen.append(views["has_text"] & (views["moved"] == 1))
        return losses(self, views)

    monkeypatch.setattr(alip.Alip, "losses", watched)
    for oracle in (True, False):
        cfg = alip.tiny().but(oracle=oracle, train__steps=2, transfer=None)
        alip.run(cfg, Run.of("alip", cfg, root=tmp_path))
        assert bool(torch.cat(seen).any()) is not oracle
