from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from antiphon.evaluation.zeroshot import class_vectors, majority_share, zero_shot


def made(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def embed(texts: list[str]) -> torch.Tensor:
    """A vector that depends on the text alone, of a length that should not matter."""
    return torch.cat([made(1, 8, sum(map(ord, text))) * (1 + len(text)) for text in texts])


def test_class_vectors_agree_with_the_slow_loop():
    templates = ("a photo of a {}", "{}", "the sound of {}!")
    found = class_vectors(embed, ["cat", "dog"], templates)
    for name, vector in zip(["cat", "dog"], found, strict=True):
        mean = torch.stack([normalize(embed([each.format(name)])[0], dim=0) for each in templates]).mean(0)
        torch.testing.assert_close(vector, mean / mean.norm())


def test_one_template_gives_the_unit_vector():
    torch.testing.assert_close(class_vectors(embed, ["cat"]), normalize(embed(["cat"]), dim=1))


def test_a_name_may_hold_braces():
    asked = []
    class_vectors(lambda texts: asked.extend(texts) or embed(texts), ["set {}"], ["the {}"])
    assert asked == ["the set {}"]


def test_zero_shot_by_hand():
    classes = torch.eye(3)
    queries = torch.tensor([[2.0, 1, 0], [0, 1, 2], [0, 3, 1], [5, 1, 1]])
    found = zero_shot(queries, classes, torch.tensor([0, 1, 1, 0]))
    assert found.accuracy == 0.75
    assert found.per_class == {0: 1.0, 1: 0.5}
    assert found.balanced_accuracy == 0.75
    assert found.top5 == 1
    assert found.as_dict() == {
        "accuracy": 0.75,
        "balanced_accuracy": 0.75,
        "top5": 1.0,
        "n": 4,
        "chance": pytest.approx(1 / 3),
        "majority": 0.5,
    }


def test_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    queries, classes = made(200, 6), made(9, 6, 1)
    labels = torch.randint(0, 9, (200,), generator=torch.Generator().manual_seed(2))
    scores = queries @ classes.T
    found = zero_shot(queries, classes, labels)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, scores.argmax(1)))
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, scores.argmax(1)))
    assert found.top5 == pytest.approx(
        metrics.top_k_accuracy_score(labels.numpy(), scores.numpy(), k=5, labels=range(9))
    )


def test_a_constant_space_knows_nothing():
    found = zero_shot(torch.ones(10, 4), torch.ones(6, 4), torch.zeros(10, dtype=torch.int64))
    assert found.accuracy == 0
    assert found.top5 == 0
    assert found.majority == 1


def test_majority_share():
    assert majority_share(torch.tensor([3, 3, 1, 0])) == 0.5


def test_errors():
    with pytest.raises(ValueError, match="0 classes and 1 templates"):
        class_vectors(embed, [])
    with pytest.raises(ValueError, match="'cat' is given more than once"):
        class_vectors(embed, ["cat", "dog", "cat"])
    with pytest.raises(ValueError, match=r"'a photo' wants exactly one \{\}"):
        class_vectors(embed, ["cat"], ["a photo"])
    with pytest.raises(ValueError, match="embed gave 1 vectors for 2 prompts"):
        class_vectors(lambda texts: torch.ones(1, 4), ["cat", "dog"])
    with pytest.raises(ValueError, match="prompts of the class 'dog' have no direction"):
        class_vectors(lambda texts: torch.tensor([[1.0], [1.0], [1.0], [-1.0]]), ["cat", "dog"], ["{}", "a {}"])
    with pytest.raises(ValueError, match="labels go from 0 to 3, wanted 0 to 2 for 3 classes"):
        zero_shot(torch.ones(2, 3), torch.eye(3), torch.tensor([0, 3]))
