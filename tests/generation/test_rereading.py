"""Models whose texts cannot branch on one cache: what they write is what reading all again for every token gives."""

import pytest
import torch

from antiphon.errors import WrongValue
from antiphon.generation.contrast import Reading
from antiphon.generation.decoding import Decoding, continued
from antiphon.generation.rereading import Rereading, SlowDecoding, branching
from antiphon.types import Padded
from tests.generation.test_decoding import _by_reading_all_again
from tests.generation.tiny import SPECIAL, model, prompts, special

each_kind = pytest.mark.parametrize("kind", SPECIAL)


@torch.no_grad()
def _greedy(lm, ids, steps):
    for _ in range(steps):
        ids = [*ids, int(lm(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())]
    return ids[-steps:]


@each_kind
def test_greedy_search_by_reading_all_again(kind):
    lm, prompt = special(kind), prompts()
    with pytest.warns(SlowDecoding, match="texts are read again for every token, which is slow"):
        found = continued(lm, prompt, Decoding(max_tokens=8))
    for at, length in enumerate(prompt.lengths.tolist()):
        assert found.values[at].tolist() == _greedy(lm, prompt.values[at, :length].tolist(), 8)


@pytest.mark.parametrize("kind", sorted(set(SPECIAL) - {"xlmr"}))  # its head has layers of its own before the words
def test_contrastive_search_by_its_definition(kind):
    lm, prompt = special(kind).double(), prompts()
    with pytest.warns(SlowDecoding):
        found = continued(lm, prompt, Decoding(method="contrastive", max_tokens=6))
    for at, length in enumerate(prompt.lengths.tolist()):
        assert found.values[at].tolist() == _by_reading_all_again(lm, prompt.values[at, :length].tolist(), 4, 0.6, 6)


@pytest.mark.parametrize("kind", ["bloom", "gptneo"])
def test_beam_search_is_generates(kind):
    lm, prompt = special(kind), prompts()[1:2]
    prompt = Padded(prompt.values[:, :5], prompt.lengths)
    with pytest.warns(SlowDecoding):
        found = continued(lm, prompt, Decoding(method="beam", max_tokens=8))
    wanted = lm.generate(
        input_ids=prompt.values, attention_mask=torch.ones_like(prompt.values), max_new_tokens=8, min_new_tokens=8,
        do_sample=False, num_beams=4, eos_token_id=None,
    )  # fmt: skip
    assert found.values[0].tolist() == wanted[0, 5:].tolist()


@pytest.mark.parametrize("method", ["nucleus", "typical", "diverse"])
def test_draws_and_vectors_for_tokens(method):
    lm, prompt, cfg = special("mistral"), prompts(), Decoding(method=method, max_tokens=5)
    soft = Padded(lm.get_input_embeddings()(prompt.values).detach(), prompt.lengths)
    with pytest.warns(SlowDecoding):
        found = [continued(lm, one, cfg, generator=torch.Generator().manual_seed(0)) for one in (prompt, soft)]
    assert torch.equal(found[0].values, found[1].values)


@torch.no_grad()
def test_it_reads_as_branches_do():
    """Of a model that can branch, both ways give the same."""
    lm, prompt = model("llama"), prompts()
    ways = [branching(lm, prompt, 3, 9), Rereading(lm, prompt)]
    assert not isinstance(ways[0], Rereading)
    first, second, on = torch.tensor([[3, 4]] * 3), torch.tensor([[5, 6, 7]] * 3), torch.tensor([[1, 0, 1]] * 3)
    for one, other in zip(*[[way.read(first), way.read(second, on=on)] for way in ways], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    chosen, looked = torch.tensor([[1], [0], [1]]), []
    for way in (branching(lm, prompt, 3, 9), Rereading(lm, prompt)):
        kept = way.read(first, choose=lambda hidden: looked.append([hidden]) or chosen)
        way.keep(chosen[:, 0])
        looked[-1] += [kept, way.read(torch.tensor([[9]] * 3)), way.seen]
    for one, other in zip(*looked, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_an_instruction_is_not_read_once_by_such_a_model():
    with pytest.raises(WrongValue, match="an instruction cannot be read once for all texts"):
        Reading(special("bloom"), [3, 4], [[5]], 2)
