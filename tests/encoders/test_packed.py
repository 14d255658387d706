"""BERT without padding computes what the model computes, follows its weights, and stands back where it must."""

import copy
import pickle

import pytest
import torch

from antiphon.encoders import packed
from antiphon.encoders.packed import PackedText, packable
from antiphon.encoders.text import TransformersText
from tests.encoders.test_text import TEXTS, bert, clip, roberta, tokenizer
from tests.encoders.tiny import save

MODELS = {"bert": bert, "roberta": roberta}


@pytest.fixture(params=MODELS)
def encoder(request, tmp_path):
    return TransformersText(save(MODELS[request.param](), tmp_path, tokenizer())).eval()


def _both(encoder, items):
    batch = encoder.collate(items)
    plain = encoder(batch)  # with gradients: the model's own forward
    with torch.no_grad():
        return plain, encoder(batch)


@pytest.mark.parametrize("items", [TEXTS, [None, *TEXTS, None, TEXTS[0]], TEXTS[:1] * 3, [None, None]])
def test_equals_the_model(encoder, items):
    plain, without = _both(encoder, items)
    assert plain.tokens.requires_grad
    assert torch.equal(plain.mask, without.mask)
    assert not without.tokens[~without.mask].any()
    torch.testing.assert_close(without.tokens[without.mask], plain.tokens[plain.mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(without.pooled, plain.pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("onednn", [True, False])
def test_half_precision_is_near_with_and_without_onednn(encoder, monkeypatch, onednn):
    if not onednn:
        monkeypatch.setattr(packed, "_onednn", lambda dtype: False)
    exact = _both(encoder, TEXTS)[1].pooled
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = encoder(encoder.collate(TEXTS)).pooled
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert torch.cosine_similarity(half, exact).min() > 0.999


def test_changed_weights_are_followed(encoder):
    before = _both(encoder, TEXTS)[1].pooled
    with torch.no_grad():
        encoder.model.encoder.layer[0].output.dense.weight.mul_(1.5)
    plain, after = _both(encoder, TEXTS)
    assert not torch.allclose(after.pooled, before, atol=1e-4)
    torch.testing.assert_close(after.pooled, plain.pooled, atol=1e-5, rtol=1e-5)


def test_an_encoder_that_was_used_is_copied_and_pickled(encoder):
    wanted = _both(encoder, TEXTS)[1].pooled
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):  # our own object, not a user's file
        assert torch.equal(_both(other, TEXTS)[1].pooled, wanted)


def test_training_and_other_models_are_left_to_the_model(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(PackedText, "__call__", lambda *_: pytest.fail("packed"))
    batch = encoder.collate(TEXTS)
    encoder(batch)
    with torch.no_grad():
        encoder.train()(batch)
        with pytest.raises(pytest.fail.Exception, match="packed"):
            encoder.eval()(batch)
    assert not packable(clip().text_model, torch.device("cpu"))
    assert not packable(encoder.model, torch.device("cuda"))
    assert not packable(copy.deepcopy(encoder.model).half(), torch.device("cpu"))
    other = copy.deepcopy(encoder.model)
    other.config.hidden_act = "gelu_new"
    assert not packable(other, torch.device("cpu"))
