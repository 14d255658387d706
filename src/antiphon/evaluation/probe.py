"""Probes: what a simple classifier can read from frozen vectors.

Linear: multinomial logistic regression, L2 chosen on the development split. kNN: votes of the nearest
training vectors, weighted by exp(cosine / temperature) (Wu et al. 2018, arXiv 1805.01978, section 3.4).

Axes: N vectors, D width, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from antiphon.evaluation.retrieval import nearest
from antiphon.evaluation.zeroshot import majority_share

Split = tuple[Float[Tensor, "_ d"], Int[Tensor, " _"]]
"""Vectors and their labels, 0 to C - 1."""


@dataclass(frozen=True)
class Probe:
    """What a probe reached on the test split, in [0, 1].

    Args:
        accuracy: share of right answers.
        balanced_accuracy: mean over the classes of the test split.
        n: how many test vectors.
        chance: 1 / C, C classes in training.
        majority: share of the most frequent test class.
        l2: the chosen penalty; None for kNN.
        dev_accuracy: on the development split with that penalty; None for kNN.
    """

    accuracy: float
    balanced_accuracy: float
    n: int
    chance: float
    majority: float
    l2: float | None = None
    dev_accuracy: float | None = None


def linear_probe(
    train: Split, dev: Split, test: Split, *, l2_grid: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
) -> Probe:
    """Fit on train, choose the L2 penalty by accuracy on dev (a tie goes to the larger), read test once.

    Features are used as they are: standardise them first where their scales differ.

    Raises:
        ValueError: no penalties, a split that is empty, or a label that training does not have.
    """
    if not l2_grid:
        raise ValueError("l2_grid is empty, wanted at least one penalty > 0")
    classes = _count_classes(train, dev, test)
    best: tuple[float, float, Tensor, Tensor] | None = None
    for l2 in sorted(l2_grid, reverse=True):
        weights_CD, bias_C = fit_logistic(*train, l2=l2)
        reached = _accuracy(_answers(dev[0], weights_CD, bias_C), dev[1])
        if best is None or reached > best[0]:
            best = (reached, l2, weights_CD, bias_C)
    assert best is not None
    dev_accuracy, l2, weights_CD, bias_C = best
    answers_N = _answers(test[0], weights_CD, bias_C)
    return _probe(answers_N, test[1], classes, l2=l2, dev_accuracy=dev_accuracy)


def fit_logistic(
    vectors_ND: Float[Tensor, "n d"], labels_N: Int[Tensor, " n"], *, l2: float, steps: int = 1000
) -> tuple[Float[Tensor, "c d"], Float[Tensor, " c"]]:
    """Minimise `mean cross-entropy + l2 / 2 * |W|^2` by LBFGS in float64; the bias is not penalised.

    In scikit-learn's terms `C = 1 / (n * l2)`.

    Args:
        vectors_ND: training vectors.
        labels_N: 0 to C - 1.
        l2: > 0, so that the minimum exists on separable data too.
        steps: LBFGS steps at most.

    Returns:
        Weights and biases, float64.

    Raises:
        ValueError: a penalty that is not positive.
        RuntimeError: the gradient is not yet small after all steps.
    """
    if not l2 > 0:
        raise ValueError(f"l2 is {l2:g}, wanted > 0")
    inputs_ND = vectors_ND.detach().double()
    classes = int(labels_N.max()) + 1
    with torch.enable_grad():  # the caller may evaluate under no_grad
        weights_CD = inputs_ND.new_zeros(classes, inputs_ND.shape[1]).requires_grad_()
        bias_C = inputs_ND.new_zeros(classes).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weights_CD, bias_C],
            max_iter=steps,
            tolerance_grad=1e-8,
            tolerance_change=1e-14,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = cross_entropy(inputs_ND @ weights_CD.T + bias_C, labels_N)
            loss = loss + l2 / 2 * weights_CD.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        closure()
    assert weights_CD.grad is not None
    left = weights_CD.grad.abs().max().item()
    if not left < 1e-3:
        raise RuntimeError(
            f"the linear probe did not converge in {steps} steps (gradient {left:.2g}, l2 {l2:g}): "
            "standardise the vectors, raise l2, or allow more steps"
        )
    return weights_CD.detach(), bias_C.detach()


def knn_probe(train: Split, test: Split, *, k: int = 20, temperature: float = 0.07) -> Probe:
    """Classify each test vector by its k nearest training vectors (cosine).

    Args:
        train: the vectors that vote.
        test: the vectors to classify.
        k: how many vote, at most the training vectors.
        temperature: a vote weighs exp(cosine / temperature); `math.inf` makes all votes equal. A tie goes to
            the lower class number.

    Raises:
        ValueError: k out of range, a temperature that is not positive, or a label that training does not
            have.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature:g}, wanted > 0 (math.inf for equal votes)")
    classes = _count_classes(train, test)
    scores_NK, indices_NK = nearest(normalize(test[0], dim=1), normalize(train[0], dim=1), k)
    # Relative to the best vote, so that a small temperature does not overflow.
    excess_NK = (scores_NK - scores_NK[:, :1]).double()
    votes_NK = torch.ones_like(excess_NK) if math.isinf(temperature) else (excess_NK / temperature).exp()
    totals_NC = nn.functional.one_hot(train[1][indices_NK], classes).mul(votes_NK[..., None]).sum(1)
    return _probe(totals_NC.argmax(1), test[1], classes)


