"""Retrieval between columns: shared captions stand once, queries without an answer are left out and not counted."""

import pytest
import torch

from antiphon.evaluation.answers import answers, distinct


def test_a_shared_caption_stands_once():
    texts = torch.eye(3)[[0, 0, 1, 2]]
    labels = torch.tensor([0, 0, 1, 2])
    assert distinct(texts, labels).tolist() == [0, 2, 3]
    found = answers(texts, texts, labels, labels)
    assert found["keys"] == 3
    assert found["n"] == 4
    assert found["R@1"] == 1.0
    assert found["chance R@1"] == pytest.approx(1 / 3)


def test_equal_vectors_of_other_labels_stay_and_count_against_us():
    texts = torch.ones(2, 2)
    labels = torch.tensor([0, 1])
    found = answers(texts, texts, labels, labels)
    assert found["keys"] == 2
    assert found["R@1"] == 0.0


def test_queries_without_an_answer_are_not_counted():
    found = answers(torch.eye(3), torch.eye(3)[:2], torch.tensor([0, 1, 2]), torch.tensor([0, 1]))
    assert found["n"] == 2
    assert answers(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), torch.tensor([5, 6])) == {"n": 0}
