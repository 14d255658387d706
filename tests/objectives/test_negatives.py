from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.objectives.contrast import contrast
from antiphon.objectives.negatives import (
    MemoryQueue,
    debiased_contrast,
    duplicate_mask,
    false_negative_mask,
    hard_negative_columns,
    hardest,
    off_diagonal,
)
from antiphon.objectives.targets import pad_negatives

few = settings(max_examples=40, derandomize=True, deadline=None)


def made(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@few
@given(st.integers(1, 6), st.lists(st.integers(0, 6), max_size=6))
def test_queue_agrees_with_a_plain_list(size, batches):
    queue, held, count = MemoryQueue(size, 1), [], 0
    for batch in (min(batch, size) for batch in batches):
        fresh = [float(count + i) for i in range(batch)]
        queue.push(torch.tensor(fresh)[:, None])
        held, count = (held + fresh)[-size:], count + batch
    assert sorted(queue.keys[queue.filled, 0].tolist()) == held
    assert len(queue) == len(held)
    if len(held) == size:
        assert float(queue.keys[queue.pointer]) == held[0]


def test_queue_state_goes_round():
    queue, copy = MemoryQueue(4, 2), MemoryQueue(4, 2)
    queue.push(made(3, 2))
    copy.load_state_dict(queue.state_dict())
    for each in (queue, copy):
        each.push(made(2, 2, seed=1))
    assert torch.equal(queue.keys, copy.keys)
    assert torch.equal(queue.filled, copy.filled)
    assert int(queue.pointer) == int(copy.pointer) == 1


def test_queue_holds_no_gradient_and_leaves_a_waiting_graph_alone():
    queue = MemoryQueue(3, 2)
    queue.push(made(3, 2))
    queries = made(2, 2, seed=1).requires_grad_()
    loss = (queries @ queue.keys.T).sum()
    queue.push(queries)
    loss.backward()
    assert not queue.keys.requires_grad
    assert list(queue.parameters()) == []


def test_empty_queue_adds_nothing_under_its_mask():
    queue, scores = MemoryQueue(5, 2), made(3, 3)
    wide = torch.cat([scores, made(3, 2, seed=1) @ queue.keys.T], 1)
    mask = torch.cat([torch.ones(3, 3, dtype=torch.bool), queue.filled.expand(3, 5)], 1)
    assert torch.allclose(contrast(wide, mask=mask), contrast(scores))


def test_queue_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="5 keys do not fit in a queue of 4"):
        MemoryQueue(4, 2).push(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="width 3 came, the queue holds width 2"):
        MemoryQueue(4, 2).push(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 1"):
        MemoryQueue(0, 2)


def test_hard_negative_columns_agree_with_the_slow_loop():
    queries, keys, negatives = made(3, 4), made(5, 4, seed=1), made(3, 2, 4, seed=2)
    present = torch.tensor([[True, True], [True, False], [False, False]])
    scores, mask = hard_negative_columns(queries @ keys.T, queries, negatives, present=present)
    for i in range(3):
        wanted = [float(queries[i] @ keys[k]) for k in range(5)] + [
            float(queries[i] @ negatives[i, h]) for h in range(2)
        ]
        assert scores[i].tolist() == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(mask[:, :5], torch.ones(3, 5, dtype=torch.bool))
    assert torch.equal(mask[:, 5:], present)
    targets = pad_negatives(torch.eye(3, 5), 2)
    assert torch.allclose(contrast(scores, targets, mask=mask), contrast(scores, mask=mask))


def test_absent_hard_negatives_change_nothing():
    queries, keys = made(3, 4), made(3, 4, seed=1)
    scores, mask = hard_negative_columns(
        queries @ keys.T, queries, torch.zeros(3, 2, 4), present=torch.zeros(3, 2, dtype=torch.bool)
    )
    assert torch.allclose(contrast(scores, mask=mask), contrast(queries @ keys.T))


@few
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
def test_hardest_agrees_with_a_sort(rows, columns, seed):
    scores = made(rows, columns, seed=seed).round()  # rounded: many ties
    scores[:, -1] = -math.inf
    forbidden = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.4
    count = int((~forbidden).sum(1).min())
    found = hardest(scores, count, forbidden=forbidden)
    for i in range(rows):
        allowed = [k for k in range(columns) if not forbidden[i, k]]
        assert found[i].tolist() == sorted(allowed, key=lambda k: (-float(scores[i, k]), k))[:count]


def test_hardest_names_the_row_that_has_too_few():
    forbidden = torch.eye(3, dtype=torch.bool)
    forbidden[1, 2] = True
    with pytest.raises(ValueError, match="row 1 has 1 keys that are not forbidden, wanted 2"):
        hardest(torch.zeros(3, 3), 2, forbidden=forbidden)


def test_false_negative_mask():
    teacher = torch.tensor([[0.5, 0.6, 0.5, 0.4], [0.9, 0.2, 0.25, 0.1]])
    assert false_negative_mask(teacher).tolist() == [[True, False, True, True], [False, True, False, True]]
    assert false_negative_mask(teacher, margin=0.2).tolist() == [[True] * 4, [False, True, True, True]]
    assert false_negative_mask(teacher, margin=-0.05).tolist() == [
        [True, False, False, True],
        [False, True, False, True],
    ]
    with pytest.raises(ValueError, match="2 x 1"):
        false_negative_mask(torch.zeros(2, 1))


@few
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 1000), st.floats(-2, 2))
def test_false_negative_mask_keeps_the_positive(rows, extra, seed, margin):
    assert false_negative_mask(made(rows, rows + extra, seed=seed), margin=margin).diagonal().all()


