from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from antiphon.objectives.contrast import Scale, ceiling, contrast, symmetric_contrast, transposed_targets
from antiphon.objectives.negatives import off_diagonal
from antiphon.objectives.targets import has_positive, same_label

few = settings(max_examples=25, derandomize=True, deadline=None)
sizes = st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 10_000))


def made(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def soft(rows: int, columns: int, seed: int = 1) -> torch.Tensor:
    return made(rows, columns, seed).softmax(1)


def slow(scores, targets, mask, weights):
    total, trust = 0.0, 0.0
    for i, row in enumerate(scores.tolist()):
        if weights[i] == 0:
            continue
        allowed = [k for k in range(len(row)) if mask[i][k]]
        partition = math.log(sum(math.exp(row[k]) for k in allowed))
        loss = -sum(float(targets[i][k]) * (row[k] - partition) for k in allowed)
        total += float(weights[i]) * loss
        trust += float(weights[i])
    return total / trust


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_slow_loop(seed):
    scores, targets = made(5, 7, seed), soft(5, 7, seed + 10)
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(seed)) > 0.3
    mask[:, seed] = True
    targets = targets * mask
    targets = targets / targets.sum(1, keepdim=True)
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    ours = contrast(scores, targets, mask=mask, weights=weights)
    assert float(ours) == pytest.approx(slow(scores, targets, mask, weights), abs=1e-10)


@few
@given(sizes)
def test_no_targets_is_identity_with_negative_columns(size):
    rows, extra, seed = size
    scores = made(rows, rows + extra, seed)
    eye = torch.eye(rows, rows + extra, dtype=torch.float64)
    assert float(contrast(scores)) == pytest.approx(float(contrast(scores, eye)), abs=1e-12)
    reference = torch.nn.functional.cross_entropy(scores, torch.arange(rows))
    assert float(contrast(scores)) == pytest.approx(float(reference), abs=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_equal_vectors_give_log_batch(batch):
    scores = torch.full((batch, batch), 3.7, dtype=torch.float64)
    assert float(contrast(scores)) == pytest.approx(math.log(batch), abs=1e-12)
    assert float(symmetric_contrast(scores)) == pytest.approx(math.log(batch), abs=1e-12)


def test_supcon_with_unique_labels_is_infonce():
    scores = made(6, 6)
    targets = same_label(torch.tensor([5, 1, 9, 2, 4, 7])).double()
    assert float(contrast(scores, targets)) == pytest.approx(float(contrast(scores)), abs=1e-12)


def test_supcon_drops_self_and_weighs_lonely_rows_zero():
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    scores = made(6, 6)
    targets = same_label(labels, drop_diagonal=True).double()
    weights = has_positive(targets).double()
    losses = []
    for i in range(6):
        others = [k for k in range(6) if k != i]
        positives = [k for k in others if labels[k] == labels[i]]
        if positives:
            partition = torch.logsumexp(scores[i, others], 0)
            losses.append(torch.stack([partition - scores[i, p] for p in positives]).mean())
    ours = contrast(scores, targets, mask=off_diagonal(6, 6), weights=weights)
    assert float(ours) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-12)


@few
@given(sizes)
def test_permuting_queries_and_keys_changes_nothing(size):
    rows, extra, seed = size
    columns = rows + extra
    scores, targets = made(rows, columns, seed), soft(rows, columns, seed + 1)
    weights = made(rows, 1, seed + 2)[:, 0].abs() + 0.1
    shuffle = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(rows, generator=shuffle), torch.randperm(columns, generator=shuffle)
    for loss in (contrast, symmetric_contrast):
        before = loss(scores, targets, weights=weights)
        after = loss(scores[p][:, q], targets[p][:, q], weights=weights[p])
        assert float(after) == pytest.approx(float(before), abs=1e-10)


@few
@given(sizes, st.floats(-50, 50), st.floats(0.01, 100))
def test_shifting_scores_and_scaling_weights_changes_nothing(size, shift, factor):
    rows, extra, seed = size
    scores, targets = made(rows, rows + extra, seed), soft(rows, rows + extra, seed + 1)
    weights = made(rows, 1, seed + 2)[:, 0].abs() + 0.1
    before = contrast(scores, targets, weights=weights)
    after = contrast(scores + shift, targets, weights=weights * factor)
    assert float(after) == pytest.approx(float(before), abs=1e-9)


