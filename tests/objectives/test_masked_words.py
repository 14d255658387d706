"""Masked words: the loss by a slow loop and by `transformers`, and what is hidden by counts."""

import math

import pytest
import torch

from antiphon.objectives.masked_words import NOT_ASKED, MaskedWords, masked
from antiphon.types import Padded


def _chances(count, seed=0):
    return [torch.Generator().manual_seed(seed + at) for at in range(count)]


@torch.no_grad()
@pytest.mark.parametrize("vocabulary", [None, torch.tensor([2, 5, 6])])
@pytest.mark.parametrize("transform", [False, True])
def test_the_loss_is_its_equation(vocabulary, transform):
    torch.manual_seed(0)
    words = MaskedWords(4, 9, vocabulary, transform=transform).double()
    torch.nn.init.normal_(words.bias)
    tokens, vectors = torch.randn(3, 5, 4).double(), torch.randn(9, 4).double()
    asked = torch.tensor([[-1, 2, -1, 5, 7], [-1] * 5, [6, -1, -1, -1, -1]])
    lost, number = words(tokens, asked, vectors)
    among = list(range(9)) if vocabulary is None else vocabulary.tolist()
    for row in range(3):
        nats, count = 0.0, 0
        for place, word in enumerate(asked[row].tolist()):
            if word not in among:
                continue
            state = words.transform(tokens[row, place])
            scores = [float(state @ vectors[other]) + float(words.bias[at]) for at, other in enumerate(among)]
            nats += math.log(sum(map(math.exp, scores))) - scores[among.index(word)]
            count += 1
        assert float(lost[row]) == pytest.approx(nats, abs=1e-10)
        assert int(number[row]) == count


def test_gradients_reach_the_encoder_its_vectors_and_the_guess():
    words = MaskedWords(4, 9, transform=True).double()
    tokens = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    asked = torch.tensor([[3, -1, 8], [-1, 0, -1]])
    assert torch.autograd.gradcheck(lambda t, v: words(t, asked, v)[0], (tokens, vectors))


def test_nothing_asked_costs_nothing():
    words = MaskedWords(4, 9, transform=True)
    lost, number = words(torch.randn(2, 3, 4), torch.full((2, 3), NOT_ASKED), torch.randn(9, 4))
    assert lost.tolist() == [0.0, 0.0]
    assert number.tolist() == [0.0, 0.0]


def test_a_share_is_chosen_and_of_these_eight_tenths_are_hidden():
    ids = Padded(torch.randint(10, 1000, (64, 200)), torch.full((64,), 200))
    seen, asked = masked(ids, 0.15, _chances(64), mask=3, words=1000)
    chosen = asked.values != NOT_ASKED
    assert torch.equal(asked.values[chosen], ids.values[chosen])
    assert torch.equal(seen.values[~chosen], ids.values[~chosen])
    assert float(chosen.float().mean()) == pytest.approx(0.15, abs=0.01)
    hidden, stayed = seen.values[chosen] == 3, seen.values[chosen] == ids.values[chosen]
    assert float(hidden.float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float(stayed.float().mean()) == pytest.approx(0.1, abs=0.03)
    other = seen.values[chosen][~hidden & ~stayed]
    assert int(other.min()) < 100  # of the whole vocabulary
    assert int(other.max()) > 900
    seen, asked = masked(ids, 0.0, _chances(64), mask=3, words=1000)
    assert torch.equal(seen.values, ids.values)
    assert bool((asked.values == NOT_ASKED).all())


def test_padding_and_what_begins_a_text_are_left_alone_and_others_come_from_the_row():
    ids = Padded(torch.tensor([[1, 7, 8, 9, 2, 0, 0], [1, 5, 2, 0, 0, 0, 0]]), torch.tensor([5, 3]))
    for seed in range(40):
        seen, asked = masked(ids, 1.0, _chances(2, 2 * seed), mask=4, spared=(1, 2))
        assert asked.values.tolist() == [[-1, 7, 8, 9, -1, -1, -1], [-1, 5, -1, -1, -1, -1, -1]]
        assert set(seen.values[0, 1:4].tolist()) <= {1, 2, 4, 7, 8, 9}
        assert seen.values[1, [0, 2, 3, 4, 5, 6]].tolist() == [1, 2, 0, 0, 0, 0]


def test_a_rows_draws_are_its_own():
    ids = Padded(torch.randint(10, 99, (3, 30)), torch.tensor([30, 10, 20]))
    whole = masked(ids, 0.5, _chances(3), mask=1, words=99)
    alone = masked(Padded(ids.values[1:2, :10], ids.lengths[1:2]), 0.5, _chances(3)[1:2], mask=1, words=99)
    for both, own in zip(whole, alone, strict=True):
        assert torch.equal(both.values[1, :10], own.values[0])
