"""Encoders that hear order: statistics by a slow loop, no item depends on its batch, and all is read back."""

from __future__ import annotations

import pytest
import torch

from antiphon.encoders.features import Features
from antiphon.encoders.logmel import whisper_logmel
from antiphon.encoders.open import load_encoder, save_encoder
from antiphon.encoders.sequence import MelChunks, Recurrent
from antiphon.types import Padded
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_padding, check_round_trip, wave

WAVES = [wave(1.0), wave(2.47, 1), wave(0.3, 2), wave(0.005, 3)]


@pytest.fixture
def recurrent():
    torch.manual_seed(0)
    encoder = Recurrent(MelChunks(0.2, bands=16), 24)
    encoder.prepare(WAVES)
    return encoder.eval()


def test_statistics_by_a_loop():
    encoder, clip = MelChunks(0.5, bands=12), wave(1.23)
    frames = whisper_logmel(Padded(clip[None], torch.tensor([len(clip)])), bands=12).values[0]
    frames = (frames - frames.max()).double()
    steps = torch.cat([torch.zeros(1, 12), (frames[1:] - frames[:-1]).abs()])
    wanted = []
    for at in range(0, len(frames), 50):
        part, moved = frames[at : at + 50], steps[at : at + 50]
        wanted.append(torch.cat([
            part.mean(0), part.std(0, correction=0), part.max(0).values, part.min(0).values,
            moved.mean(0), moved.std(0, correction=0),
        ]))  # fmt: skip
    found = encoder(encoder.collate([clip, wave(3.0, 5)]))
    assert found.mask[0].sum() == len(wanted) == 3
    torch.testing.assert_close(found.tokens[0, :3].double(), torch.stack(wanted), atol=1e-5, rtol=1e-4)
    assert encoder.width == 72


def test_loudness_says_nothing():
    encoder = MelChunks(0.5)
    loud, quiet = (encoder(encoder.collate([wave(1.0) * gain])).tokens for gain in (1.0, 0.05))
    torch.testing.assert_close(loud, quiet, atol=2e-3, rtol=0)


def test_alone_is_in_a_batch(recurrent):
    check_alone_is_batch(MelChunks(0.2), WAVES)
    check_alone_is_batch(recurrent, WAVES)
    recurrent.pooling = "max"
    check_alone_is_batch(recurrent, WAVES)


def test_order_is_heard(recurrent):
    a, b = wave(0.8, 1), wave(0.8, 6)
    ahead, back = recurrent(recurrent.collate([torch.cat([a, b]), torch.cat([b, a])])).pooled
    assert (ahead - back).norm() > 0.02 * ahead.norm()
    chunks = MelChunks(0.2)  # but not by a mean over stretches
    ahead, back = chunks(chunks.collate([torch.cat([a, b]), torch.cat([b, a])])).pooled
    assert (ahead - back).norm() < 0.02 * ahead.norm()


def test_missing_items_alone(recurrent):
    for encoder in (MelChunks(), recurrent):
        encoded = encoder(encoder.collate([None, None]))
        check_padding(encoded)
        assert not encoded.pooled.any()


def test_gradients(recurrent):
    check_gradients(recurrent, [WAVES[0], None, WAVES[1]])


def test_the_inner_encoder_is_frozen_and_stays_in_eval_mode():
    torch.manual_seed(0)
    encoder = Recurrent(Recurrent(Features(5, signal="text"), 8), 4).train()
    assert not encoder.inner.training
    assert not any(weight.requires_grad for weight in encoder.inner.parameters())
    assert encoder.signal == "text"


def test_saved_and_read_back(recurrent, tmp_path):
    check_round_trip(MelChunks(0.3, bands=20, signal="speech"), tmp_path / "chunks", WAVES)
    check_round_trip(recurrent, tmp_path / "own", WAVES)
    save_encoder(recurrent, tmp_path / "kind")
    again = load_encoder(tmp_path / "kind").eval()
    assert torch.equal(again(again.collate(WAVES)).pooled, recurrent(recurrent.collate(WAVES)).pooled)


def test_over_another_inner_encoder(recurrent):
    chunks = recurrent.inner
    features = recurrent.over(Features(chunks.width, signal="audio")).eval()
    encoded = chunks(chunks.collate(WAVES))
    items = [tokens[mask] for tokens, mask in zip(encoded.tokens, encoded.mask, strict=True)]
    whole = recurrent(recurrent.collate(WAVES)).pooled
    torch.testing.assert_close(features(features.collate(items)).pooled, whole)
    with pytest.raises(ValueError, match="inner encoder puts out width 7, wanted 96"):
        recurrent.over(Features(7, signal="audio"))


def test_bad_settings():
    with pytest.raises(ValueError, match=r"seconds=0\.001: a stretch holds a frame"):
        MelChunks(0.001)
    with pytest.raises(ValueError, match="width=7: half of it"):
        Recurrent(Features(3, signal="text"), 7)
