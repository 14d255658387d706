from __future__ import annotations

import math

import pytest
import torch

from antiphon.encoders.blocks import SIZES, Stack, positions
from tests.encoders.tiny import scatter

KINDS = ["transformer", "conformer"]


def batch(width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randn(4, 30, width, generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([30, 7, 0, 1])
    return tokens, torch.arange(30)[None, :] < lengths[:, None]


def stack(kind: str, **options) -> Stack:
    return scatter(Stack("tiny", kind=kind, **options)).eval()


@pytest.mark.parametrize(("count", "width"), [(50, 8), (1, 64), (3000, 6), (5, 7)])
def test_positions_equal_the_formula(count, width):
    table = positions(count, width)
    assert table.shape == (count, width)
    for t in (0, count // 2, count - 1):
        for i in range(width):
            angle = t / 10_000 ** (2 * (i // 2) / width)
            expected = math.sin(angle) if i % 2 == 0 else math.cos(angle)
            assert math.isclose(float(table[t, i]), expected, abs_tol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_alone_equals_the_item_in_a_batch(kind):
    tokens, mask = batch()
    together = stack(kind)(tokens, mask)
    for item in (0, 1, 3):
        size = int(mask[item].sum())
        alone = stack(kind)(tokens[item : item + 1, :size], mask[item : item + 1, :size])
        torch.testing.assert_close(together[item, :size], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_leaks_and_comes_out_as_zero(kind):
    tokens, mask = batch()
    other = torch.where(mask[:, :, None], tokens, 1e3)
    out = stack(kind)(tokens, mask)
    assert torch.equal(stack(kind)(other, mask), out)
    assert not out[~mask].any()
    assert out[mask].any(1).all()
    assert out.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_stay_off_padding(kind):
    tokens, mask = batch()
    tokens.requires_grad_()
    model = stack(kind)
    model(tokens, mask).square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert not tokens.grad[~mask].any()
    assert tokens.grad[mask].any(1).all()
    for name, value in model.named_parameters():
        assert value.grad.isfinite().all(), name
        assert value.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_order_matters_and_every_position_sees_every_other(kind):
    tokens, mask = batch()
    model = stack(kind)
    swapped = model(tokens[:, [1, 0, *range(2, 30)]], mask)
    assert (swapped[0, 0] - model(tokens, mask)[0, 1]).abs().max() > 1e-3
    far = tokens.clone()
    far[0, 29] *= -1.0
    assert (model(far, mask)[0, 0] - model(tokens, mask)[0, 0]).abs().max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_weights_and_dropout(kind):
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Stack("tiny", kind=kind, dropout=0.2).train()(*batch())

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
    model = stack(kind, dropout=0.2)
    assert torch.equal(model(*batch()), model(*batch()))
    assert not torch.equal(model.train()(*batch()), model(*batch()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_have_their_width_and_depth(kind, size):
    with torch.device("meta"):
        model = Stack(size, kind=kind)
    assert (model.width, len(model.blocks)) == SIZES[size][:2]


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="no size 'huge': there are tiny, small, base"):
        Stack("huge")
