"""Branches: reading several tokens of a text at once is reading each alone, and the prefix is stored once."""

import re

import pytest
import torch

from antiphon.errors import WrongValue
from antiphon.generation.branches import Branches, why_not
from antiphon.types import Padded
from tests.generation.tiny import FAMILIES, model, prompts, special

each_family = pytest.mark.parametrize("family", FAMILIES)


@torch.no_grad()
def _logits(lm, ids):
    return lm(input_ids=torch.tensor([ids])).logits[0, -1]


@torch.no_grad()
@each_family
def test_branches_do_not_see_each_other(family):
    lm, prompt = model(family), prompts()
    branches = Branches(lm, prompt, 3, 9)
    first = torch.tensor([[3, 4], [5, 6], [7, 8]])
    logits = branches.read(first)
    second = torch.tensor([[10, 11, 12]] * 3)
    on = torch.tensor([[1, 0, 1]] * 3)
    deeper = branches.read(second, on=on)
    for at, length in enumerate(prompt.lengths.tolist()):
        ids = prompt.values[at, :length].tolist()
        assert torch.allclose(branches.logits[at], _logits(lm, ids), atol=1e-5)
        for branch in range(2):
            assert torch.allclose(logits[at, branch], _logits(lm, [*ids, int(first[at, branch])]), atol=1e-5)
        for branch in range(3):
            read = [*ids, int(first[at, on[at, branch]]), int(second[at, branch])]
            assert torch.allclose(deeper[at, branch], _logits(lm, read), atol=1e-5)


@torch.no_grad()
@each_family
def test_what_is_kept_is_all_that_is_remembered(family):
    lm, prompt = model(family), prompts()
    branches = Branches(lm, prompt, 4)
    looked = []
    found = branches.read(
        torch.tensor([[3, 4]] * 3), choose=lambda hidden: looked.append(hidden) or torch.tensor([[1], [0], [1]])
    )
    branches.keep(torch.tensor([1, 0, 1]))
    after = branches.read(torch.tensor([[9]] * 3))
    assert looked[0].shape == (3, 2, 32)
    assert branches.filled == 12 + 2
    for at, length in enumerate(prompt.lengths.tolist()):
        ids = [*prompt.values[at, :length].tolist(), (4, 3, 4)[at]]
        assert torch.allclose(found[at, 0], _logits(lm, ids), atol=1e-5)
        assert torch.allclose(after[at, 0], _logits(lm, [*ids, 9]), atol=1e-5)


@torch.no_grad()
def test_the_prefix_is_stored_once():
    branches = Branches(model("llama"), prompts(), 2, 6)
    before = [layer.keys.data_ptr() for layer in branches.cache.layers]
    branches.read(torch.tensor([[3, 4, 5]] * 3))
    branches.read(torch.tensor([[3, 4, 5]] * 3), on=torch.tensor([[2, 2, 0]] * 3))
    assert [layer.keys.data_ptr() for layer in branches.cache.layers] == before
    assert branches.cache.layers[0].keys.shape == (3, 2, 12 + 6, 8)


@torch.no_grad()
def test_the_head_reads_the_chosen_alone_and_the_model_is_left_as_it_was():
    lm, sizes = model("llama"), []
    lm.lm_head.register_forward_hook(lambda _, words, __: sizes.append(tuple(words[0].shape)))
    branches = Branches(lm, prompts(), 2)
    branches.read(torch.tensor([[3, 4]] * 3), choose=lambda hidden: torch.tensor([[1]] * 3))
    assert sizes == [(3, 1, 32), (3, 1, 32)]
    assert lm.config._attn_implementation == "sdpa"
    assert not lm.lm_head._forward_pre_hooks


def test_prompts_and_models_that_cannot_be():
    prompt = prompts()
    with pytest.raises(WrongValue, match="a prompt of 12 tokens and 117 behind it pass the 128"):
        Branches(model("gpt2"), prompt, 117)
    with pytest.raises(WrongValue, match="holds one token or more"):
        Branches(model("gpt2"), Padded(prompt.values, torch.tensor([3, 0, 2])), 5)
    lm = model("llama")
    lm.config._attn_implementation = "flash_attention_2"
    with pytest.raises(WrongValue, match=r"call model.set_attn_implementation\(\"sdpa\"\)"):
        Branches(lm, prompt, 2)


def test_why_texts_cannot_branch():
    told = {
        "bloom": r"BloomForCausalLM counts positions by its mask \(ALiBi\) or not at all",
        "mamba": r"MambaForCausalLM counts positions by its mask \(ALiBi\) or not at all",
        "lfm2": "Lfm2ForCausalLM has layers of conv",
        "xlmr": "XLMRobertaForCausalLM reads otherwise by a cache than without",
    }
    for name, why in told.items():
        assert re.fullmatch(why, str(why_not(special(name), 8)))
    for name in ("mistral", "gptneo"):
        assert why_not(special(name), 8) is None
        assert str(why_not(special(name), 9)).startswith("9 tokens pass the window of 8")
    for family in FAMILIES:
        assert why_not(model(family), 128) is None
