from __future__ import annotations

import pytest
import torch

from antiphon.encoders.pooling import AttentionPooling, LayerMix, last_token, masked_mean
from tests.encoders.tiny import scatter

MASK = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])


def tokens(width: int = 4) -> torch.Tensor:
    return torch.randn(3, 3, width, generator=torch.Generator().manual_seed(1))


def test_masked_mean_equals_a_loop_and_is_zero_for_a_missing_item():
    pooled = masked_mean(tokens(), MASK)
    torch.testing.assert_close(pooled[0], tokens()[0, :2].mean(0))
    torch.testing.assert_close(pooled[2], tokens()[2].mean(0))
    assert not pooled[1].any()


@pytest.mark.parametrize("pool", [masked_mean, scatter(AttentionPooling(4, heads=2))])
def test_padding_never_counts_whatever_stands_there(pool):
    dirty = torch.where(MASK[:, :, None], tokens(), torch.nan).requires_grad_()
    clean = torch.where(MASK[:, :, None], tokens(), 0.0)
    assert torch.equal(pool(dirty, MASK), pool(clean, MASK))
    pool(dirty, MASK).sum().backward()
    assert dirty.grad.isfinite().all()
    assert not dirty.grad[~MASK].any()
    torch.testing.assert_close(pool(dirty[:1, :2], MASK[:1, :2]), pool(dirty, MASK)[:1])


def test_attention_starts_as_the_mean():
    torch.testing.assert_close(AttentionPooling(4)(tokens(), MASK), masked_mean(tokens(), MASK))


def test_attention_equals_a_loop():
    pool = scatter(AttentionPooling(4, heads=2), size=1.0)
    pooled = pool(tokens(), MASK)
    for item in (0, 2):
        real = tokens()[item][MASK[item]]
        weights = pool.scores(real).softmax(0)
        expected = torch.cat([(weights[:, :1] * real[:, :2]).sum(0), (weights[:, 1:] * real[:, 2:]).sum(0)])
        torch.testing.assert_close(pooled[item], expected)
    assert not pooled[1].any()


def test_attention_refuses_a_width_that_its_heads_do_not_divide():
    with pytest.raises(ValueError, match="width 6 is not divisible by 4 heads"):
        AttentionPooling(6)


def test_layer_mix_starts_as_the_mean_of_layers_and_can_choose_one():
    mix = LayerMix(3)
    layers = tokens(12)
    torch.testing.assert_close(mix(layers), (layers[..., :4] + layers[..., 4:8] + layers[..., 8:]) / 3)
    with torch.no_grad():
        mix.logits.copy_(torch.tensor([-100.0, 0.0, -100.0]))
    torch.testing.assert_close(mix(layers), layers[..., 4:8])


def test_the_last_token_is_the_last_real_one():
    tokens = torch.arange(24.0).view(3, 4, 2)
    mask = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    assert last_token(tokens, mask).tolist() == [[2.0, 3.0], [14.0, 15.0], [0.0, 0.0]]
