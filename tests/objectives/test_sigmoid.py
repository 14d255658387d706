from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from antiphon.objectives.sigmoid import SigmoidScale, sigmoid_contrast

few = settings(max_examples=25, derandomize=True, deadline=None)


def made(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def flags(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.5


def slow(scores, positives, bias, mask, weights):
    total = 0.0
    for i in range(len(scores)):
        for k in range(scores.shape[1]):
            if mask[i, k]:
                sign = 1 if positives[i, k] else -1
                total += float(weights[i]) * math.log1p(math.exp(-sign * (float(scores[i, k]) + bias)))
    return total / float(weights.sum())


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_slow_loop(seed):
    scores, mask = made(4, 6, seed), flags(4, 6, seed)
    positives = flags(4, 6, seed + 50) & mask
    weights = torch.tensor([1.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    ours = sigmoid_contrast(scores, positives, bias=-1.5, mask=mask, weights=weights)
    assert float(ours) == pytest.approx(slow(scores, positives, -1.5, mask, weights), abs=1e-10)


def test_algorithm_1_of_the_paper():
    images, texts = made(5, 3), made(5, 3, 1)
    images, texts = (torch.nn.functional.normalize(each, dim=1) for each in (images, texts))
    logits = images @ texts.T * math.exp(math.log(10)) - 10
    labels = 2 * torch.eye(5) - torch.ones(5, 5)
    reference = -torch.nn.functional.logsigmoid(labels * logits).sum() / 5
    scale = SigmoidScale().double()
    assert sigmoid_contrast(scale(images @ texts.T)).item() == pytest.approx(float(reference), abs=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_zero_scores_give_keys_times_log_two(batch):
    assert float(sigmoid_contrast(torch.zeros(batch, batch))) == pytest.approx(batch * math.log(2), rel=1e-6)


@few
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 1000), st.floats(0.01, 100))
def test_permutations_and_the_scale_of_weights_change_nothing(rows, extra, seed, factor):
    scores, positives = made(rows, rows + extra, seed), flags(rows, rows + extra, seed)
    weights = made(rows, 1, seed + 1)[:, 0].abs() + 0.1
    shuffle = torch.Generator().manual_seed(seed)
    p = torch.randperm(rows, generator=shuffle)
    q = torch.randperm(rows + extra, generator=shuffle)
    before = sigmoid_contrast(scores, positives, weights=weights)
    after = sigmoid_contrast(scores[p][:, q], positives[p][:, q], weights=weights[p] * factor)
    assert float(after) == pytest.approx(float(before), rel=1e-9)


def test_gradients_reach_scores_scale_and_bias():
    scores, bias = made(3, 4).requires_grad_(), torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[0, 3] = False
    assert gradcheck(lambda s, t, b: sigmoid_contrast(s * t.exp(), bias=b, mask=mask), (scores, log_scale, bias))
    scale = SigmoidScale()
    sigmoid_contrast(scale(scores.float().detach())).backward()
    assert all(parameter.grad.abs() > 0 for parameter in scale.parameters())


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
def test_pairs_left_out_reach_neither_loss_nor_gradient(poison):
    scores = made(3, 4)
    scores[0, 3] = scores[2, 0] = poison
    scores.requires_grad_()
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[0, 3] = False
    loss = sigmoid_contrast(scores, mask=mask, weights=torch.tensor([1.0, 1.0, 0.0]))
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()
    assert (scores.grad[2] == 0).all()


def test_all_weights_zero_gives_zero_with_a_graph():
    scores = torch.full((2, 2), math.inf, requires_grad=True)
    loss = sigmoid_contrast(scores, weights=torch.zeros(2))
    loss.backward()
    assert loss == 0
    assert (scores.grad == 0).all()


def test_large_scores_do_not_overflow():
    scores = torch.tensor([[-1000.0, 1000.0], [0.0, 1000.0]], requires_grad=True)
    loss = sigmoid_contrast(scores)
    loss.backward()
    assert loss.item() == pytest.approx((2000 + math.log(2)) / 2)
    assert scores.grad.isfinite().all()


def test_start_of_the_paper():
    scale = SigmoidScale()
    assert scale(torch.tensor(1.0)).item() == pytest.approx(0.0, abs=1e-5)
    assert scale.temperature == pytest.approx(0.1)


def test_errors():
    mask = torch.ones(2, 2, dtype=torch.bool)
    mask[1, 1] = False
    with pytest.raises(ValueError, match="row 1 has a positive at column 1"):
        sigmoid_contrast(torch.zeros(2, 2), mask=mask)
    with pytest.raises(ValueError, match="3 x 2"):
        sigmoid_contrast(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="row 0 has -1"):
        sigmoid_contrast(torch.zeros(2, 2), weights=torch.tensor([-1.0, 1.0]))
    with pytest.raises(ValueError, match="scale is 0"):
        SigmoidScale(0.0)
