from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from antiphon.evaluation.probe import few_shot, fit_logistic, knn_probe, linear_probe


def blobs(rows: int, seed: int, *, noise: float = 1.2, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 5, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(rows) % classes
    return centres[labels] + noise * torch.randn(rows, 5, generator=generator), labels


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_logistic_agrees_with_scikit_learn(l2):
    linear_model = pytest.importorskip("sklearn.linear_model")
    vectors, labels = blobs(60, 0)
    weights, bias = fit_logistic(vectors, labels, l2=l2)
    reference = linear_model.LogisticRegression(C=1 / (60 * l2), tol=1e-10, max_iter=10_000)
    reference.fit(vectors.double().numpy(), labels.numpy())
    np.testing.assert_allclose(weights.numpy(), reference.coef_, atol=1e-4)
    ours = (vectors.double() @ weights.T + bias).softmax(1)
    np.testing.assert_allclose(ours.numpy(), reference.predict_proba(vectors.double().numpy()), atol=1e-4)


def test_logistic_meets_its_first_order_conditions():
    vectors, labels = blobs(30, 1)
    weights, bias = fit_logistic(vectors, labels, l2=0.05)
    wrong = (vectors.double() @ weights.T + bias).softmax(1) - torch.nn.functional.one_hot(labels, 3)
    slope = wrong.T @ vectors.double() / 30 + 0.05 * weights
    assert slope.abs().max() < 1e-6
    assert wrong.mean(0).abs().max() < 1e-6


def test_separable_blobs_are_read_perfectly():
    found = linear_probe(*(blobs(30, seed, noise=0.01) for seed in range(3)))
    assert found.accuracy == found.balanced_accuracy == found.dev_accuracy == 1
    assert found.chance == found.majority == pytest.approx(1 / 3)
    assert found.n == 30


def test_random_labels_stay_near_chance():
    (train, labels), (dev, dev_labels), (test, test_labels) = (blobs(900, seed, noise=1.0) for seed in range(3))
    shuffle = torch.Generator().manual_seed(0)
    labels, dev_labels, test_labels = (
        each[torch.randperm(900, generator=shuffle)] for each in (labels, dev_labels, test_labels)
    )
    found = linear_probe((train, labels), (dev, dev_labels), (test, test_labels), l2_grid=(0.1,))
    assert abs(found.accuracy - 1 / 3) < 4 * math.sqrt(2 / 9 / 900)


def test_the_penalty_is_chosen_on_dev_and_ties_go_to_the_larger():
    splits = [blobs(30, seed, noise=0.01) for seed in range(3)]
    assert linear_probe(*splits, l2_grid=(1e-4, 1e-2, 1e-3)).l2 == 1e-2
    noisy = [blobs(40, seed, noise=1.0) for seed in range(3)]
    found = linear_probe(*noisy, l2_grid=(1e-3, 1e2))
    reached = {}
    for l2 in (1e-3, 1e2):
        weights, bias = fit_logistic(*noisy[0], l2=l2)
        reached[l2] = float(((noisy[1][0].double() @ weights.T + bias).argmax(1) == noisy[1][1]).double().mean())
    assert found.l2 == max(reached, key=lambda l2: (reached[l2], l2))
    assert found.dev_accuracy == max(reached.values())


def test_a_linear_probe_runs_under_no_grad():
    with torch.no_grad():
        assert linear_probe(*(blobs(12, seed, noise=0.01) for seed in range(3)), l2_grid=(0.1,)).accuracy == 1


@pytest.mark.parametrize("temperature", [0.07, math.inf])
def test_knn_agrees_with_scikit_learn(temperature):
    neighbors = pytest.importorskip("sklearn.neighbors")
    train, test = blobs(90, 0), blobs(60, 1)
    reference = neighbors.KNeighborsClassifier(
        n_neighbors=7,
        metric="cosine",
        weights="uniform" if math.isinf(temperature) else lambda distances: np.exp((1 - distances) / temperature),
    ).fit(train[0].double().numpy(), train[1].numpy())
    found = knn_probe(train, test, k=7, temperature=temperature)
    assert found.accuracy == pytest.approx(reference.score(test[0].double().numpy(), test[1].numpy()))
    assert found.l2 is None


def test_knn_with_one_neighbour_knows_its_own_training_set():
    train = blobs(30, 0)
    assert knn_probe(train, train, k=1, temperature=1e-4).accuracy == 1


def test_errors():
    train, test = blobs(6, 0), blobs(6, 1)
    with pytest.raises(ValueError, match=r"labels \[3\] are not in training"):
        knn_probe(train, blobs(6, 1, classes=4))
    with pytest.raises(ValueError, match="a split is empty"):
        linear_probe(train, (test[0][:0], test[1][:0]), test)
    with pytest.raises(ValueError, match="l2_grid is empty"):
        linear_probe(train, test, test, l2_grid=())
    with pytest.raises(ValueError, match="l2 is 0"):
        fit_logistic(*train, l2=0.0)
    with pytest.raises(RuntimeError, match="did not converge in 1 steps"):
        fit_logistic(*train, l2=1e-3, steps=1)
    with pytest.raises(ValueError, match="k is 20, wanted 1 to 6"):
        knn_probe(train, test)
    with pytest.raises(ValueError, match="temperature is 0"):
        knn_probe(train, test, k=2, temperature=0.0)


def test_a_few_examples_of_each_class_are_enough_where_classes_are_apart():
    labels = torch.arange(60) % 3
    vectors = torch.eye(3)[labels] * 5 + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert few_shot(vectors, labels, shots=1) == 1.0
    noise = torch.randn(900, 3, generator=torch.Generator().manual_seed(0))
    assert few_shot(noise, torch.arange(900) % 3, shots=5) == pytest.approx(1 / 3, abs=0.05)


def test_examples_are_not_asked_about_and_zeros_are_never_right():
    labels = torch.tensor([0, 0, 1, 1])
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = few_shot(vectors, labels, shots=1)
    # Of two questions the first class's is right; the second class's is right or of zeros, never both right.
    assert 0.0 < found < 1.0


def test_shots_that_a_class_has_not():
    with pytest.raises(ValueError, match="2 shots of 2 classes, the smallest of 2 vectors: wanted more of each"):
        few_shot(torch.eye(4), torch.tensor([0, 0, 1, 1]), shots=2)
