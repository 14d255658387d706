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


def decomposed(dropout: float = 0.0) -> LowRank:
    """A layer whose map and sizes have moved, in float64."""
    torch.manual_seed(1)
    layer = LowRank(nn.Linear(5, 4).double(), 2, alpha=6.0, dropout=dropout, dora=True)
    layer.up.data.normal_()
    layer.magnitude.data.mul_(torch.tensor([0.5, 1.0, 1.5, 2.0]))
    return layer


def test_dora_starts_as_the_layer_and_is_the_closed_form():
    model, inputs = small().double(), torch.randn(4, 6, dtype=torch.float64)
    wanted = model(inputs)
    add_low_rank(model, 2, alpha=8.0, dora=True)
    torch.testing.assert_close(model(inputs), wanted, atol=1e-12, rtol=0)
    layer, inputs = decomposed(), torch.randn(3, 5, dtype=torch.float64)
    found = layer.requires_grad_(False)(inputs)
    for row, given in enumerate(inputs):
        for out in range(4):
            direction = [
                float(layer.whole.weight[out, at] + 3.0 * sum(layer.up[out, k] * layer.down[k, at] for k in range(2)))
                for at in range(5)
            ]
            length = sum(one * one for one in direction) ** 0.5
            by_hand = float(layer.magnitude[out]) * sum(v * float(x) for v, x in zip(direction, given, strict=True))
            assert float(found[row, out]) == pytest.approx(by_hand / length + float(layer.whole.bias[out]), abs=1e-12)


def test_dora_merged_is_dora():
    for dtype in (torch.float64, torch.float32):
        model, inputs = nn.Sequential(decomposed()).to(dtype), torch.randn(3, 5, dtype=dtype)
        wanted = model(inputs)
        merge_low_rank(model)
        assert type(model[0]) is nn.Linear
        torch.testing.assert_close(model(inputs), wanted)
        assert model[0].weight.norm(dim=1).tolist() == pytest.approx(decomposed().magnitude.tolist(), rel=1e-6)


def test_to_the_gradient_the_norm_is_a_constant():
    """Section 4.3: the gradient of V is that of y times m / |V|, without what would turn it away from V."""
    layer, inputs = decomposed(), torch.randn(3, 5, dtype=torch.float64)
    layer(inputs).square().sum().backward()
    length = (layer.whole.weight + 3.0 * layer.up @ layer.down).norm(dim=1).detach()
    up, down, size = (one.detach().clone().requires_grad_() for one in (layer.up, layer.down, layer.magnitude))
    weight = (size / length)[:, None] * (layer.whole.weight + 3.0 * up @ down)
    (inputs @ weight.T + layer.whole.bias).square().sum().backward()
    for found, wanted in ((layer.up, up), (layer.down, down), (layer.magnitude, size)):
        torch.testing.assert_close(found.grad, wanted.grad)
    assert layer.whole.weight.grad is None


def test_dora_drops_inputs_of_what_differs_alone():
    """All dropped: the frozen layer is left, whatever the sizes."""
    layer, inputs = decomposed(dropout=1.0).train(), torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(inputs), layer.whole(inputs))
    assert not torch.allclose(layer.eval()(inputs), layer.whole(inputs))


def test_errors():
    with pytest.raises(WrongValue, match=r"rank=4: a layer of \(3, 8\) takes 1 to 3"):
        LowRank(nn.Linear(8, 3), 4, alpha=1.0)
    with pytest.raises(WrongValue, match="no linear layer named q_proj in Sequential"):
        add_low_rank(small(), 1, alpha=1.0, only=["q_proj"])
