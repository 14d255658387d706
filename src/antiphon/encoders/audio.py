"""Sound encoders: CLAP and AST from `transformers` (from scratch: `speech.MelSpeech(signal="audio")`).

A recording is cut into windows of the model's own length; the last one reaches back, so that it is a full window too,
and only a recording shorter than a window is padded, as the model's feature extractor pads. Each window is one token.
Nothing is cropped at random, so the same recording always gives the same vector.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, ClapAudioModel, ClapAudioModelWithProjection

from antiphon.decode import decode_audio
from antiphon.encoders import Encoder
from antiphon.encoders.pooling import masked_mean
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded, length_mask

SHORTEST = 400
"""Samples to which a shorter recording is padded: AST's filter banks have no frame for less than a window of theirs."""


class WindowedAudio(Encoder):
    """CLAP's audio tower or AST, one vector a window.

    differs: CLAP's batch norm keeps the statistics of its checkpoint in training mode too, so that no recording depends
    on its batch; a fusion model is run without its fusion, which mixes in crops drawn at random.

    Args:
        name: a hub id or a local folder of a CLAP or an AST model.
        projected: CLAP's: the window's vector in the space that it shares with texts, not yet of unit length.

    Raises:
        WrongValue: another kind of model.
    """

    signal = "audio"

    def __init__(self, name: str | Path, *, projected: bool = False) -> None:
        super().__init__()
        self.extractor = AutoFeatureExtractor.from_pretrained(name)
        kind = AutoConfig.from_pretrained(name).model_type
        family = ClapAudioModel if kind == "clap_audio_model" else AutoModel  # the tower alone, as `save` writes it
        family = ClapAudioModelWithProjection if projected and kind.startswith("clap") else family
        model = family.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
        self.model = model if projected else getattr(model, "audio_model", model)
        for part, value in self.model.named_parameters():
            if "fusion_model" in part or "mel_conv2d" in part:
                value.requires_grad_(False)
        self.is_clap = self.model.config.model_type.startswith("clap")
        if not self.is_clap and self.model.config.model_type != "audio-spectrogram-transformer":
            raise WrongValue(f"{name} is a {self.model.config.model_type} model: wanted CLAP or AST")
        if projected and not self.is_clap:
            raise WrongValue(f"{name} is a {self.model.config.model_type} model: only CLAP's vectors are projected")
        self.projected = projected
        self.width = int(self.model.config.projection_dim if projected else self.model.config.hidden_size)
        self.rate = int(self.extractor.sampling_rate)
        frames = self.extractor.nb_max_samples if self.is_clap else self.extractor.max_length * self.rate // 100
        self.window = int(frames)
        self.settings: dict[str, Any] = {"projected": projected}

    def train(self, mode: bool = True) -> WindowedAudio:
        """Training mode, of all but the batch norm."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """Recordings to features `(B, windows, ...)`."""
        cut = [[] if item is None else self._windows(decode_audio(item, self.rate)) for item in items]
        features = [[self._features(window) for window in windows] for windows in cut]
        shape = self._features(torch.zeros(self.window)).shape
        values = torch.zeros(len(items), max([1, *(len(row) for row in features)]), *shape)
        for row, windows in zip(values, features, strict=True):
            for at, window in enumerate(windows):
                row[at] = window
        return Padded(values, torch.tensor([len(row) for row in features], dtype=torch.int64))

    def forward(self, batch: Padded) -> Encoded:
        """Features to one vector a window; a recording's vector is the mean of its windows'."""
        count = batch.values.shape[1]
        flat = batch.values.flatten(0, 1)
        if self.is_clap:
            longer = torch.zeros(len(flat), 1, dtype=torch.bool, device=flat.device)
            out = self.model(input_features=flat, is_longer=longer)
            pooled = out.audio_embeds if self.projected else out.pooler_output
        else:
            pooled = self.model(input_values=flat).pooler_output
        tokens = torch.unflatten(pooled, 0, (-1, count))
        mask = length_mask(batch.lengths, count)
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def save(self, folder: Path) -> None:
        """A `transformers` folder, and `encoder.json`."""
        self.model.save_pretrained(folder)
        self.extractor.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> WindowedAudio:
        """Read what `save` wrote."""
        return cls(folder, **json.loads((folder / "encoder.json").read_text(encoding="utf-8")))

    def _windows(self, wave: Tensor) -> list[Tensor]:
        if len(wave) < self.window:
            return [nn.functional.pad(wave, (0, max(0, SHORTEST - len(wave))))]
        starts = [*range(0, len(wave) - self.window, self.window), len(wave) - self.window]
        return [wave[start : start + self.window] for start in starts]

    def _features(self, window: Tensor) -> Tensor:
        out = self.extractor(window.numpy(), sampling_rate=self.rate, return_tensors="pt")
        features: Tensor = out["input_features" if self.is_clap else "input_values"][0]
        return features
