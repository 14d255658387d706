from __future__ import annotations

import pytest
import torch

from antiphon.objectives.rows import check_same_shape, check_weights, weighted_mean


def test_weighted_mean():
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert float(weighted_mean(losses, None)) == 3
    assert float(weighted_mean(losses, torch.tensor([1.0, 0.0, 3.0]))) == pytest.approx(19 / 4)


def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"targets are \(2, 2\), scores \(2, 3\): one entry for each score"):
        check_same_shape("targets", torch.zeros(2, 2), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"weights are \(3,\), wanted one for each of 2 rows"):
        check_weights(torch.ones(3), 2)
