"""CWCL: its two directions are the paper's, the frozen branch stays still, and misled rows are few and counted."""

import pytest
import torch
from torch.nn.functional import normalize

from antiphon.encoders.features import Features
from antiphon.errors import UserError
from antiphon.recipes import cwcl
from antiphon.runs import Run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _learner(**changes):
    torch.manual_seed(0)
    return cwcl.Cwcl(cwcl.tiny().but(**changes), {signal: Features(6, signal=signal) for signal in ("image", "text")})


def _views(rows=9, labels=None):
    image, text, own = (normalize(torch.randn(rows, width), dim=1) for width in (32, 32, 6))
    there = torch.ones(rows, dtype=torch.bool)
    labels = torch.arange(rows) if labels is None else labels
    return {"image": image, "text": text, "own": own, "has_image": there, "has_text": there, "label": labels}


def test_the_losses_are_the_papers():
    """A slow loop over equation 3 and the ordinary loss of the other direction."""
    learner, views = _learner(), _views()
    scores = (views["image"] @ views["text"].T / 0.07).double()
    weights = (views["own"] @ views["own"].T).double() / 2 + 0.5
    forward = backward = 0.0
    for i in range(9):
        for j in range(9):
            log_p = scores[i, j] - scores[i].logsumexp(0)
            forward -= float(weights[i, j] / weights[i].sum() * log_p) / 9
        backward -= float(scores[i, i] - scores[:, i].logsumexp(0)) / 9
    losses = learner.losses(views)
    assert losses["image-text"].item() == pytest.approx(forward, abs=1e-5)
    assert losses["text-image"].item() == pytest.approx(backward, abs=1e-5)


def test_one_hot_targets_are_clips():
    learner, views = _learner(weighting="identity"), _views()
    scores = views["image"] @ views["text"].T / 0.07
    wanted = torch.nn.functional.cross_entropy(scores, torch.arange(9))
    assert torch.allclose(learner.losses(views)["image-text"], wanted, atol=1e-5)


def test_equal_captions_make_label_targets_one_hot():
    """A frozen tower gives equal captions equal vectors: then one-hot targets have no false negatives."""
    views = _views(labels=torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7]))
    views["text"][1], views["own"][1] = views["text"][0], views["own"][0]
    one_hot, label = (sum(_learner(weighting=kind).losses(views).values()) for kind in ("identity", "label"))
    assert torch.allclose(one_hot, label, atol=1e-5)


def test_only_the_learning_branch_and_the_temperature_learn():
    learner = _learner()
    learned = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert learned
    assert all(name.startswith(("branches.image.head", "scale")) for name in learned)


def test_the_centre_is_the_training_rows_mean():
    learner, items = _learner(centred=True), [torch.randn(1, 6) for _ in range(5)] + [None]
    learner.measure_centre(items)
    assert torch.allclose(learner.centre, torch.cat(items[:5]).mean(0), atol=1e-6)


def test_misled_rows_keep_every_caption_once_and_none_its_own():
    rows = [{"text": f"caption {at}", "label": at} for at in range(10)]
    cwcl._mislead(rows, "text", 0.4, seed=3)
    moved = [at for at, row in enumerate(rows) if row["label"] != at]
    assert len(moved) == 4
    assert sorted(row["label"] for row in rows) == list(range(10))
    assert all(row["text"] == f"caption {row['label']}" for row in rows)


def test_other_than_two_signals_are_refused(tmp_path):
    cfg = cwcl.tiny().but(data__columns=("image", "text", "speech"))
    with pytest.raises(UserError, match="cwcl pairs frozen=text with one other signal"):
        cwcl.run(cfg, Run.of("cwcl", cfg, root=tmp_path))
