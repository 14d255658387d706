from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.evaluation.geometry import (
    alignment,
    effective_rank,
    modality_gap,
    project_2d,
    similarity_correlation,
    uniformity,
)

few = settings(max_examples=25, derandomize=True, deadline=None)


def made(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_alignment_in_closed_form():
    assert alignment(made(5, 3), made(5, 3) * 7) == pytest.approx(0, abs=1e-12)
    assert alignment(torch.eye(4), torch.eye(4).flip(0)) == pytest.approx(2)
    assert alignment(torch.eye(4), -torch.eye(4), alpha=1.0) == pytest.approx(2)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_uniformity_agrees_with_the_slow_loop(chunk):
    vectors = torch.nn.functional.normalize(made(7, 4), dim=1)
    pairs = [math.exp(-2 * float((vectors[i] - vectors[j]).square().sum())) for i in range(7) for j in range(i)]
    assert uniformity(vectors * 3, chunk=chunk) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_uniformity_in_closed_form():
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-12)
    assert uniformity(torch.eye(6), t=3.0) == pytest.approx(-6)


def test_effective_rank_in_closed_form():
    assert effective_rank(torch.eye(6)) == pytest.approx(6)
    assert effective_rank(torch.ones(6, 4)) == pytest.approx(1)
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0, 0.0]))) == pytest.approx(4 / 27**0.25)
    shifted = torch.eye(5) + 100
    assert effective_rank(shifted) < 1.2
    assert effective_rank(shifted.double(), centred=True) == pytest.approx(4)


@few
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_effective_rank_knows_no_scale_and_no_rotation(seed, factor):
    vectors = made(6, 4, seed)
    rotation = torch.linalg.qr(made(4, 4, seed + 1)).Q
    assert effective_rank(vectors @ rotation * factor) == pytest.approx(effective_rank(vectors))
    assert 1 <= effective_rank(vectors) <= 4


def test_modality_gap_in_closed_form():
    assert modality_gap(torch.tensor([[3.0, 0.0]]), torch.tensor([[-1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(2)
    assert modality_gap(torch.eye(3), torch.eye(3).flip(0)) == pytest.approx(0, abs=1e-12)
    assert modality_gap(torch.eye(2)[:1], torch.eye(2)[1:]) == pytest.approx(math.sqrt(2))


def test_project_2d_agrees_with_scikit_learn_up_to_sign():
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = made(30, 6)
    theirs = decomposition.PCA(2, svd_solver="full").fit_transform(vectors.numpy())
    np.testing.assert_allclose(project_2d(vectors).abs().numpy(), np.abs(theirs), atol=1e-9)


def test_project_2d_by_hand():
    points = torch.tensor([[0.0, -4.0, 1.0], [0.0, 4.0, 1.0], [1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]])
    wanted = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    torch.testing.assert_close(project_2d(points), wanted)


@few
@given(st.integers(0, 1000))
def test_project_2d_follows_its_points(seed):
    vectors = made(8, 5, seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(project_2d(vectors[order]), project_2d(vectors)[order])
    torch.testing.assert_close(project_2d(vectors + 5), project_2d(vectors))
    torch.testing.assert_close(project_2d(-vectors), -project_2d(vectors))


def test_errors():
    with pytest.raises(ValueError, match="at least two vectors, got 1"):
        uniformity(torch.ones(1, 3))
    with pytest.raises(ValueError, match="no spread"):
        effective_rank(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="no spread"):
        effective_rank(made(1, 5).expand(49, 5), centred=True)
    with pytest.raises(ValueError, match="no spread"):
        effective_rank(torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"width two, got \(4, 1\)"):
        project_2d(torch.ones(4, 1))


def test_similarity_correlation_ranks_the_cosines_of_all_pairs():
    left = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    turned = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    assert similarity_correlation(left, 3 * left @ turned) == pytest.approx(1.0)  # turning and scaling change no cosine
    right = torch.randn(12, 4, generator=torch.Generator().manual_seed(2))
    pairs = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    cosines = [[float(torch.cosine_similarity(side[i], side[j], dim=0)) for i, j in pairs] for side in (left, right)]
    ranks = [torch.tensor(line).argsort().argsort().double() for line in cosines]
    wanted = float(torch.corrcoef(torch.stack(ranks))[0, 1])
    assert similarity_correlation(left, right) == pytest.approx(wanted, abs=1e-6)


def test_similarity_correlation_of_nothing_to_rank():
    with pytest.raises(ValueError, match="equally similar"):
        similarity_correlation(torch.ones(4, 2), torch.randn(4, 2))
    with pytest.raises(ValueError, match="the same three or more"):
        similarity_correlation(torch.randn(4, 2), torch.randn(3, 2))
