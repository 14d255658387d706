from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from antiphon.encoders.speech import WaveSpeech
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_padding, check_round_trip, save, wave

# WavLM hands torch a mask of truth values beside its float one, for which torch warns and does the right thing
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask:UserWarning")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CONV = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
MODELS = {
    "wav2vec2-group": lambda: Wav2Vec2Model(Wav2Vec2Config(**SIZES, **CONV)),
    "wav2vec2-layer": lambda: Wav2Vec2Model(Wav2Vec2Config(**SIZES, **CONV, **LAYER)),
    "hubert-group": lambda: HubertModel(HubertConfig(**SIZES, **CONV)),
    "hubert-layer": lambda: HubertModel(HubertConfig(**SIZES, **CONV, **LAYER)),
    "wavlm-group": lambda: WavLMModel(WavLMConfig(**SIZES, **CONV)),
    "wavlm-layer": lambda: WavLMModel(WavLMConfig(**SIZES, **CONV, **LAYER)),
    "wav2vec2-bert": lambda: Wav2Vec2BertModel(Wav2Vec2BertConfig(**SIZES, conv_depthwise_kernel_size=5)),
    "wav2vec2-bert-relative": lambda: Wav2Vec2BertModel(
        Wav2Vec2BertConfig(**SIZES, conv_depthwise_kernel_size=5, position_embeddings_type="relative")
    ),
}
CLIPS = [wave(0.5), wave(0.31, 1), wave(1.013, 2), wave(0.026, 3), wave(0.003, 4), wave(1e-5, 5)]


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(request.param, tmp_path_factory.mktemp(request.param))


def checkpoint(name: str, folder: Path, *, do_normalize: bool = True) -> Path:
    banks = name.startswith("wav2vec2-bert")
    extractor = SeamlessM4TFeatureExtractor() if banks else Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    return save(MODELS[name](), folder, extractor)


@torch.inference_mode()
def test_one_clip_equals_the_extractor_and_the_model_of_transformers(folder):
    encoder = WaveSpeech(folder).eval()
    clip = wave(0.8, 3)
    kind = SeamlessM4TFeatureExtractor if encoder.on_banks else Wav2Vec2FeatureExtractor
    inputs = kind.from_pretrained(folder)([clip.numpy()], sampling_rate=16_000, return_tensors="pt")
    expected = encoder.model(**inputs).last_hidden_state[0]
    ours = encoder(encoder.collate([clip]))
    count = int(ours.mask.sum())
    assert count == (int(inputs["attention_mask"].sum()) if encoder.on_banks else len(expected))
    torch.testing.assert_close(ours.tokens[0, :count], expected[:count], atol=2e-3, rtol=1e-3)


def test_a_clip_alone_equals_the_clip_in_a_batch(folder):
    check_alone_is_batch(WaveSpeech(folder), CLIPS[:4])


def test_the_shortest_clips_give_a_vector_alone_and_in_a_batch(folder):
    encoder = WaveSpeech(folder).eval()
    with torch.inference_mode():
        batch = encoder(encoder.collate(CLIPS))
        for at, clip in enumerate(CLIPS):
            alone = encoder(encoder.collate([clip]))
            assert alone.mask.any()
            torch.testing.assert_close(batch.pooled[at], alone.pooled[0], atol=1e-5, rtol=1e-4)


def test_silence_alone_equals_silence_in_a_batch(folder):
    encoder = WaveSpeech(folder).eval()
    silence = [torch.zeros(8_000), torch.full((5_000,), 0.1)]
    with torch.inference_mode():
        batch = encoder(encoder.collate([*silence, wave(1.0)]))
        for at, clip in enumerate(silence):
            alone = encoder(encoder.collate([clip])).pooled[0]
            torch.testing.assert_close(batch.pooled[at], alone, atol=1e-5, rtol=1e-4)


def test_missing_clips_alone_are_finite_and_masked(folder):
    encoder = WaveSpeech(folder).eval()
    encoded = encoder(encoder.collate([None, None]))
    check_padding(encoded)
    assert not encoded.mask.any()
    assert not encoded.pooled.any()


def test_saved_and_loaded(folder, tmp_path):
    check_round_trip(WaveSpeech(folder), tmp_path / "one", [*CLIPS, None])
    check_round_trip(WaveSpeech(folder, layers=2, standardise=False), tmp_path / "two", [*CLIPS, None])


@torch.inference_mode()
def test_several_layers_stand_side_by_side_the_last_one_last(folder):
    one, three = WaveSpeech(folder).eval(), WaveSpeech(folder, layers=3).eval()
    batch = one.collate([wave(0.4), None])
    assert three.width == 96
    assert three(batch).tokens.shape[2] == 96
    torch.testing.assert_close(three(batch).tokens[0, :, 64:], one(batch).tokens[0])
    with pytest.raises(ValueError, match=r"layers=4: .* has 2 layers and its input, so 1 to 3"):
        WaveSpeech(folder, layers=4)


def test_gradients_are_finite_with_missing_clips_and_reach_every_weight(folder):
    check_gradients(WaveSpeech(folder), [wave(0.5), None, wave(0.2, 1)])


def test_training_mode_draws_from_the_generator_of_torch_only(folder):
    encoder = WaveSpeech(folder).train()
    batch = encoder.collate([wave(0.1), wave(0.5, 1), None])
    state = np.random.get_state()[1].copy()  # noqa: NPY002  (it is the one that must not be drawn from)
    outs = []
    for _ in range(2):
        torch.manual_seed(5)
        outs.append(encoder(batch).tokens)
    assert torch.equal(*outs)
    assert outs[0].isfinite().all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_after_inference_mode_it_can_be_trained(folder):
    encoder = WaveSpeech(folder)
    with torch.inference_mode():
        encoder(encoder.collate([wave(0.5)]))
    encoder(encoder.collate([wave(0.5)])).pooled.sum().backward()


@pytest.mark.parametrize("normalise", [True, False])
def test_standardising_is_read_from_the_model_and_can_be_said(tmp_path, normalise):
    checkpoint("wavlm-layer", tmp_path, do_normalize=normalise)
    assert WaveSpeech(tmp_path).standardise is normalise
    assert WaveSpeech(tmp_path, standardise=not normalise).standardise is not normalise
    raw, scaled = (WaveSpeech(tmp_path, standardise=value).eval() for value in (False, True))
    batch = raw.collate([wave(0.5)])
    assert not torch.allclose(raw(batch).pooled, scaled(batch).pooled, atol=1e-4)


def test_without_a_word_on_standardising_it_is_refused(tmp_path):
    save(MODELS["hubert-layer"](), tmp_path)
    with pytest.raises(ValueError, match=r"has no preprocessor_config.json, .* give standardise="):
        WaveSpeech(tmp_path)
    assert WaveSpeech(tmp_path, standardise=True).standardise


def test_other_models_and_adapters_are_refused(tmp_path):
    bert = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    save(BertModel(bert), tmp_path / "bert")
    with pytest.raises(ValueError, match="is a bert model: wanted wav2vec2, hubert"):
        WaveSpeech(tmp_path / "bert")
    checkpoint("wav2vec2-layer", tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / "config.json").read_text())
    (tmp_path / "adapter" / "config.json").write_text(json.dumps(settings | {"add_adapter": True}))
    with pytest.raises(ValueError, match="has an adapter"):
        WaveSpeech(tmp_path / "adapter")


def test_a_half_precision_checkpoint_is_read_as_float32(tmp_path):
    save(MODELS["wav2vec2-layer"]().half(), tmp_path, Wav2Vec2FeatureExtractor())
    encoder = WaveSpeech(tmp_path)
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}
