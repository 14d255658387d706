from __future__ import annotations

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from antiphon.objectives.triplet import triplet

few = settings(max_examples=25, derandomize=True, deadline=None)
MINING = ("hard", "semi-hard", "all")


def made(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flags(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.5


def slow(distances, positives, margin, mining, mask, weights):
    total = trust = 0.0
    for i in range(len(distances)):
        d = distances[i].tolist()
        near = [d[k] for k in range(len(d)) if positives[i, k]]
        far = [d[k] for k in range(len(d)) if mask[i, k] and not positives[i, k]]
        if not near or not far:
            continue
        if mining == "hard":
            pairs = [(max(near), min(far))]
        elif mining == "semi-hard":
            pairs = [(p, min([n for n in far if n > p], default=max(far))) for p in near]
        else:
            pairs = [(p, n) for p in near for n in far]
        total += float(weights[i]) * sum(max(0.0, p - n + margin) for p, n in pairs)
        trust += float(weights[i]) * len(pairs)
    return total / trust if trust else 0.0


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_slow_loop(mining, rounded, seed):
    rows, columns = 2 + seed % 4, 4 + seed % 5
    distances = made(rows, columns, seed)
    distances = (distances * 4).round() / 4 if rounded else distances  # rounded: many ties
    mask = flags(rows, columns, seed + 1)
    positives = flags(rows, columns, seed + 2) & mask
    weights = made(rows, 1, seed + 3)[:, 0] * flags(rows, 1, seed)[:, 0]
    ours = triplet(distances, positives, margin=0.25, mining=mining, mask=mask, weights=weights)
    assert float(ours) == pytest.approx(slow(distances, positives, 0.25, mining, mask, weights), abs=1e-10)


@pytest.mark.parametrize("mining", MINING)
def test_equal_distances_give_the_margin(mining):
    assert float(triplet(torch.full((4, 4), 0.7), margin=0.3, mining=mining)) == pytest.approx(0.3)


@pytest.mark.parametrize("mining", MINING)
def test_one_positive_and_one_negative_make_all_minings_alike(mining):
    distances = made(2, 2)
    wanted = [max(0.0, float(distances[i, i] - distances[i, 1 - i]) + 1.5) for i in range(2)]
    assert float(triplet(distances, margin=1.5, mining=mining)) == pytest.approx(sum(wanted) / 2)


@pytest.mark.parametrize("mining", MINING)
@few
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_permutation_and_a_common_factor(mining, seed, factor):
    distances, positives = made(4, 5, seed), flags(4, 5, seed)
    shuffle = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(4, generator=shuffle), torch.randperm(5, generator=shuffle)
    before = triplet(distances, positives, margin=0.4, mining=mining)
    after = triplet(distances[p][:, q] * factor, positives[p][:, q], margin=0.4 * factor, mining=mining)
    assert float(after) == pytest.approx(float(before) * factor, abs=1e-9)


@pytest.mark.parametrize("mining", MINING)
def test_gradients(mining):
    distances = made(4, 6, 3).requires_grad_()
    weights = torch.tensor([1.0, 0.4, 2.0, 0.7], dtype=torch.float64, requires_grad=True)
    positives = torch.eye(4, 6, dtype=torch.bool)
    positives[1, 5] = True
    assert gradcheck(lambda d, w: triplet(d, positives, margin=0.33, mining=mining, weights=w), (distances, weights))


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("poison", [math.inf, math.nan])
def test_what_is_left_out_reaches_neither_loss_nor_gradient(mining, poison):
    distances = made(4, 4)
    distances[0, 3] = poison
    distances[2] = poison
    distances.requires_grad_()
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[0, 3] = False
    loss = triplet(distances, mask=mask, mining=mining, weights=torch.tensor([1.0, 1.0, 0.0, 1.0]))
    loss.backward()
    assert loss.isfinite()
    assert distances.grad.isfinite().all()


@pytest.mark.parametrize("mining", MINING)
def test_no_triplet_gives_zero_with_a_graph(mining):
    distances = torch.rand(3, 3, requires_grad=True)
    for positives in (torch.zeros(3, 3, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)):
        loss = triplet(distances, positives, mining=mining)
        loss.backward()
        assert loss == 0
        assert (distances.grad == 0).all()


def test_memory_stays_quadratic():
    # A cube of 1500 floats would be 13.5 GB; the running sums need a few matrices.
    distances = torch.rand(1500, 1500, generator=torch.Generator().manual_seed(0))
    assert triplet(distances, flags(1500, 1500, 0), mining="all").isfinite()


def test_errors():
    with pytest.raises(ValueError, match="mining is 'easy', wanted 'hard', 'semi-hard' or 'all'"):
        inspect.unwrap(triplet)(torch.zeros(2, 2), mining="easy")  # a type checker would refuse it sooner
    with pytest.raises(ValueError, match="margin is -1, wanted >= 0"):
        triplet(torch.zeros(2, 2), margin=-1.0)
    with pytest.raises(ValueError, match="3 x 2"):
        triplet(torch.zeros(3, 2))
    mask = ~torch.eye(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="row 0 has a positive at column 0"):
        triplet(torch.zeros(2, 2), mask=mask)
