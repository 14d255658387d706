"""The moving average, against its closed form."""

import pytest
import torch
from torch import nn

from antiphon.training.averaging import Average


def _model():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    return model


def _move(model, by=1.0):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_closed_form():
    model = _model()
    start = model[0].weight.detach().clone()
    average = Average(model, 0.9)
    for _ in range(5):
        _move(model)
        average.update()
    wanted = sum(0.1 * 0.9 ** (5 - step) * step for step in range(1, 6))
    assert torch.allclose(average.values["0.weight"], start + wanted)
    assert sorted(average.values) == ["0.weight", "1.bias", "1.weight"]  # what is trained, and no buffer


def test_given_for_a_while_and_for_good():
    model = _model()
    average = Average(model, 0.5)
    _move(model)
    average.update()
    own = model[0].weight.detach().clone()
    with average.given():
        assert torch.equal(model[0].weight, average.values["0.weight"])
    assert torch.equal(model[0].weight, own)
    with pytest.raises(RuntimeError, match="in the block"), average.given():
        raise RuntimeError("in the block")
    assert torch.equal(model[0].weight, own)
    average.give()
    assert torch.equal(model[0].weight, own - 0.5)


def test_loaded_and_begun_again():
    model = _model()
    average, other = Average(model, 0.5), Average(model, 0.5)
    _move(model)
    average.update()
    other.load(average.values)
    assert torch.equal(other.values["0.weight"], average.values["0.weight"])
    average.update()
    assert not torch.equal(other.values["0.weight"], average.values["0.weight"])
    average.restart()
    assert torch.equal(average.values["0.weight"], model[0].weight)
