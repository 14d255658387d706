"""Heads: what each pooling and norm gives, what data sets, and what is learned."""

import pytest
import torch
from torch import nn

from antiphon.encoders.heads import Head, HeadConfig, principal_components, unit
from antiphon.encoders.pooling import segments
from antiphon.types import Encoded, length_mask


def _encoded(lengths=(5, 3, 0), width=6):
    lengths = torch.tensor(lengths)
    tokens = torch.randn(len(lengths), 5, width)
    mask = length_mask(lengths, 5)
    return Encoded(tokens, mask, torch.randn(len(lengths), width))


@pytest.mark.parametrize("pooling", ["encoder", "mean", "attention", "segments"])
@pytest.mark.parametrize("hidden", [0, 7])
def test_padding_never_counts(pooling, hidden):
    head = Head(8, 3, HeadConfig(pooling=pooling, hidden=hidden)).eval()
    encoded = _encoded(width=8)
    dirty = Encoded(encoded.tokens.masked_fill(~encoded.mask[:, :, None], 99.0), encoded.mask, encoded.pooled)
    assert torch.allclose(head(encoded), head(dirty), atol=1e-6)
    assert torch.isfinite(head(encoded)).all()


def test_a_correction_starts_at_nothing():
    plain = Head(6, 3, HeadConfig(pooling="mean"))
    corrected = Head(6, 3, HeadConfig(pooling="mean", hidden=9))
    corrected.linear.load_state_dict(plain.linear.state_dict())
    encoded = _encoded()
    assert torch.equal(plain(encoded), corrected(encoded))


def test_layers_are_mixed_by_softmax():
    head = Head(6, 3, HeadConfig(pooling="mean", layers=2))
    head.mix.logits.data = torch.tensor([0.0, 50.0])
    encoded = _encoded()
    second = Encoded(encoded.tokens[..., 3:], encoded.mask, encoded.pooled[:, :3])
    single = Head(3, 3, HeadConfig(pooling="mean"))
    single.load_state_dict({k: v for k, v in head.state_dict().items() if not k.startswith("mix")})
    assert torch.allclose(head(encoded), single(second), atol=1e-6)


def test_the_standard_norm_is_measured_on_rows():
    head = Head(4, 2, HeadConfig(norm="standard"))
    rows = torch.randn(200, 4) * torch.tensor([1.0, 5.0, 0.1, 0.0]) + 3.0
    head.prepare(rows)
    normed = head.norm(rows)
    assert torch.allclose(normed.mean(0), torch.zeros(4), atol=1e-4)
    assert torch.allclose(normed.std(0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-4)


def test_a_pca_head_is_fixed_and_keeps_most_variance():
    rows = torch.randn(300, 6) @ torch.diag(torch.tensor([9.0, 5.0, 3.0, 0.1, 0.1, 0.1])) + 2.0
    head = Head(6, 3, HeadConfig(norm="none", map="pca"))
    assert head.needs_rows
    head.prepare(rows)
    assert not head.linear.weight.requires_grad
    mapped = head.linear(rows)
    assert torch.allclose(mapped.mean(0), torch.zeros(3), atol=1e-3)
    values = torch.linalg.svdvals(rows - rows.mean(0))
    assert torch.allclose(mapped.square().sum(), values[:3].square().sum(), rtol=1e-4)


def test_the_sign_of_components_does_not_flip():
    rows = torch.randn(50, 5)
    rows = rows - rows.mean(0)
    order = torch.randperm(50)
    assert torch.allclose(principal_components(rows, 3), principal_components(rows[order], 3), atol=1e-5)
    with pytest.raises(ValueError, match="too few"):
        principal_components(rows[:2], 3)


def test_segments_of_exactly_their_number_are_left_alone():
    tokens, mask = torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
    assert torch.allclose(segments(tokens, mask, 4), tokens, atol=1e-6)


def test_segments_keep_order_and_means():
    ramp = torch.arange(40.0)[None, :, None]
    found = segments(ramp, torch.ones(1, 40, dtype=torch.bool), 4)[0, :, 0]
    assert (found.diff() > 5).all()
    assert torch.allclose(found + found.flip(0), torch.full((4,), 39.0))
    assert torch.allclose(segments(ramp, torch.ones(1, 40, dtype=torch.bool), 1)[0, 0, 0], ramp.mean())


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_segments_of_short_items_are_interpolated(length):
    tokens = torch.zeros(1, 9, 1)
    tokens[0, :length, 0] = torch.arange(float(length))
    found = segments(tokens, length_mask(torch.tensor([length]), 9), 4)[0, :, 0]
    assert found.min() >= 0
    assert found.max() <= length - 1
    assert (found.diff() >= -1e-6).all()


def test_segments_do_not_depend_on_the_batch():
    tokens = torch.randn(2, 9, 3)
    mask = length_mask(torch.tensor([5, 9]), 9)
    assert torch.allclose(segments(tokens, mask, 4)[0], segments(tokens[:1, :5], mask[:1, :5], 4)[0], atol=1e-6)


def test_unit():
    assert torch.allclose(unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="does not hold 4 layers"):
        Head(6, 3, HeadConfig(pooling="mean", layers=4))
    with pytest.raises(ValueError, match="layers are mixed on tokens"):
        Head(6, 3, HeadConfig(layers=2))


def test_everything_learned_gets_a_gradient():
    head = Head(8, 3, HeadConfig(pooling="attention", layers=2, hidden=5))
    nn.init.normal_(head.correction[-1].weight)
    head(_encoded(width=8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
