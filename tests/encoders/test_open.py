"""Encoders by name."""

import json

import pytest

from antiphon.encoders.open import load_encoder, open_encoder
from antiphon.errors import UserError


@pytest.mark.parametrize(
    ("signal", "name", "kind"),
    [
        ("text", "scratch-tiny", "ByteText"),
        ("text", "scratch-tiny-words", "WordCnn"),
        ("text", "scratch-tiny-ngrams", "GramBag"),
        ("speech", "scratch-tiny", "MelSpeech"),
        ("speech", "scratch-tiny-conformer", "MelSpeech"),
        ("audio", "scratch-small", "MelSpeech"),
        ("image", "scratch-tiny", "ScratchImage"),
        ("image", "scratch-tiny-vit", "ScratchImage"),
    ],
)
def test_from_scratch(signal, name, kind):
    encoder = open_encoder(signal, name)
    assert type(encoder).__name__ == kind
    assert encoder.signal == signal


@pytest.mark.parametrize(
    ("signal", "name"), [("text", "scratch-huge"), ("text", "scratch-tiny-vit"), ("smell", "scratch-tiny")]
)
def test_unknown_names_list_the_known_ones(signal, name):
    with pytest.raises(UserError, match="to train from scratch: there are"):
        open_encoder(signal, name)


def test_unknown_signals():
    with pytest.raises(UserError, match="there are text, speech, audio, image"):
        open_encoder("smell", "a-model")


def test_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "kind.json").write_text(json.dumps({"kind": "os.system"}))
    with pytest.raises(ValueError, match=r"no encoder of kind 'os\.system'"):
        load_encoder(tmp_path)
