"""Isotropy against the loop over pairs, its closed forms, and of models, layer by layer."""

import math

import pytest
import torch

from antiphon.errors import WrongValue
from antiphon.evaluation.isotropy import (
    anisotropy,
    isotropy,
    isotropy_by_language,
    isotropy_by_layer,
    isotropy_of_texts,
)
from antiphon.generation.models import open_language_model
from tests.generation.tiny import FAMILIES, model, prompts


def states(lengths=(5, 1, 9), width=4):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, width, generator=generator, dtype=torch.float64) + 0.3 for length in lengths]


def slow(texts):
    total = pairs = 0.0
    for text in texts:
        for i in range(len(text)):
            for j in range(len(text)):
                if i != j:
                    total += float(torch.cosine_similarity(text[i], text[j], dim=0))
                    pairs += 1
    return 1 - total / pairs


def test_agrees_with_the_slow_loop():
    assert isotropy(states()) == pytest.approx(slow(states()), abs=1e-12)
    assert isotropy([text * 7 for text in states()]) == pytest.approx(slow(states()), abs=1e-12)


def test_closed_forms():
    assert isotropy([torch.eye(6)]) == pytest.approx(1.0, abs=1e-12)
    assert isotropy([torch.ones(4, 3)]) == pytest.approx(0.0, abs=1e-12)
    assert isotropy([torch.tensor([[1.0, 0.0], [-2.0, 0.0]])]) == pytest.approx(2.0, abs=1e-12)
    turned = torch.tensor([[1.0, 0.0], [math.cos(0.7), math.sin(0.7)]], dtype=torch.float64)
    assert isotropy([turned]) == pytest.approx(1 - math.cos(0.7), abs=1e-12)


def test_long_texts_count_by_their_pairs():
    alike, apart = torch.ones(3, 4), torch.eye(4)
    assert isotropy([alike, apart]) == pytest.approx(1 - 6 / (6 + 12), abs=1e-12)
    assert isotropy([alike, apart, torch.ones(1, 4)]) == pytest.approx(1 - 6 / 18, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_a_model_and_the_last_is_what_the_head_reads(family):
    lm, prompt = model(family), prompts()
    lines = [row[:length].tolist() for row, length in zip(prompt.values, prompt.lengths.tolist(), strict=True)]
    found = isotropy_by_layer(lm, lines, batch_tokens=20)
    read = []
    hook = lm.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0].detach()))
    with torch.no_grad():
        each = [lm(input_ids=torch.tensor([line]), output_hidden_states=True).hidden_states for line in lines]
    hook.remove()
    assert len(found) == lm.config.num_hidden_layers + 1
    for layer, value in enumerate(found):
        assert value == pytest.approx(slow([states[layer][0].double() for states in each]), abs=1e-5)
    assert found[-1] == pytest.approx(slow([text.double() for text in read]), abs=1e-5)
    later = isotropy_by_layer(lm, lines, skip=2, most=8)
    cut = [lm(input_ids=torch.tensor([line[:8]]), output_hidden_states=True).hidden_states[1][0, 2:] for line in lines]
    assert later[1] == pytest.approx(slow([text.detach().double() for text in cut]), abs=1e-5)


def test_of_texts_by_language():
    torch.manual_seed(0)
    lm, tokenizer = open_language_model("scratch-tiny")
    english, german = ["a dog barks", "rain"], ["ein Hund bellt", "Regen fällt"]
    found = isotropy_by_language(lm, tokenizer, {"eng": english, "deu": german})
    assert found == {
        "eng": isotropy_of_texts(lm, tokenizer, english),
        "deu": isotropy_of_texts(lm, tokenizer, german),
    }
    assert found["eng"] != found["deu"]


def test_a_model_whose_states_are_alike_is_told():
    assert anisotropy(0.54) is None
    assert "isotropy 0.10, wanted 0.35 or more" in anisotropy(0.1)


@pytest.mark.parametrize("lines", [[], [[3]], [[3], [4]]])
def test_without_a_pair_there_is_nothing_to_compare(lines):
    with pytest.raises(WrongValue, match="a text of two tokens or more"):
        isotropy_by_layer(model("llama"), lines)
    with pytest.raises(WrongValue, match="a text of two tokens or more"):
        isotropy([torch.ones(1, 4)])