def test_a_masked_column_is_as_if_it_were_not_there():
    scores = made(4, 6)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[:, 4] = False
    assert float(contrast(scores, mask=mask)) == pytest.approx(float(contrast(scores[:, [0, 1, 2, 3, 5]])))


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
def test_masked_scores_reach_neither_loss_nor_gradient(poison):
    scores, mask = made(3, 4), torch.ones(3, 4, dtype=torch.bool)
    scores[1, 3], mask[1, 3] = poison, False
    scores.requires_grad_()
    targets = torch.eye(3, 4, dtype=torch.float64).requires_grad_()
    contrast(scores, targets, mask=mask).backward()
    assert scores.grad.isfinite().all()
    assert targets.grad.isfinite().all()
    assert scores.grad[1, 3] == 0


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("given_targets", [True, False])
def test_all_weights_zero_gives_zero_with_a_graph(poison, given_targets):
    scores = torch.full((3, 3), poison, requires_grad=True)
    targets = torch.zeros(3, 3) if given_targets else None
    loss = contrast(scores, targets, mask=torch.zeros(3, 3, dtype=torch.bool), weights=torch.zeros(3))
    loss.backward()
    assert loss == 0
    assert (scores.grad == 0).all()


def test_a_row_of_weight_zero_has_no_say():
    scores = made(3, 3)
    weights = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    wild = scores.clone()
    wild[1] = math.nan
    wild.requires_grad_()
    loss = contrast(wild, weights=weights)
    loss.backward()
    assert loss.item() == pytest.approx(float(contrast(scores, weights=weights)), abs=1e-12)
    assert (wild.grad[1] == 0).all()
    assert wild.grad.isfinite().all()


def test_half_precision_is_summed_in_float32():
    scores = made(8, 8).bfloat16()
    loss = contrast(scores)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(contrast(scores.double())), rel=1e-5)


def test_symmetric_is_the_mean_of_both_directions():
    scores, weights = made(4, 4), torch.tensor([1.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    both = (contrast(scores, weights=weights) + contrast(scores.T, weights=weights)) / 2
    assert float(symmetric_contrast(scores, weights=weights)) == pytest.approx(float(both), abs=1e-12)
    eye = torch.eye(4, dtype=torch.float64)
    assert float(symmetric_contrast(scores, eye, weights=weights)) == pytest.approx(float(both), abs=1e-12)


def test_symmetric_with_extra_columns_asks_only_wanted_keys():
    scores, mask = made(3, 5), torch.ones(3, 5, dtype=torch.bool)
    mask[0, 1] = False
    eye = torch.eye(3, 5, dtype=torch.float64)
    plain = symmetric_contrast(scores, mask=mask)
    assert float(plain) == pytest.approx(float(symmetric_contrast(scores, eye, mask=mask)), abs=1e-12)
    backward = contrast(scores[:, :3].T, mask=mask[:, :3].T)
    assert float(plain) == pytest.approx(float(contrast(scores, mask=mask) + backward) / 2, abs=1e-12)


def test_transposed_targets_by_hand():
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    turned, trust = transposed_targets(targets, torch.tensor([2.0, 1.0]))
    assert torch.allclose(turned, torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]))
    assert torch.allclose(trust, torch.tensor([2.0, 2.0 / 1.5, 0.0]))


def test_gradients():
    scores = made(3, 5).requires_grad_()
    targets = soft(3, 5)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 4] = False
    targets = targets * mask
    targets = targets / targets.sum(1, keepdim=True)
    weights = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    # Targets leave the simplex by the size of gradcheck's step, inside the tolerance of the check.
    assert gradcheck(lambda s, w: contrast(s, targets, mask=mask, weights=w), (scores, weights))
    assert gradcheck(lambda t: contrast(scores.detach(), t), (soft(3, 5).requires_grad_(),))
    assert gradcheck(lambda s, w: symmetric_contrast(s, weights=w), (scores, weights))
    assert gradcheck(lambda s: symmetric_contrast(s, targets, mask=mask), (scores,))


