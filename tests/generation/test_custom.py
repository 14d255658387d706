"""Contrastive search as a callable of `generate`: the same ids as `continued`, and what it refuses."""

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from antiphon.errors import WrongValue
from antiphon.generation.custom import contrastive_search
from antiphon.generation.decoding import Decoding, continued
from tests.generation.tiny import FAMILIES, left, model, prompts

CFG = Decoding(method="contrastive", candidates=4, penalty=0.6, max_tokens=14)
SETTING = {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 4, "max_new_tokens": 14}


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_continued(family):
    lm, prompt, padded = model(family), prompts(), left(prompts())
    found = lm.generate(**padded, **SETTING)
    assert torch.equal(found[:, : padded["input_ids"].shape[1]], padded["input_ids"])
    assert torch.equal(found[:, padded["input_ids"].shape[1] :], continued(lm, prompt, CFG).values)


def test_without_a_mask_and_as_a_dict():
    lm, prompt = model("llama"), prompts()[1:2].trimmed()
    wanted = continued(lm, prompt, CFG).values
    found = lm.generate(prompt.values, **SETTING, return_dict_in_generate=True)
    assert torch.equal(found.sequences[:, 5:], wanted)


def test_vectors_stand_for_tokens():
    lm, prompt = model("gpt2"), prompts()[2:]
    found = lm.generate(inputs_embeds=lm.get_input_embeddings()(prompt.values), **SETTING)
    assert torch.equal(found, continued(lm, prompt, CFG).values)


def test_an_end_token_ends_a_text_and_what_follows_is_padding():
    lm, padded = model("gpt2"), left(prompts())
    whole = lm.generate(**padded, **SETTING)[:, 12:]
    end = int(whole[1, 4])
    found = lm.generate(**padded, **SETTING, eos_token_id=[end, 96], pad_token_id=0)[:, 12:]
    first = whole[1].tolist().index(end) + 1
    assert found[1, :first].tolist() == whole[1, :first].tolist()
    assert not found[1, first:].any()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"penalty_alpha": None}, "penalty_alpha=None and top_k=4: give both"),
        ({"do_sample": True}, "give do_sample=False"),
        ({"repetition_penalty": 1.2}, "takes no RepetitionPenaltyLogitsProcessor"),
        ({"logits_processor": [RepetitionPenaltyLogitsProcessor(1.2)]}, "takes no RepetitionPenaltyLogitsProcessor"),
        ({"max_time": 5.0}, "takes no MaxTimeCriteria"),
        ({"output_scores": True, "return_dict_in_generate": True}, "takes no output_scores"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_it_has_not_is_refused(setting, said):
    with pytest.raises(WrongValue, match=said):
        model("llama").generate(**left(prompts()), **(SETTING | setting))
