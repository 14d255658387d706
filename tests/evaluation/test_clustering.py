from __future__ import annotations

import pytest
import torch

from antiphon.evaluation.clustering import adjusted_mutual_information, cluster_means, kmeans


def _blobs(rows=90, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % count
    return 10 * torch.eye(count, 4)[labels] + torch.randn(rows, 4, generator=generator), labels


def test_far_blobs_are_found():
    vectors, labels = _blobs()
    found, centroids = kmeans(vectors, 3, seed=1, restarts=5)
    assert adjusted_mutual_information(found, labels) == pytest.approx(1)
    means, sizes = cluster_means(vectors, found, 3)
    assert torch.allclose(means, centroids, atol=1e-5)
    assert sizes.tolist() == [30, 30, 30]


def test_a_fixed_point_of_lloyd():
    """Each vector is nearest to its own centroid, and the squared error is not above scikit-learn's by much."""
    cluster = pytest.importorskip("sklearn.cluster")
    vectors = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels, centroids = kmeans(vectors, 8, seed=0, iterations=100, restarts=5)
    assert torch.equal(torch.cdist(vectors, centroids).argmin(1), labels)
    error = float((vectors - centroids[labels]).square().sum())
    reference = cluster.KMeans(8, n_init=5, random_state=0).fit(vectors.numpy())
    assert error < 1.03 * reference.inertia_


def test_restarts_do_not_make_it_worse():
    vectors, _ = _blobs(120, 4, seed=3)

    def error(restarts):
        labels, centroids = kmeans(vectors, 4, seed=5, restarts=restarts)
        return float((vectors - centroids[labels]).square().sum())

    assert error(8) <= error(1)


def test_same_seed_same_clusters():
    vectors = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    one, other = kmeans(vectors, 6, seed=2), kmeans(vectors, 6, seed=2)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[0], kmeans(vectors, 6, seed=3)[0])


def test_an_empty_cluster_keeps_its_centroid():
    vectors = torch.zeros(5, 2)
    labels, centroids = kmeans(vectors, 3, seed=0)
    assert torch.equal(labels, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(centroids, torch.zeros(3, 2))
    means, sizes = cluster_means(torch.ones(5, 2), labels, 3)
    assert means.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert sizes.tolist() == [5, 0, 0]


@pytest.mark.parametrize(("count", "iterations"), [(0, 5), (6, 5), (2, 0)])
def test_impossible_clusters_are_refused(count, iterations):
    with pytest.raises(ValueError, match=f"{count} clusters of 5 vectors, {iterations} iterations"):
        kmeans(torch.zeros(5, 2), count, seed=0, iterations=iterations)


@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_scikit_learns(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(0, 5, (60,), generator=generator)
    right = torch.where(
        torch.rand(60, generator=generator) < 0.5, left, torch.randint(0, 7, (60,), generator=generator)
    )
    wanted = metrics.adjusted_mutual_info_score(left.numpy(), right.numpy())
    assert adjusted_mutual_information(left, right) == pytest.approx(wanted, abs=1e-9)


def test_agreement_of_equal_and_of_independent_divisions():
    left = torch.tensor([0, 0, 1, 1, 2, 2])
    assert adjusted_mutual_information(left, 7 - left) == 1
    assert adjusted_mutual_information(torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)) == 1
    generator = torch.Generator().manual_seed(0)
    found = [
        adjusted_mutual_information(*torch.randint(0, 6, (2, 50), generator=generator).unbind()) for _ in range(100)
    ]
    assert abs(sum(found) / 100) < 0.02


def test_unequal_rows_are_refused():
    with pytest.raises(ValueError, match="4 and 3 rows"):
        adjusted_mutual_information(torch.zeros(4, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
