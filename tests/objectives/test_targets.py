from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.objectives.contrast import contrast
from antiphon.objectives.targets import (
    by_similarity,
    has_positive,
    identity,
    normalise_rows,
    pad_negatives,
    same_label,
    shifted_cosine,
    softened,
)

few = settings(max_examples=25, derandomize=True, deadline=None)


def made(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_identity():
    assert torch.equal(identity(2, 3), torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    assert torch.equal(identity(3), torch.eye(3))
    with pytest.raises(ValueError, match="3 queries but 2 keys"):
        identity(3, 2)


@few
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_same_label_agrees_with_the_slow_loop(queries, keys):
    targets = same_label(torch.tensor(queries), torch.tensor(keys))
    for i, query in enumerate(queries):
        for k, key in enumerate(keys):
            wanted = 1 / keys.count(query) if key == query else 0
            assert float(targets[i, k]) == pytest.approx(wanted)
    assert has_positive(targets).tolist() == [query in keys for query in queries]


def test_same_label_without_the_diagonal():
    targets = same_label(torch.tensor([7, 7, 8]), drop_diagonal=True)
    assert torch.equal(targets, torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert has_positive(targets).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="row 2 sums to 0"):
        contrast(torch.zeros(3, 3), targets)


def test_by_similarity_agrees_with_the_slow_loop():
    vectors, keys = made(4, 5), made(6, 5, seed=1)
    targets = by_similarity(vectors, keys)
    for i in range(4):
        weights = [float(torch.cosine_similarity(vectors[i], keys[k], dim=0)) / 2 + 0.5 for k in range(6)]
        assert targets[i].tolist() == pytest.approx([weight / sum(weights) for weight in weights])


def test_by_similarity_of_opposite_vectors_is_identity():
    vectors = torch.tensor([[3.0, 0.0], [-2.0, 0.0]])
    assert torch.allclose(by_similarity(vectors), torch.eye(2))


def test_by_similarity_of_orthogonal_vectors_in_closed_form():
    targets = by_similarity(torch.eye(5))  # 1 on the diagonal, 1/2 elsewhere: a sum of 3
    assert torch.allclose(targets, torch.full((5, 5), 1 / 6) + torch.eye(5) / 6)


@few
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_by_similarity_knows_no_length_and_no_order(seed, factor):
    vectors = made(5, 3, seed=seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    targets = by_similarity(vectors)
    assert torch.allclose(by_similarity(vectors * factor), targets)
    assert torch.allclose(by_similarity(vectors[order]), targets[order][:, order])


def test_by_similarity_with_another_weight():
    vectors = made(4, 5)
    cosines = torch.nn.functional.normalize(vectors, dim=1) @ torch.nn.functional.normalize(vectors, dim=1).T
    sharp = by_similarity(vectors, weight=lambda cosines: ((cosines - 1) / 0.1).exp())
    assert torch.allclose(sharp, (cosines / 0.1).softmax(1))


def test_by_similarity_has_no_gradient():
    vectors = made(3, 4).requires_grad_()
    assert not by_similarity(vectors).requires_grad


def test_by_similarity_refuses_negative_weights():
    with pytest.raises(ValueError, match=r"weight\(\) gave values from -1 to 1: wanted finite weights >= 0"):
        by_similarity(torch.tensor([[1.0], [-1.0]]), weight=lambda cosines: cosines)


def test_shifted_cosine_is_never_negative():
    assert float(shifted_cosine(torch.tensor(-1.0000001))) == 0


def test_softened():
    scores = made(3, 4).requires_grad_()
    targets = softened(scores, temperature=0.5)
    assert torch.allclose(targets, (scores / 0.5).softmax(1))
    assert not targets.requires_grad
    assert torch.allclose(softened(torch.zeros(2, 4), temperature=9.0), torch.full((2, 4), 0.25))
    with pytest.raises(ValueError, match="temperature is 0, wanted > 0"):
        softened(scores, temperature=0.0)


def test_softened_targets_are_the_minimum():
    teacher = made(4, 4)
    targets = softened(teacher, temperature=1.0)
    entropy = -(targets * targets.log()).sum(1).mean()
    assert float(contrast(teacher, targets)) == pytest.approx(float(entropy))
    assert float(contrast(teacher * 1.1, targets)) > float(entropy)


def test_pad_negatives_adds_columns_that_only_widen_the_softmax():
    targets = pad_negatives(torch.eye(2), 3)
    assert torch.equal(targets, torch.eye(2, 5))
    assert torch.equal(pad_negatives(torch.eye(2), 0), torch.eye(2))
    assert float(contrast(torch.zeros(2, 5), targets)) == pytest.approx(math.log(5))
    with pytest.raises(ValueError, match="extra is -1"):
        pad_negatives(torch.eye(2), -1)


def test_normalise_rows_leaves_zeros():
    assert torch.equal(normalise_rows(torch.tensor([[1.0, 3], [0, 0]])), torch.tensor([[0.25, 0.75], [0, 0]]))
