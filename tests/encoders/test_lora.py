"""Low-rank maps: nothing changes at the start, the sum is the closed form, and only the maps learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from antiphon.encoders.lora import LowRank, add_low_rank, merge_low_rank
from antiphon.errors import WrongValue


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.ModuleDict({"last": nn.Linear(8, 3)})["last"])


def test_starts_as_the_layer_and_is_the_closed_form():
    model, inputs = small().double(), torch.randn(4, 6, dtype=torch.float64)
    wanted = model(inputs)
    assert add_low_rank(model, 2, alpha=8.0) == ["0", "2"]
    assert torch.equal(model(inputs), wanted)
    first = model[0]
    first.up.data.normal_()
    by_hand = inputs @ (first.whole.weight + 8.0 / 2 * first.up @ first.down).T + first.whole.bias
    torch.testing.assert_close(first(inputs), by_hand)
    changed = model(inputs)
    merge_low_rank(model)
    assert not any(isinstance(layer, LowRank) for layer in model.modules())
    torch.testing.assert_close(model(inputs), changed)


def test_only_the_maps_learn():
    model = small()
    add_low_rank(model, 2, alpha=8.0, only=["2"])
    assert not isinstance(model[0], LowRank)
    learned = {name for name, one in model.named_parameters() if one.requires_grad}
    assert learned == {"2.down", "2.up"}
    before = model[2].whole.weight.clone()
    optimiser = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.ones(2, 6)).square().sum().backward()
        optimiser.step()
    assert torch.equal(model[2].whole.weight, before)
    assert model[2].up.abs().sum() > 0
    assert torch.autograd.gradcheck(
        LowRank(nn.Linear(3, 4).double(), 2, alpha=1.0), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    )


def test_errors():
    with pytest.raises(WrongValue, match=r"rank=4: a layer of \(3, 8\) takes 1 to 3"):
        LowRank(nn.Linear(8, 3), 4, alpha=1.0)
    with pytest.raises(WrongValue, match="no linear layer named q_proj in Sequential"):
        add_low_rank(small(), 1, alpha=1.0, only=["q_proj"])
