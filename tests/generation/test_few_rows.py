"""Products of a few rows: the same numbers as `linear` and a slow loop make, and layers left as they were."""

import pytest
import torch
from torch import nn

from antiphon.generation.few_rows import MOST, WIDTH, few_rows, plain_layers, product
from tests.generation.tiny import model


def _layer(width=24, out=7, bias=True):
    torch.manual_seed(0)
    return nn.Linear(width, out, bias=bias)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (2, 24), (1, 3, 24), (2, 2, 24), (5, 1, 24), (2, 3, 24), (0, 24), (24,)])
def test_the_numbers_are_those_of_a_slow_loop(shape, bias):
    layer, inputs = _layer(bias=bias), torch.randn(shape)
    made = product(layer, inputs)
    rows = [
        [
            sum(float(a) * float(b) for a, b in zip(row, line, strict=True)) + (float(layer.bias[at]) if bias else 0.0)
            for at, line in enumerate(layer.weight)
        ]
        for row in inputs.reshape(-1, 24)
    ]
    wanted = torch.tensor(rows, dtype=torch.float64).reshape(*shape[:-1], 7)
    assert made.shape == wanted.shape
    assert made.is_contiguous()
    assert torch.allclose(made.double(), wanted, atol=1e-5)


@torch.no_grad()
def test_inputs_may_be_of_any_strides_and_beginnings_are_kept():
    layer, inputs = _layer(), torch.randn(24, 3, 1).permute(1, 2, 0)
    assert torch.allclose(product(layer, inputs), layer(inputs.contiguous()), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2])
def test_many_rows_and_wide_ones_are_left_to_linear(threads, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "antiphon.generation.few_rows.linear", lambda *words: asked.append(1) or nn.functional.linear(*words)
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    narrow, wide = _layer(), _layer(WIDTH)
    product(narrow, torch.randn(MOST, 24))
    assert not asked
    product(narrow, torch.randn(MOST + 1, 24))
    assert len(asked) == 1
    product(wide, torch.randn(2, WIDTH))
    assert len(asked) == (2 if threads == 1 else 1)


def test_gradients_are_those_of_linear():
    layer, inputs = _layer().double(), torch.randn(2, 2, 24, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: product(layer, x), inputs)


@torch.no_grad()
def test_a_model_is_left_as_it_was_even_when_it_fails():
    lm = model("llama")
    layers = plain_layers(lm)
    assert lm.lm_head in layers
    assert len(layers) == 1 + 7 * len(lm.model.layers)
    wanted = lm(input_ids=torch.tensor([[5]])).logits
    with few_rows(layers):
        assert torch.allclose(lm(input_ids=torch.tensor([[5]])).logits, wanted, atol=1e-5)
    with pytest.raises(IndexError), few_rows(layers):
        lm(input_ids=torch.tensor([[10**6]]))
    assert all("forward" not in vars(layer) for layer in lm.modules())
    assert torch.equal(lm(input_ids=torch.tensor([[5]])).logits, wanted)


def test_layers_of_another_kind_or_under_others_hands_are_not_touched():
    class Own(nn.Linear):
        pass

    handed, half = nn.Linear(4, 4), nn.Linear(4, 4).to(torch.bfloat16)
    handed.forward = lambda inputs: inputs
    plain = nn.Linear(4, 4)
    assert plain_layers(nn.Sequential(Own(4, 4), handed, half, plain)) == [plain]
