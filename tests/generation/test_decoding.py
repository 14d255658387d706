"""Decoders: contrastive search against a slow reference, the others against transformers, and what ends a text."""

import math

import pytest
import torch
from transformers import TopPLogitsWarper, TypicalLogitsWarper

from antiphon.config import ConfigError
from antiphon.errors import WrongValue
from antiphon.generation.decoding import Decoding, continued, continued_texts, filtered, left_padded
from antiphon.generation.models import open_language_model
from antiphon.types import Padded
from tests.generation.tiny import FAMILIES, WORDS, left, model, prompts

each_family = pytest.mark.parametrize("family", FAMILIES)


@torch.no_grad()
def _by_reading_all_again(lm, ids, k, penalty, steps):
    """The definition, in float64 and without a cache: everything is read again for every candidate."""
    new = []
    for _ in range(steps):
        logits = lm(input_ids=torch.tensor([ids])).logits[0, -1]
        shares = logits.softmax(0)
        best, best_score = None, -math.inf
        for token in shares.argsort(descending=True)[:k].tolist():
            hidden = lm(input_ids=torch.tensor([[*ids, token]]), output_hidden_states=True).hidden_states[-1][0]
            worst = max(float(torch.cosine_similarity(hidden[-1], each, dim=0)) for each in hidden[:-1])
            score = (1 - penalty) * float(shares[token]) - penalty * worst
            if score > best_score:
                best, best_score = token, score
        ids = [*ids, best]
        new.append(best)
    return new


@each_family
@pytest.mark.parametrize(("k", "penalty"), [(4, 0.6), (3, 0.25), (6, 1.0)])
def test_contrastive_search_by_its_definition(family, k, penalty):
    lm, prompt = model(family).double(), prompts()
    found = continued(lm, prompt, Decoding(method="contrastive", candidates=k, penalty=penalty, max_tokens=10))
    for at, length in enumerate(prompt.lengths.tolist()):
        wanted = _by_reading_all_again(lm, prompt.values[at, :length].tolist(), k, penalty, 10)
        assert found.values[at].tolist() == wanted


@each_family
@pytest.mark.parametrize("setting", [{"candidates": 1}, {"penalty": 0.0}])
def test_without_candidates_or_penalty_it_is_greedy(family, setting):
    lm = model(family)
    found = continued(lm, prompts(), Decoding(method="contrastive", max_tokens=15, **setting))
    assert torch.equal(found.values, continued(lm, prompts(), Decoding(max_tokens=15)).values)


@each_family
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_greedy_is_generates(family, attention):
    lm = model(family)
    lm.set_attn_implementation(attention)
    wanted = lm.generate(**left(prompts()), max_new_tokens=20, do_sample=False)[:, 12:]
    assert torch.equal(continued(lm, prompts(), Decoding(max_tokens=20)).values, wanted)


@each_family
@pytest.mark.parametrize(
    ("beams", "power", "ends"), [(4, 1.0, []), (3, 0.5, [37, 87, 3]), (5, 2.0, [37]), (2, -1.0, [21, 60])]
)
def test_beam_search_is_generates(family, beams, power, ends):
    lm = model(family)
    cfg = Decoding(method="beam", beams=beams, length_penalty=power, max_tokens=20)
    found = continued(lm, prompts(), cfg, ends=ends)
    wanted = lm.generate(
        **left(prompts()), max_new_tokens=20, do_sample=False, num_beams=beams, length_penalty=power,
        eos_token_id=ends or None, pad_token_id=0,
    )[:, 12:]  # fmt: skip
    for line, length, other in zip(found.values, found.lengths.tolist(), wanted, strict=True):
        assert line[:length].tolist() == other[:length].tolist()
        assert length == 20 or int(line[length - 1]) in ends