def test_duplicate_mask():
    assert duplicate_mask(torch.tensor([1, 1, 2])).tolist() == [
        [True, False, True],
        [False, True, True],
        [True, True, True],
    ]
    assert duplicate_mask(torch.tensor([1]), torch.tensor([1, 1, 3])).tolist() == [[True, False, True]]


def test_off_diagonal():
    assert off_diagonal(2, 3).tolist() == [[False, True, True], [True, False, True]]


class TestDebiased:
    def slow(self, scores, prior, lowest, mask):
        losses = []
        for i, row in enumerate(scores.double().tolist()):
            others = [math.exp(row[k]) for k in range(len(row)) if k != i and mask[i][k]]
            corrected = (sum(others) / len(others) - prior * math.exp(row[i])) / (1 - prior)
            negatives = len(others) * max(corrected, math.exp(lowest))
            losses.append(-math.log(math.exp(row[i]) / (math.exp(row[i]) + negatives)))
        return losses

    @pytest.mark.parametrize("prior", [0.0, 0.1, 0.6])
    def test_agrees_with_the_slow_loop(self, prior):
        scores = made(5, 7).double()
        mask = duplicate_mask(torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 1, 2, 0, 1, 2, 3]))
        losses, weights = self.slow(scores, prior, -2.0, mask), made(5, seed=1).abs().double()
        wanted = sum(w * loss for w, loss in zip(weights.tolist(), losses, strict=True)) / float(weights.sum())
        ours = debiased_contrast(scores, prior=prior, lowest=-2.0, mask=mask, weights=weights)
        assert float(ours) == pytest.approx(wanted, abs=1e-10)

    def test_without_a_prior_it_is_contrast(self):
        scores = made(6, 8).double() * 5
        ours = debiased_contrast(scores, prior=0.0, lowest=-50.0)
        assert float(ours) == pytest.approx(float(contrast(scores)), abs=1e-12)

    def test_equal_scores_know_no_prior(self):
        """The mean of the negatives is the positive itself: nothing to correct."""
        scores = torch.full((4, 4), 3.0, dtype=torch.float64)
        assert float(debiased_contrast(scores, prior=0.3, lowest=-9.0)) == pytest.approx(math.log(4), abs=1e-12)

    def test_the_floor_holds_where_the_correction_would_fall_below(self):
        scores = torch.eye(3, dtype=torch.float64) * 10
        scores.requires_grad_()
        loss = debiased_contrast(scores, prior=0.5, lowest=-1.0)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-11)), abs=1e-12)
        assert scores.grad.isfinite().all()
        assert (scores.grad[0, 1:] == 0).all()

    def test_its_gradient(self):
        scores = made(4, 5).double().requires_grad_()
        lowest = torch.tensor(-3.0, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda s: debiased_contrast(s, prior=0.2, lowest=lowest), (scores,))

    @pytest.mark.parametrize("prior", [-0.1, 1.0, math.nan])
    def test_a_prior_is_a_probability(self, prior):
        with pytest.raises(ValueError, match=r"wanted a probability in \[0, 1\)"):
            debiased_contrast(made(2, 2), prior=prior, lowest=-1.0)
