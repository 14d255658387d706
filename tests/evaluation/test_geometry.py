from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.evaluation.geometry import (
    alignment,
    centring,
    effective_rank,
    modality_gap,
    mutual_neighbours,
    procrustes,
    project_2d,
    rotation_without_pairs,
    scaling,
    similarity_correlation,
    uniformity,
    whitening,
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


def turn(width: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(made(width, width, seed)).Q


def test_calibrations_in_closed_form():
    vectors = made(40, 3) @ made(3, 3, 1) + 5
    assert torch.allclose(centring(vectors)(vectors).mean(0), torch.zeros(3, dtype=torch.float64))
    scaled = scaling(vectors)(vectors)
    assert torch.allclose(scaled.std(0), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(scaled, (vectors - vectors.mean(0)) / vectors.std(0))
    white = whitening(vectors)(vectors)
    assert torch.allclose(white.T.cov(), torch.eye(3, dtype=torch.float64))
    assert torch.allclose(white.mean(0), torch.zeros(3, dtype=torch.float64))
    assert (whitening(vectors).map - whitening(vectors).map.T).abs().max() < 1e-12  # ZCA: no turn beside the stretch


def test_directions_without_spread_become_zero():
    flat = torch.cat([made(20, 2), torch.full((20, 1), 3.0, dtype=torch.float64)], 1)
    for calibration in (scaling(flat), whitening(flat)):
        found = calibration(flat)
        assert not found[:, 2].any()
        assert found.isfinite().all()
        assert torch.allclose(found[:, :2].var(0), torch.ones(2, dtype=torch.float64))


def test_shrinkage_goes_from_whitening_to_centring():
    vectors = made(6, 9)  # fewer vectors than numbers
    whole = whitening(vectors, shrink=1.0)
    level = vectors.var(0).mean()
    assert torch.allclose(whole(vectors), (vectors - vectors.mean(0)) / level.sqrt())
    assert whitening(vectors, shrink=0.1)(vectors).norm() < whitening(vectors)(vectors).norm() * 3


def test_one_centre_for_both_sides_keeps_the_order_of_distances():
    queries, keys = made(5, 4), made(7, 4, 1)
    calibration = centring(torch.cat([queries, keys]))
    before, after = torch.cdist(queries, keys), torch.cdist(calibration(queries), calibration(keys))
    assert torch.equal(before.argsort(1), after.argsort(1))


def test_procrustes_finds_the_turn():
    left, rotation = made(12, 4), turn(4, 3)
    assert torch.allclose(procrustes(left, left @ rotation), rotation)
    assert torch.allclose(procrustes(left, left @ rotation, pull=1e9), torch.eye(4, dtype=torch.float64), atol=1e-6)
    found = procrustes(left, made(12, 4, 5), pull=0.3)
    assert torch.allclose(found @ found.T, torch.eye(4, dtype=torch.float64), atol=1e-12)


def test_mutual_neighbours_by_the_slow_loop():
    left, right = made(9, 3), made(6, 3, 1)
    cosines = [[float(torch.cosine_similarity(a, b, dim=0)) for b in right] for a in left]
    wanted = [
        (i, j)
        for i in range(9)
        for j in range(6)
        if cosines[i][j] == max(cosines[i]) and cosines[i][j] == max(row[j] for row in cosines)
    ]
    assert list(zip(*(side.tolist() for side in mutual_neighbours(left, right)), strict=True)) == wanted


def test_a_small_turn_is_found_without_pairs():
    left = made(200, 6)
    skew = 0.35 * made(6, 6, 2)
    rotation = torch.linalg.matrix_exp((skew - skew.T) / 2)
    right = (left @ rotation)[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(rotation_without_pairs(left, right, rounds=50), rotation, atol=1e-6)
    assert torch.equal(rotation_without_pairs(left, right, rounds=0), torch.eye(6, dtype=torch.float64))


def test_calibrations_of_too_little():
    with pytest.raises(ValueError, match="got 1 vectors, wanted at least two"):
        whitening(made(1, 3))
    with pytest.raises(ValueError, match="shrink is 2, wanted 0 to 1"):
        whitening(made(4, 3), shrink=2)
    with pytest.raises(ValueError, match="no vectors to take the mean of"):
        centring(made(0, 3))
    with pytest.raises(ValueError, match="procrustes of 0 pairs"):
        procrustes(made(0, 3), made(0, 3))
