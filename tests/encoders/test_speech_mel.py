from __future__ import annotations

import pytest
import torch

from antiphon.encoders.speech import MelSpeech
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_padding, check_round_trip, scatter, wave

KINDS = ["transformer", "conformer"]
CLIPS = [wave(1.0), wave(0.333, 1), wave(2.37, 2), wave(0.0125, 3), wave(1e-5, 4), torch.zeros(4_000)]


def encoder(kind: str, **options) -> MelSpeech:
    return scatter(MelSpeech(kind=kind, **options)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_alone_equals_the_clip_in_a_batch(kind):
    check_alone_is_batch(encoder(kind), CLIPS)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_clips_alone_are_finite_and_masked(kind):
    encoded = encoder(kind)(encoder(kind).collate([None, None]))
    check_padding(encoded)
    assert not encoded.mask.any()
    assert not encoded.pooled.any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_with_missing_clips_and_reach_every_weight(kind):
    check_gradients(encoder(kind), [wave(0.5), None, wave(0.2, 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind, tmp_path):
    check_round_trip(encoder(kind, signal="audio", dropout=0.3), tmp_path / "saved", [*CLIPS, None])


def test_positions_are_twenty_five_a_second():
    mel = encoder("transformer")
    assert mel(mel.collate([wave(2.0), wave(1.01)])).mask.sum(1).tolist() == [50, 26]
    assert mel.signal == "speech"
    assert MelSpeech(signal="audio").signal == "audio"


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_everything_in_training_mode(kind):
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        mel = MelSpeech(kind=kind, dropout=0.2).train()
        return mel(mel.collate([wave(0.3)])).pooled

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_kinds_are_told_apart():
    torch.manual_seed(0)
    one, other = MelSpeech(kind="transformer"), MelSpeech(kind="conformer")
    assert sum(p.numel() for p in other.parameters()) > sum(p.numel() for p in one.parameters())
    with pytest.raises(ValueError, match="no size 'huge'"):
        MelSpeech("huge")