@pytest.mark.parametrize("mass", [0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_what_is_drawn_from_is_transformers(mass, temperature):
    logits = 4 * torch.randn(20, WORDS, generator=torch.Generator().manual_seed(3))
    nucleus = TopPLogitsWarper(mass)(None, logits / temperature)
    found = filtered(logits, Decoding(method="nucleus", mass=mass, temperature=temperature))
    assert torch.equal(found.softmax(-1), nucleus.softmax(-1))
    if mass < 1:  # transformers refuses 1 here
        typical = TypicalLogitsWarper(mass)(None, logits / temperature)
        found = filtered(logits, Decoding(method="typical", mass=mass, temperature=temperature))
        assert torch.equal(found.softmax(-1), typical.softmax(-1))


def test_diverse_search_wants_a_generator():
    with pytest.raises(WrongValue, match=r"method=diverse draws: give a torch\.Generator"):
        continued(model("llama"), prompts(), Decoding(method="diverse"))


@pytest.mark.parametrize("method", ["nucleus", "typical"])
def test_draws_follow_the_distribution_and_the_generator(method):
    lm, prompt = model("llama"), prompts()[:1]
    cfg = Decoding(method=method, mass=0.6, max_tokens=1)
    many = Padded(prompt.values.expand(4000, -1)[:, :9], prompt.lengths.expand(4000))
    drawn = continued(lm, many, cfg, generator=torch.Generator().manual_seed(0)).values[:, 0]
    wanted = filtered(lm(input_ids=prompt.values[:, :9]).logits[:, -1], cfg).softmax(-1)[0]
    assert torch.allclose(drawn.bincount(minlength=WORDS) / 4000, wanted, atol=0.03)
    again = continued(lm, many, cfg, generator=torch.Generator().manual_seed(0)).values[:, 0]
    assert torch.equal(drawn, again)
    with pytest.raises(WrongValue, match=rf"method={method} draws: give a torch.Generator"):
        continued(lm, prompt, cfg)


@each_family
def test_diverse_search_is_nucleus_and_then_contrastive(family):
    lm, prompt = model(family), prompts()
    cfg = Decoding(method="diverse", drawn=3, mass=0.8, temperature=1.5, max_tokens=12)
    found = continued(lm, prompt, cfg, generator=torch.Generator().manual_seed(2)).values
    draws = cfg.but(method="nucleus", max_tokens=3)
    first = continued(lm, prompt, draws, generator=torch.Generator().manual_seed(2)).values
    assert torch.equal(found[:, :3], first)
    for at, length in enumerate(prompt.lengths.tolist()):
        begun = torch.cat([prompt.values[at, :length], first[at]])
        rest = continued(
            lm, Padded(begun[None], torch.tensor([length + 3])), cfg.but(method="contrastive", max_tokens=9)
        )
        assert found[at, 3:].tolist() == rest.values[0].tolist()
    other = continued(lm, prompt, cfg, generator=torch.Generator().manual_seed(3)).values
    assert not torch.equal(found, other)


@pytest.mark.parametrize("method", ["greedy", "beam", "contrastive"])
@each_family
def test_a_text_does_not_depend_on_its_batch(family, method):
    lm, prompt, cfg = model(family), prompts(), Decoding(method=method, max_tokens=12)
    together = continued(lm, prompt, cfg).values
    for at, length in enumerate(prompt.lengths.tolist()):
        alone = Padded(prompt.values[at : at + 1, :length], prompt.lengths[at : at + 1])
        assert torch.equal(continued(lm, alone, cfg).values[0], together[at])


@pytest.mark.parametrize("method", ["greedy", "beam", "contrastive"])
@each_family
def test_vectors_stand_for_tokens(family, method):
    lm, prompt, cfg = model(family), prompts(), Decoding(method=method, max_tokens=12)
    soft = Padded(lm.get_input_embeddings()(prompt.values).detach(), prompt.lengths)
    assert torch.equal(continued(lm, soft, cfg).values, continued(lm, prompt, cfg).values)


def test_prompts_as_a_tokenizer_pads_them():
    prompt, padded = prompts(), left(prompts())
    found = left_padded(padded["input_ids"], padded["attention_mask"])
    assert torch.equal(found.lengths, prompt.lengths)
    assert torch.equal(found.values * found.mask, prompt.values)
    right = left_padded(prompt.values, prompt.mask.long())
    assert torch.equal(right.values * right.mask, prompt.values)
    with pytest.raises(WrongValue, match="one stretch"):
        left_padded(prompt.values[:1, :3], torch.tensor([[1, 0, 1]]))


@pytest.mark.parametrize("method", ["greedy", "contrastive"])
def test_what_ends_a_text(method):
    lm, prompt, cfg = model("gpt2"), prompts(), Decoding(method=method, max_tokens=12)
    whole = continued(lm, prompt, cfg).values
    end, pair = int(whole[1, 4]), whole[0, 2:4].tolist()
    first = whole[1].tolist().index(end) + 1
    ended = continued(lm, prompt, cfg, ends=[end])
    assert (ended.lengths[1], ended.values[1, :first].tolist()) == (first, whole[1, :first].tolist())
    assert not ended.values[1, first:].any()
    stopped = continued(lm, prompt, cfg, stops=[pair])
    assert stopped.values[0, : stopped.lengths[0]].tolist()[-2:] == pair
    assert stopped.lengths[0] <= 4
    assert continued(lm, prompt, cfg, stop=lambda ids: len(ids) == 3).lengths.tolist() == [3, 3, 3]
    with pytest.raises(WrongValue, match="holds one token id or more"):
        continued(lm, prompt, cfg, stops=[[]])


def test_texts():
    torch.manual_seed(0)
    lm, tokenizer = open_language_model("scratch-tiny")
    cfg = Decoding(method="contrastive", max_tokens=20)
    whole = continued_texts(lm, tokenizer, ["a dog", "rain falls"], cfg)
    assert continued_texts(lm, tokenizer, ["a dog", "rain falls"], cfg) == whole
    sign = whole[0][3]
    cut = continued_texts(lm, tokenizer, ["a dog"], cfg, stop=[sign])
    assert cut == [whole[0][: whole[0].index(sign)]]
    with pytest.raises(WrongValue, match="makes no token"):
        continued_texts(lm, tokenizer, [""], cfg)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"method": "best"}, "method"),
        ({"penalty": 1.5}, "penalty: input should be less than or equal to 1"),
        ({"mass": 0}, "mass: input should be greater than 0"),
        ({"beams": 1}, "beams: input should be greater than or equal to 2"),
        ({"top_k": 5}, "top_k: unknown key; known here: beams, candidates"),
    ],
)
def test_settings_that_cannot_be(setting, said):
    with pytest.raises(ConfigError, match=said):
        Decoding().but(**setting)