def few_shot(vectors_ND: Float[Tensor, "n d"], labels_N: Int[Tensor, " n"], *, shots: int, seed: int = 0) -> float:
    """Accuracy of the nearest centroid (cosine) of so many vectors of each class, on all others: the mean of 5 draws.

    Args:
        vectors_ND: each is made unit first; one of zeros is never right.
        labels_N: 0 to C - 1.
        shots: vectors of each class that its centroid is the mean of.
        seed: which ones.

    Raises:
        ValueError: fewer than two classes, or a class that has not more vectors than that.
    """
    classes = int(labels_N.max()) + 1
    least = int(torch.bincount(labels_N, minlength=classes).min())
    if classes < 2 or not 0 < shots < least:
        raise ValueError(f"{shots} shots of {classes} classes, the smallest of {least} vectors: wanted more of each")
    units_ND, generator = normalize(vectors_ND.detach().double(), dim=1), torch.Generator().manual_seed(seed)
    shares = []
    for _ in range(5):
        order_N = torch.randperm(len(labels_N), generator=generator)
        chosen_N = torch.cat([order_N[labels_N[order_N] == c][:shots] for c in range(classes)])
        centroids_CD = normalize(units_ND[chosen_N].view(classes, shots, -1).mean(1), dim=1)
        asked_N = torch.ones(len(labels_N), dtype=torch.bool).index_fill(0, chosen_N, False) & units_ND.any(1)
        right = (units_ND[asked_N] @ centroids_CD.T).argmax(1) == labels_N[asked_N]
        shares.append(int(right.sum()) / (len(labels_N) - len(chosen_N)))
    return sum(shares) / len(shares)


def _answers(vectors_ND: Tensor, weights_CD: Tensor, bias_C: Tensor) -> Tensor:
    return (vectors_ND.detach().double() @ weights_CD.T + bias_C).argmax(1)


def _accuracy(answers_N: Tensor, labels_N: Tensor) -> float:
    return (answers_N == labels_N).double().mean().item()


def _probe(
    answers_N: Tensor,
    labels_N: Tensor,
    classes: int,
    *,
    l2: float | None = None,
    dev_accuracy: float | None = None,
) -> Probe:
    shares = [_accuracy(answers_N[labels_N == c], labels_N[labels_N == c]) for c in sorted(set(labels_N.tolist()))]
    return Probe(
        accuracy=_accuracy(answers_N, labels_N),
        balanced_accuracy=sum(shares) / len(shares),
        n=len(labels_N),
        chance=1 / classes,
        majority=majority_share(labels_N),
        l2=l2,
        dev_accuracy=dev_accuracy,
    )


def _count_classes(train: Split, *others: Split) -> int:
    if any(len(labels) == 0 for _, labels in (train, *others)):
        raise ValueError("a split is empty: the probe wants vectors in each")
    known = set(train[1].tolist())
    for _, labels in others:
        unknown = sorted(set(labels.tolist()) - known)
        if unknown:
            raise ValueError(f"the labels {unknown[:5]} are not in training: no probe could give them")
    return int(max(known)) + 1
