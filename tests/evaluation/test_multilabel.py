"""Average precision of labels, and buckets of equal mass."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score

from antiphon.evaluation.multilabel import average_precision, buckets_of_mass


def slow(scores, positives):
    """Recall gained at each threshold, times precision there."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        found = [p for s, p in zip(scores, positives, strict=True) if s >= threshold]
        recall = sum(found) / sum(positives)
        total += (recall - before) * sum(found) / len(found)
        before = recall
    return total


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_a_loop_and_sklearns(ties):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(30, 6, generator=generator).double()
    scores = scores.round() if ties else scores
    positives = torch.rand(30, 6, generator=generator) < 0.2
    positives[0] = True
    found = average_precision(scores, positives).tolist()
    for label, value in enumerate(found):
        column = scores[:, label].tolist(), positives[:, label].tolist()
        assert value == pytest.approx(slow(*column), abs=1e-12)
        assert value == pytest.approx(average_precision_score(column[1], column[0]), abs=1e-12)
    order = torch.randperm(30, generator=generator)
    assert average_precision(scores[order], positives[order]).tolist() == pytest.approx(found, abs=1e-12)


def test_ends_and_errors():
    scores = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    positives = torch.tensor([[True, True, False], [False, False, False], [False, False, False]])
    found = average_precision(scores, positives).tolist()
    assert found[:2] == pytest.approx([1.0, 1 / 3])  # first; and all alike, which is the share of positives
    assert math.isnan(found[2])
    with pytest.raises(ValueError, match="1 of the scores are nan or inf"):
        average_precision(scores.masked_fill(scores == 3, math.nan), positives)


def test_buckets_hold_equal_mass():
    counts = torch.tensor([1, 4, 1, 2, 2])
    assert buckets_of_mass(counts, 5).tolist() == [4, 1, 4, 2, 3]  # the middles of their masses: .85, .2, .95, .5, .7
    many = torch.tensor([40, *[10] * 4, *[2] * 20, *[1] * 80])
    found = buckets_of_mass(many, 5)
    assert found.tolist() == sorted(found.tolist())
    masses = [int(many[found == bucket].sum()) for bucket in range(5)]
    assert sum(masses) == 200
    assert masses == [40] * 5
    assert int((found == 4).sum()) == 40
    with pytest.raises(ValueError, match="0 buckets of 10 labels"):
        buckets_of_mass(counts, 0)
