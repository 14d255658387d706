"""Layers of causal language models as text encoders: the states are the model's own, in one piece or in two."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from antiphon.decode import BadInput
from antiphon.encoders.causal import CausalText, CausalTop
from antiphon.encoders.features import FeatureCache, Features, encode_once
from antiphon.errors import WrongValue
from antiphon.generation.models import open_language_model
from antiphon.types import InputCut
from tests.encoders.tiny import check_alone_is_batch, check_round_trip, scatter

TEXTS = ["a dog runs", "it", "birds sing before the rain, and after it", "ein Hund läuft"]


@pytest.fixture
def model():
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4}
    return scatter(LlamaForCausalLM(LlamaConfig(vocab_size=259, num_key_value_heads=2, **sizes))).eval()


@pytest.fixture
def tokenizer():
    return open_language_model("scratch-tiny")[1]


@torch.inference_mode()
def states(model, encoder, text: str) -> list[torch.Tensor]:
    ids = torch.tensor([encoder.ids(text)])
    return [layer[0] for layer in model(ids, output_hidden_states=True).hidden_states]


@torch.inference_mode()
@pytest.mark.parametrize("layers", [1, 3, 5, None])
def test_states_are_those_of_the_model(model, tokenizer, layers):
    encoder = CausalText(model, tokenizer, layers=layers).eval()
    found = encoder(encoder.collate(TEXTS))
    for at, text in enumerate(TEXTS):
        wanted = states(model, encoder, text)[layers or 5]
        assert encoder.ids(text)[0] == tokenizer.bos_token_id
        torch.testing.assert_close(found.tokens[at][found.mask[at]], wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.pooled[at], wanted[1:].mean(0), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("first", "last"), [(1, 3), (2, 4), (3, None), (4, 5)])
def test_layers_on_top_of_layers_are_the_model(model, tokenizer, first, last):
    inner = CausalText(model, tokenizer, layers=first)
    whole = CausalText(model, tokenizer, layers=last, pooling="last").eval()
    top = CausalTop.of(model, inner, first, last, pooling="last").eval()
    batch = inner.collate(TEXTS)
    torch.testing.assert_close(top(batch).tokens, whole(batch).tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(top(batch).pooled, whole(batch).pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rank", "dora"), [(None, False), (2, False), (2, True)])
def test_alone_as_in_a_batch_and_read_back(model, tokenizer, rank, dora, tmp_path):
    inner = CausalText(model, tokenizer, layers=2, max_tokens=60)
    check_alone_is_batch(inner, TEXTS)
    check_round_trip(inner, tmp_path / "inner", TEXTS)
    single = CausalText(model, tokenizer, layers=2, max_tokens=60, single=True)
    check_alone_is_batch(single, TEXTS)
    again = check_round_trip(single, tmp_path / "single", TEXTS)
    batch = inner.collate(TEXTS)
    with torch.inference_mode():
        assert again(batch).tokens.shape == (4, 1, 48)
        torch.testing.assert_close(again(batch).tokens[:, 0], inner(batch).pooled)
    top = CausalTop.of(model, inner, 2, rank=rank, dora=dora)
    for parameter in top.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05
    check_alone_is_batch(top, TEXTS)
    check_round_trip(top, tmp_path / "top", TEXTS)


def test_over_cached_states(model, tokenizer, tmp_path):
    inner = CausalText(model, tokenizer, layers=3)
    cached = encode_once(inner, TEXTS, FeatureCache(tmp_path))
    top = CausalTop.of(model, Features(inner.width, signal="text"), 3, 4).eval()
    wanted = top.over(inner).eval()
    torch.testing.assert_close(
        top(top.collate(cached)).pooled, wanted(wanted.collate(TEXTS)).pooled, atol=5e-3, rtol=5e-3
    )


def test_what_learns(model, tokenizer):
    inner = CausalText(model, tokenizer, layers=3)
    whole = CausalTop.of(model, inner, 3, 4)
    assert not any(name.startswith("inner") for name, one in whole.named_parameters() if one.requires_grad)
    low = CausalTop.of(model, inner, 3, 4, rank=2)
    learned = [name for name, one in low.named_parameters() if one.requires_grad]
    assert len(learned) == 2 * 7  # q, k, v, o, gate, up, down
    assert all(name.endswith((".down", ".up")) for name in learned)
    batch = inner.collate(TEXTS)
    torch.testing.assert_close(low.eval()(batch).pooled, whole.eval()(batch).pooled)
    torch.manual_seed(0)
    assert not torch.allclose(low.train()(batch).pooled, low(batch).pooled), "dropout makes two readings differ"
    assert not low.inner.training


def test_making_one_does_not_touch_the_generator(model, tokenizer):
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    CausalTop.of(model, CausalText(model, tokenizer, layers=1), 1)
    assert torch.equal(torch.rand(1), wanted)


def test_errors(model, tokenizer, tmp_path):
    with pytest.raises(WrongValue, match="layers 0 to 6: the model has 5"):
        CausalText(model, tokenizer, layers=6)
    with pytest.raises(WrongValue, match="layers 5 to 5: the model has 5"):
        CausalTop.of(model, CausalText(model, tokenizer, layers=5), 5)
    other = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(WrongValue, match="GPT2LMHeadModel: its decoder has no layers, norm, embed_tokens"):
        CausalText(other, tokenizer)
    encoder = CausalText(model, tokenizer, layers=1, max_tokens=4)
    with pytest.raises(BadInput, match="the tokenizer makes no token"):
        encoder.ids("")
    with pytest.warns(InputCut, match="cut from 11 to 4 tokens"):
        assert encoder.collate(["a dog runs"]).lengths.tolist() == [4]
    with pytest.raises(WrongValue, match="puts out width 7, wanted 48"):
        CausalTop.of(model, Features(48, signal="text"), 1).over(Features(7, signal="text"))
