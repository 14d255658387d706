"""TeminAL: the loss as the paper writes it, what is a positive of what, and rows whose parts belong together."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from antiphon.encoders.features import Features
from antiphon.encoders.pretrained import clap_space
from antiphon.encoders.space import Space
from antiphon.errors import UserError
from antiphon.recipes import teminal
from antiphon.recipes.teminal import meanings_of, tnce
from antiphon.recipes.teminal.rows import from_cache, held_out, made_rows
from antiphon.recipes.teminal.start import grown
from antiphon.runs import Run
from tests.recipes.clap import clap_checkpoint, sounding_rows

ROWS = 5
ONES = (1.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _scores(seed=0):
    return 3 * torch.randn(3 * ROWS, 3 * ROWS, generator=torch.Generator().manual_seed(seed)).double()


def _by_loop(scores, same, cross, weights):
    """As the docstring of the recipe has it, where no two captions mean the same."""
    total = 0.0
    for block, weight in enumerate(weights):
        for i in range(ROWS):
            row = scores[block * ROWS + i]
            below = sum(math.exp(row[block * ROWS + j]) for j in range(ROWS))
            for other in {0, 1, 2} - {block}:
                below += same * math.exp(row[other * ROWS + i])
                below += cross * sum(math.exp(row[other * ROWS + j]) for j in range(ROWS) if j != i)
            total -= weight * math.log(math.exp(row[block * ROWS + i]) / below) / ROWS
    return total


@pytest.mark.parametrize(
    ("same", "cross", "weights"), [(1, 1, ONES), (0.3, 2, (1.0, 0.5, 0.2)), (0, 1, (1.0, 0.0, 2.0))]
)
def test_tnce_by_a_loop(same, cross, weights):
    scores = _scores()
    found = tnce(scores, torch.arange(3 * ROWS), (float(same), float(cross)), weights)
    assert found.item() == pytest.approx(_by_loop(scores, same, cross, weights), abs=1e-6)


def test_without_its_terms_it_is_infonce_over_forward_pairs():
    scores = _scores()
    found = tnce(scores, torch.arange(3 * ROWS), (0.0, 0.0), (1.0, 0.0, 0.0))
    assert found.item() == pytest.approx(cross_entropy(scores[:ROWS, :ROWS], torch.arange(ROWS)).item(), abs=1e-6)
    changed = scores.clone()
    changed[:, ROWS:] += 5
    assert tnce(changed, torch.arange(3 * ROWS), (0.0, 0.0), (1.0, 0.0, 0.0)).item() == pytest.approx(found.item())


def test_with_all_terms_at_one_it_is_infonce_over_all_three_kinds():
    scores = _scores()
    found = tnce(scores, torch.arange(3 * ROWS), (1.0, 1.0), ONES)
    assert found.item() == pytest.approx(3 * cross_entropy(scores, torch.arange(3 * ROWS)).item(), abs=1e-6)


def test_captions_of_one_meaning_are_never_negatives():
    meaning = torch.arange(3 * ROWS)
    meaning[1] = meaning[0]  # two forward rows say the same
    meaning[2 * ROWS - 1] = meaning[0]  # and so does a reversed one
    scores = _scores().requires_grad_()
    tnce(scores, meaning, (1.0, 1.0), (1.0, 0.0, 0.0)).backward()
    grad = scores.grad[0]
    assert grad[2 * ROWS - 1] == 0  # left out
    assert grad[2 * ROWS - 2] > 0  # a negative
    share = _scores()[0].masked_fill(torch.arange(3 * ROWS) == 2 * ROWS - 1, -math.inf).softmax(0)
    assert torch.allclose(grad[:2] * ROWS, share[:2] - 0.5)  # each has half of the target


def test_before_and_after_of_one_recording_mean_the_same():
    first, second = torch.tensor([1, 2, 2]), torch.tensor([2, 1, 3])
    found = meanings_of(first, second)
    assert found["forward"][0] == found["reverse"][1] != found["forward"][1]
    assert found["overlay"][0] == found["overlay"][1] != found["overlay"][2]
    assert len({int(one) for column in found.values() for one in column}) == 2 + 4 + 2
    assert found["single"].tolist() == [1, 2, 2]


def _learner(stage, **changes):
    torch.manual_seed(0)
    cfg = teminal.tiny().but(**changes)
    towers = {name: Features(6, signal=name) for name in ("speech", "text")}
    start = grown(towers, inner=cfg.inner, width=cfg.width, temperature=cfg.temperature)
    learner = teminal.TeminAL(cfg, "speech", start)
    learner.stage = stage
    return learner


def _views(rows=4):
    names = [name + side for name in ("single", "dual", *teminal.DOUBLE) for side in ("", "_text")]
    views = {name: normalize(torch.randn(rows, 32), dim=1) for name in names}
    views |= {f"has_{name}": torch.ones(rows, dtype=torch.bool) for name in names}
    numbers = {"first": torch.arange(rows), "second": torch.arange(rows) + 10, "at_once": torch.arange(rows) % 2}
    return views | numbers


def test_stage_a_is_infonce_over_single_and_double_recordings():
    views, own = _views(), torch.arange(8)
    z, u = (torch.cat([views["single" + side], views["dual" + side]]).double() for side in ("", "_text"))
    scores = z @ u.T / 0.07
    wanted = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    losses = _learner("a").losses(views)
    assert set(losses) == {"a"}
    assert losses["a"].item() == pytest.approx(wanted.item(), abs=1e-4)


def test_stage_b_goes_both_ways_and_keeps_a_few_single_events():
    views = _views()
    z, u = (torch.cat([views[name + side] for name in teminal.DOUBLE]) for side in ("", "_text"))
    meaning = torch.arange(12)
    scores = z @ u.T / 0.07
    wanted = tnce(scores, meaning, (1.0, 1.0), ONES) + tnce(scores.T, meaning, (1.0, 1.0), ONES)
    losses = _learner("b").losses(views)
    assert losses["b"].item() == pytest.approx(wanted.item(), rel=1e-4)
    views["has_single"] = views["has_single_text"] = torch.tensor([True, True, False, False])
    few = _learner("b").losses(views)["singles"]
    pair = views["single"][:2] @ views["single_text"][:2].T / 0.07
    own = torch.arange(2)
    assert few.item() == pytest.approx((cross_entropy(pair, own) + cross_entropy(pair.T, own)).item() / 2, rel=1e-4)
    views["has_single"] = torch.zeros(4, dtype=torch.bool)
    assert set(_learner("b").losses(views)) == {"b"}
    assert set(_learner("joint").losses(_views())) == {"a", "b"}
    assert set(_learner("singles").losses(_views())) == {"singles"}


def test_held_out_pairs():
    kinds = list("abcdef")
    found = held_out(kinds, 0.2, 0)
    assert len(found) == 3
    assert found == held_out(kinds[::-1], 0.2, 0) != held_out(kinds, 0.2, 1)
    assert held_out(kinds, 0.0, 0) == set()


def test_rows_join_what_belongs_together():
    kinds = ["a", "b", "c", "d"] * 3
    clips = [torch.sin(torch.arange(9000) * (0.1 + 0.2 * (at % 4))) for at in range(12)]
    unseen = held_out(kinds, 0.3, 0)
    sound, text = from_cache(teminal.MelChunks(0.1)), from_cache(teminal.tiny().text.open("text"))
    rows = made_rows(clips, kinds, unseen, count=20, seconds=0.5, sound=sound, text=text, seed=0)
    assert len(rows) == 20
    for row in rows:
        assert frozenset("abcd"[row[name]] for name in ("first", "second")) not in unseen
        assert len({len(row[name]) for name in ("single", *teminal.DOUBLE)}) == 1  # of one length
        half = len(row["forward"]) // 2
        assert torch.allclose(row["forward"][1 : half - 1], row["reverse"][half + 1 : -1], atol=0.3)
        assert torch.equal(row["dual"], row["overlay"] if row["at_once"] else row["forward"])
    assert [row["sometimes"] is not None for row in (rows[at] for at in range(5))] == [True, False, False, False, True]


def test_arms_share_the_start(tmp_path):
    one = teminal.tiny().but(train__steps=2)
    for cfg in (one, one.but(stages="b"), one.but(stages="none")):
        teminal.run(cfg, Run.of("teminal", cfg, root=tmp_path))
    assert len(list(tmp_path.glob("teminal_start-*"))) == 1
    assert len(list(tmp_path.glob("teminal_a-*"))) == 1


@pytest.mark.parametrize(("changes", "said"), [
    ({"data__columns": ("image",)}, "wants one column of sounds .* gives no sounds"),
    ({"classes": "species"}, "the column classes=species"),
])  # fmt: skip
def test_rows_that_do_not_fit(tmp_path, changes, said):
    cfg = teminal.tiny().but(**changes)
    with pytest.raises(UserError, match=said):
        teminal.run(cfg, Run.of("teminal", cfg, root=tmp_path))


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values:UserWarning")
def test_it_goes_on_from_a_clap_checkpoint(tmp_path):
    data = sounding_rows(tmp_path / "rows")
    cfg = teminal.tiny().but(
        data=data, classes="kind", checkpoint=str(clap_checkpoint(tmp_path / "clap")), made=12, asked=4, held_out=0.0,
        train__steps=4, train__batch_size=6, train__lr=1e-3,
    )  # fmt: skip
    measures = teminal.run(cfg, Run.of("teminal", cfg, root=tmp_path / "runs"))
    assert {path.name.partition("-")[0] for path in (tmp_path / "runs").iterdir()} == {"teminal", "teminal_a"}
    assert 0 <= measures["test/order"] <= 1
    space, given = Space.load(next((tmp_path / "runs").glob("teminal-*")) / "space"), clap_space(cfg.checkpoint)[0]
    assert set(space.branches) == {"audio", "text"}
    assert not torch.allclose(space.embed(text=["a red boat"]), given.embed(text=["a red boat"]), atol=1e-4)
    wrong = teminal.tiny().but(checkpoint=cfg.checkpoint)
    with pytest.raises(UserError, match="has towers for audio, text, the column of sounds is speech"):
        teminal.run(wrong, Run.of("teminal", wrong, root=tmp_path / "wrong"))