def test_gradient_reaches_the_temperature():
    scale = Scale(0.2).double()
    scores = made(3, 3).requires_grad_()

    def loss(scores, log_scale):
        return contrast(scores * ceiling(log_scale, scale.max_log_scale).exp())

    assert gradcheck(loss, (scores, scale.log_scale.detach().clone().requires_grad_()))
    contrast(scale(scores)).backward()
    step = 1e-6
    with torch.no_grad():
        scale.log_scale += step
        above = contrast(scale(scores))
        scale.log_scale -= 2 * step
        below = contrast(scale(scores))
    slope = (above - below).item() / (2 * step)
    assert float(scale.log_scale.grad) == pytest.approx(slope, rel=1e-6)


def test_scale_divides_by_the_temperature():
    scale = Scale()
    assert scale.temperature == pytest.approx(0.07)
    assert torch.allclose(scale(torch.ones(2, 2)), torch.full((2, 2), 1 / 0.07))
    assert not scale.at_bound
    assert [name for name, _ in scale.named_parameters()] == ["log_scale"]


def test_fixed_scale_has_no_parameter_but_is_saved():
    scale = Scale(0.01, learned=False)
    assert list(scale.parameters()) == []
    assert list(scale.state_dict()) == ["log_scale"]
    assert not scale.at_bound


def test_scale_stops_at_its_bound_says_so_and_comes_back():
    scale = Scale(0.0101)
    optimiser = torch.optim.SGD(scale.parameters(), lr=0.1)
    for _ in range(5):  # descent on minus the scale pushes it up
        optimiser.zero_grad()
        (-scale(torch.ones(()))).backward()
        optimiser.step()
    assert scale.at_bound
    assert scale.temperature == pytest.approx(0.01)
    assert scale(torch.ones(())).item() == pytest.approx(100, rel=1e-6)
    stopped = scale.log_scale.item()
    optimiser.zero_grad()
    (-scale(torch.ones(()))).backward()
    assert scale.log_scale.grad == 0
    for _ in range(8):
        optimiser.zero_grad()
        scale(torch.ones(())).backward()
        optimiser.step()
    assert scale.log_scale.item() < stopped
    assert not scale.at_bound


def test_scale_refuses_a_temperature_below_its_bound():
    with pytest.raises(ValueError, match=r"temperature 0\.005, min_temperature 0\.01"):
        Scale(0.005)
    with pytest.raises(ValueError, match="> 0"):
        Scale(0.1, 0.0)


class TestErrors:
    def test_rows_that_do_not_sum_to_one(self):
        targets = torch.eye(4)
        targets[3, 3] = 0
        with pytest.raises(ValueError, match=r"targets must sum to 1 per row, row 3 sums to 0: has it a positive"):
            contrast(torch.zeros(4, 4), targets)

    def test_nan_targets(self):
        with pytest.raises(ValueError, match="row 0 sums to nan"):
            contrast(torch.zeros(1, 2), torch.full((1, 2), math.nan))

    def test_negative_targets(self):
        with pytest.raises(ValueError, match=r"targets must be >= 0, row 1 holds -0\.5"):
            contrast(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [1.5, -0.5]]))

    def test_too_few_keys(self):
        with pytest.raises(ValueError, match="3 x 2: without targets query i matches key i"):
            contrast(torch.zeros(3, 2))

    def test_empty(self):
        with pytest.raises(ValueError, match="no rows"):
            contrast(torch.zeros(0, 0))

    @pytest.mark.parametrize("given_targets", [True, False])
    def test_masked_positive(self, given_targets):
        mask = torch.ones(3, 3, dtype=torch.bool)
        mask[2, 2] = False
        with pytest.raises(ValueError, match="row 2 has a positive at column 2, which the mask excludes"):
            contrast(torch.zeros(3, 3), torch.eye(3) if given_targets else None, mask=mask)
        contrast(torch.zeros(3, 3), mask=mask, weights=torch.tensor([1.0, 1.0, 0.0]))

    @pytest.mark.parametrize(("weight", "said"), [(-1.0, "-1"), (math.nan, "nan"), (math.inf, "inf")])
    def test_bad_weights(self, weight, said):
        with pytest.raises(ValueError, match=f"finite and >= 0, row 1 has {said}"):
            contrast(torch.zeros(2, 2), weights=torch.tensor([1.0, weight]))
