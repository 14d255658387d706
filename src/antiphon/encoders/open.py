"""Opens an encoder by signal and name, and reads back what an encoder saved.

Names: a wheel's ("all-MiniLM-L6-v2", "whisper-tiny.en", "efficientnet-lite0"; with "+spelling" behind a text model and
"+names" behind EfficientNet for what `spelling.py` and `image.py` add), a hub id, a local folder, or one to
train from scratch: "scratch-tiny", "scratch-small", "scratch-base", and "-conformer" (speech, audio), "-vit" (image),
"-words" or "-ngrams" (text) behind that.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.encoders import Encoder
from antiphon.encoders.audio import WindowedAudio
from antiphon.encoders.blocks import SIZES
from antiphon.encoders.causal import CausalText, CausalTop
from antiphon.encoders.connected import Cells, ConnectedImage
from antiphon.encoders.features import Features
from antiphon.encoders.framevectors import FrameVectors
from antiphon.encoders.grams import GramBag
from antiphon.encoders.heads import unit
from antiphon.encoders.image import EfficientNetLite, ScratchImage, TransformersImage
from antiphon.encoders.parts import Ordered, Parts
from antiphon.encoders.prompted import PromptedImage, PromptedText
from antiphon.encoders.sequence import MelChunks, Recurrent
from antiphon.encoders.speech import MelSpeech, WaveSpeech, WhisperSpeech
from antiphon.encoders.spelling import SpelledText
from antiphon.encoders.text import ByteText, TransformersText
from antiphon.encoders.video import Frames, Patches, VideoTower
from antiphon.encoders.weights import WHEELS, imagenet_names
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError

KINDS: dict[str, type[Encoder]] = {
    kind.__name__: kind
    for kind in (
        TransformersText, ByteText, SpelledText, WhisperSpeech, WaveSpeech, MelSpeech, WindowedAudio,
        EfficientNetLite, TransformersImage, ScratchImage, Features, MelChunks, Recurrent,
        WordCnn, GramBag, Parts, Ordered, Frames, Patches, VideoTower, CausalText, CausalTop,
        PromptedText, PromptedImage, FrameVectors, ConnectedImage, Cells,
    )
}  # fmt: skip


def open_encoder(signal: str, name: str, *, layers: int = 1, trim: bool = False) -> Encoder:
    """An encoder of a signal by name.

    Args:
        signal: "text", "speech", "audio" or "image".
        name: see the top of this file.
        layers: for speech models, how many of the last hidden layers to put out.
        trim: cut silence from clips (Whisper) and white borders from pictures (EfficientNet-Lite0).

    Raises:
        UserError: no such signal or size.
        OSError: nothing of this name here or on the hub (from `transformers`).
    """
    if name.startswith("scratch-"):
        return _from_scratch(signal, name)
    if signal == "text":
        plain, plus, _ = name.partition("+spelling")
        return SpelledText(plain) if plus else TransformersText(name)
    if signal == "speech":
        whisper = name in WHEELS or _model_type(name) == "whisper"
        return WhisperSpeech(name, layers=layers, trim=trim) if whisper else WaveSpeech(name, layers=layers)
    if signal == "audio":
        return WindowedAudio(name)
    if signal == "image":
        plain, plus, _ = name.partition("+names")
        if plain != "efficientnet-lite0":
            return TransformersImage(name)
        return EfficientNetLite(plain, names=class_name_vectors() if plus else None, trim=trim)
    raise UserError(f"no encoder for signal {signal!r}: there are text, speech, audio, image")


@torch.inference_mode()
def class_name_vectors() -> Float[Tensor, "1000 d"]:
    """all-MiniLM-L6-v2's unit vectors of "A <name>.", for each of the 1000 ImageNet classes in their order."""
    encoder = TransformersText("all-MiniLM-L6-v2").eval()
    names = imagenet_names()
    parts = [encoder(encoder.collate([f"A {name}." for name in names[at : at + 50]])) for at in range(0, 1000, 50)]
    return unit(torch.cat([part.pooled for part in parts]))


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write an encoder and its kind into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder.save(folder)
    (folder / "kind.json").write_text(json.dumps({"kind": type(encoder).__name__}), encoding="utf-8")


def load_encoder(folder: Path) -> Encoder:
    """Read what `save_encoder` wrote.

    Raises:
        ValueError: the folder names a kind of encoder that is not known.
    """
    kind = json.loads((folder / "kind.json").read_text(encoding="utf-8"))["kind"]
    if kind not in KINDS:
        raise ValueError(f"{folder}: no encoder of kind {kind!r}: there are {', '.join(KINDS)}")
    return KINDS[kind].load(folder)


def _from_scratch(signal: str, name: str) -> Encoder:
    _, size, *rest = name.split("-")
    kind = "-".join(rest)
    kinds = {
        "text": ["", "words", "ngrams"], "speech": ["", "conformer"], "audio": ["", "conformer"], "image": ["", "vit"],
    }  # fmt: skip
    if signal not in kinds or size not in SIZES or kind not in kinds[signal]:
        known = [f"scratch-{s}{'-' + k if k else ''}" for s in SIZES for k in kinds.get(signal, [])]
        raise UserError(f"no {signal} encoder {name!r} to train from scratch: there are {', '.join(known) or 'none'}")
    if signal == "text":
        if kind == "ngrams":
            return GramBag(size)
        return WordCnn(size) if kind else ByteText(size)
    if signal == "image":
        return ScratchImage(size, kind=kind or "cnn")
    return MelSpeech(size, kind="conformer" if kind else "transformer", signal=signal)


def _model_type(name: str) -> str:
    from transformers import AutoConfig

    return str(AutoConfig.from_pretrained(name).model_type)
