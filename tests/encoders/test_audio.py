from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    BertConfig,
    BertModel,
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
)

from antiphon.encoders.audio import WindowedAudio
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_padding, check_round_trip, save, wave

# CLAP's and AST's own filter banks have bands narrower than a bin, for which `transformers` warns
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values:UserWarning")

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def clap(folder: Path, truncation: str) -> Path:
    audio = ClapAudioConfig(
        spec_size=256,
        patch_embeds_hidden_size=16,
        hidden_size=32,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        projection_dim=8,
        enable_fusion=truncation == "fusion",
    )
    text = ClapTextConfig(vocab_size=9, projection_dim=8, **SIZES)
    model = ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=8))
    # windows of two seconds at 16 kHz
    return save(model, folder, ClapFeatureExtractor(sampling_rate=16_000, max_length_s=2, truncation=truncation))


def ast(folder: Path) -> Path:
    model = ASTModel(ASTConfig(max_length=200, num_mel_bins=32, patch_size=16, **SIZES))
    return save(model, folder, ASTFeatureExtractor(max_length=200, num_mel_bins=32))


@pytest.fixture(scope="module", params=["clap-rand_trunc", "clap-fusion", "ast"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return ast(folder) if request.param == "ast" else clap(folder, request.param.removeprefix("clap-"))


@pytest.fixture
def encoder(folder: Path) -> WindowedAudio:
    return WindowedAudio(folder).eval()


@torch.inference_mode()
def test_one_window_equals_transformers(folder, encoder):
    clip = wave(1.3)
    inputs = encoder.extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt")
    if encoder.is_clap:
        model = ClapModel.from_pretrained(folder).eval().audio_model
        inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)  # the extractor says so of a clip drawn at random
    else:
        model = ASTModel.from_pretrained(folder).eval()
    encoded = encoder(encoder.collate([clip, None]))
    assert encoded.tokens.shape == (2, 1, encoder.width)
    torch.testing.assert_close(encoded.pooled[0], model(**inputs).pooler_output[0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_same_recording_always_gives_the_same_vector(encoder):
    clip = wave(5.1)
    first = encoder(encoder.collate([clip])).pooled
    np.random.seed(3)  # noqa: NPY002  (CLAP's feature extractor crops with it)
    assert torch.equal(encoder(encoder.collate([clip])).pooled, first)
    assert torch.equal(encoder(encoder.collate([clip, clip])).pooled[1], first[0])


@torch.inference_mode()
def test_a_long_recording_is_cut_into_full_windows_the_last_reaching_back(encoder):
    size = encoder.window
    assert size == 32_000
    clip = wave(2 * size / 16_000 + 0.7)
    encoded = encoder(encoder.collate([clip, clip[:size], clip[: size + 1]]))
    assert encoded.mask.sum(1).tolist() == [3, 1, 2]
    windows = [clip[:size], clip[size : 2 * size], clip[-size:]]
    for at, window in enumerate(windows):
        alone = encoder(encoder.collate([window])).tokens[0, 0]
        torch.testing.assert_close(encoded.tokens[0, at], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded.pooled[0], encoded.tokens[0].mean(0), atol=1e-6, rtol=1e-5)


def test_a_recording_alone_equals_the_recording_in_a_batch(encoder):
    check_alone_is_batch(encoder, [wave(1.0), wave(4.7, 1), wave(2.0, 2), wave(0.3, 3)])


@torch.inference_mode()
def test_the_shortest_recordings_and_silence_give_a_vector(encoder):
    clips = [wave(1e-5), wave(0.01, 1), torch.zeros(20_000)]
    encoded = encoder(encoder.collate(clips))
    check_padding(encoded)
    assert encoded.mask.sum(1).tolist() == [1, 1, 1]


def test_missing_recordings_alone_are_finite_and_masked(encoder):
    encoded = encoder(encoder.collate([None, None]))
    check_padding(encoded)
    assert not encoded.mask.any()
    assert not encoded.pooled.any()


def test_gradients_are_finite_with_missing_recordings_and_reach_every_weight(encoder):
    check_gradients(encoder, [wave(0.5), None, wave(2.5, 1)])


def test_in_training_mode_too_no_recording_depends_on_its_batch(encoder):
    encoder.train()
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    clip = wave(0.5)
    together = encoder(encoder.collate([clip, wave(1.9, 4), None])).pooled[0]
    torch.testing.assert_close(encoder(encoder.collate([clip])).pooled[0], together, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert encoder.model.training


def test_saved_and_loaded(encoder, tmp_path):
    check_round_trip(encoder, tmp_path / "saved", [wave(2.5), None, wave(0.4, 1)])


def test_a_half_precision_checkpoint_is_read_as_float32(tmp_path):
    model = ASTModel(ASTConfig(max_length=200, num_mel_bins=32, **SIZES)).half()
    encoder = WindowedAudio(save(model, tmp_path, ASTFeatureExtractor(max_length=200, num_mel_bins=32)))
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}


def test_another_kind_of_model_is_refused(tmp_path):
    save(BertModel(BertConfig(vocab_size=9, **SIZES)), tmp_path, ASTFeatureExtractor())
    with pytest.raises(ValueError, match="is a bert model: wanted CLAP or AST"):
        WindowedAudio(tmp_path)
