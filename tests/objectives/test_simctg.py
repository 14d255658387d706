"""SimCTG's loss against the slow loop, its closed forms, masks, chunks and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from antiphon.errors import WrongValue
from antiphon.objectives.simctg import token_contrast, token_contrast_sums

few = settings(max_examples=25, derandomize=True, deadline=None)


def states(texts=3, tokens=6, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(texts, tokens, width, generator=generator, dtype=torch.float64)


def masks(texts=3, tokens=6, seed=0):
    return torch.rand(texts, tokens, generator=torch.Generator().manual_seed(seed)) > 0.3


def slow(hidden, mask, margin):
    total, pairs = 0.0, 0
    for text, real in zip(hidden, mask, strict=True):
        for i in range(len(text)):
            for j in range(len(text)):
                if i != j and real[i] and real[j]:
                    own = float(torch.cosine_similarity(text[i], text[i], dim=0))
                    other = float(torch.cosine_similarity(text[i], text[j], dim=0))
                    total += max(0.0, margin - own + other)
                    pairs += 1
    return total / pairs if pairs else 0.0


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_slow_loop(margin, seed):
    hidden, mask = states(seed=seed), masks(seed=seed)
    assert float(token_contrast(hidden, mask, margin=margin)) == pytest.approx(slow(hidden, mask, margin), abs=1e-12)
    whole = torch.ones_like(mask)
    assert float(token_contrast(hidden, margin=margin)) == pytest.approx(slow(hidden, whole, margin), abs=1e-12)


def test_long_texts_weigh_more():
    """Over pairs, not over texts: 2 pairs that cost the margin and 6 that cost nothing."""
    hidden = torch.zeros(2, 3, 4, dtype=torch.float64)
    hidden[0, :2, 0] = 1.0
    hidden[1] = torch.eye(3, 4, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert float(token_contrast(hidden, mask)) == pytest.approx(0.5 * 2 / 8, abs=1e-12)


def test_closed_forms():
    same = torch.ones(2, 5, 3, dtype=torch.float64)
    assert float(token_contrast(same, margin=0.5)) == pytest.approx(0.5, abs=1e-12)
    right_angles = torch.eye(5, dtype=torch.float64)[None]
    assert float(token_contrast(right_angles, margin=0.5)) == 0.0
    assert float(token_contrast(right_angles, margin=1.5)) == pytest.approx(0.5, abs=1e-12)
    assert float(token_contrast(states(), margin=0.0)) < 1e-15
    opposite = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    assert float(token_contrast(opposite, margin=2.0)) == 0.0


def test_gradients():
    hidden, mask = states(2, 4, 3).requires_grad_(), masks(2, 4)
    assert gradcheck(lambda h: token_contrast(h, mask, margin=0.7), (hidden,))
    assert gradcheck(lambda h: token_contrast(h, mask, margin=0.7, rows=1), (hidden,))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_few_texts_at_a_time_are_the_same(rows):
    mask, found = masks(), []
    for each in (None, rows):
        hidden = states().requires_grad_()
        loss = token_contrast(hidden, mask, rows=each)
        loss.backward()
        found.append((loss.detach(), hidden.grad))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-14)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-14)


def test_parts_add_up():
    hidden, mask = states(), masks()
    parts = [token_contrast_sums(hidden[at : at + 1], mask[at : at + 1]) for at in range(3)]
    whole = sum(part[0].sum() for part in parts) / sum(part[1].sum() for part in parts)
    assert torch.allclose(whole, token_contrast(hidden, mask), atol=1e-14)


@given(st.integers(0, 1000), st.floats(0.1, 100))
@few
def test_lengths_and_order_of_tokens_do_not_matter(seed, scale):
    hidden = states(seed=seed)
    loss = token_contrast(hidden)
    assert torch.allclose(token_contrast(hidden * scale), loss, atol=1e-10)
    assert torch.allclose(token_contrast(hidden[:, torch.randperm(6)]), loss, atol=1e-10)


def test_what_is_masked_is_not_looked_at():
    hidden, mask = states(), masks()
    wanted = token_contrast(hidden, mask)
    spoiled = hidden.masked_fill(~mask[:, :, None], float("nan")).requires_grad_()
    loss = token_contrast(spoiled, mask)
    loss.backward()
    assert torch.equal(loss.detach(), wanted)
    assert bool(spoiled.grad.isfinite().all())
    assert not spoiled.grad[~mask].any()


def test_without_a_pair_it_is_zero():
    hidden = states().requires_grad_()
    mask = torch.zeros(3, 6, dtype=torch.bool)
    mask[:, 2] = True
    loss = token_contrast(hidden, mask)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not hidden.grad.any()


def test_half_precision_is_compared_in_full():
    hidden = states().to(torch.bfloat16)
    assert token_contrast(hidden).dtype == torch.float32
    assert float(token_contrast(hidden)) == pytest.approx(slow(hidden.double(), torch.ones(3, 6), 0.5), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": 2.5}, "wanted 0 to 2"),
        ({"rows": 0}, "rows=0"),
    ],
)
def test_what_cannot_be(options, said):
    with pytest.raises(WrongValue, match=said):
        token_contrast(states(), **options)
