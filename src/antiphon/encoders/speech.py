"""Speech encoders: Whisper's encoder, wave models (wav2vec 2.0, HuBERT, WavLM), w2v-BERT, and log-mel from scratch.

All take 16 kHz mono waveforms, none pads a clip to 30 s, and no clip depends on the batch that it comes in.
`layers=n` sets the last n hidden layers side by side in the width, for a head that mixes them (`pooling.LayerMix`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from antiphon.encoders import Encoder
from antiphon.encoders.blocks import Kind, Stack
from antiphon.encoders.logmel import whisper_logmel
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.waves import at_least, collate_waves, stacked_banks, standardised
from antiphon.encoders.weights import read_ctranslate2, wheel_path, whisper_encoder_state
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded, length_mask

WAVE_MODELS = ("wav2vec2", "hubert", "wavlm", "wav2vec2-bert")


class WhisperSpeech(Encoder):
    """The encoder of Whisper (Radford et al. 2022), 50 vectors a second, on the clip's own frames only.

    Positions are cut to the clip, padding is masked in the attention (the `transformers` forward does neither), and a
    clip over 30 s is encoded in windows of 30 s.

    Args:
        name: "whisper-tiny.en" (from a wheel), a hub id, or a local folder.
        layers: how many of the last hidden layers to put out; the last one is layer-normed.
        trim: cut the silence before and behind a clip first (`waves.trim_silence`): a mean over positions counts it.
    """

    signal = "speech"

    def __init__(self, name: str | Path = "whisper-tiny.en", *, layers: int = 1, trim: bool = False) -> None:
        super().__init__()
        self.model = _whisper_encoder(name)
        self.settings = {"layers": layers, "trim": trim}
        self.layers, self.trim = _depth(layers, len(self.model.layers), name), trim
        self.width = int(self.model.config.d_model) * layers

    def collate(self, items: Sequence[Any]) -> Padded:
        """Recordings to samples `(B, S)` at 16 kHz."""
        return collate_waves(items, trim=self.trim)

    def forward(self, batch: Padded) -> Encoded:
        """Samples to `(B, T, layers * d_model)` at 50 vectors a second."""
        mels = whisper_logmel(batch, bands=self.model.num_mel_bins)
        window = self.model.max_source_positions * 2
        parts = [
            self._window(Padded(mels.values[:, at : at + window], (mels.lengths - at).clamp(0, window)))
            for at in range(0, mels.values.shape[1], window)
        ]
        tokens, mask = (torch.cat(side, dim=1) for side in zip(*parts, strict=True))
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def save(self, folder: Path) -> None:
        """The encoder alone: a `transformers` config, its weights, and `encoder.json`."""
        self.model.config.save_pretrained(folder)
        save_file(self.model.state_dict(), folder / "model.safetensors")
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> WhisperSpeech:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(folder, layers=kept["layers"], trim=kept["trim"])

    def _window(self, mels: Padded) -> tuple[Tensor, Tensor]:
        encoder, mask_BT = self.model, mels.mask
        hidden = gelu(encoder.conv1(mels.values.transpose(1, 2))) * mask_BT[:, None, :]
        hidden = gelu(encoder.conv2(hidden)).transpose(1, 2)
        lengths = (mels.lengths + 1) // 2
        mask_BT = length_mask(lengths, hidden.shape[1])
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        attend_B1TT = _additive(mask_BT, hidden.dtype)
        states = [hidden]
        for layer in encoder.layers:
            states.append(layer(states[-1], attend_B1TT))
        states[-1] = encoder.layer_norm(states[-1])
        return torch.cat(states[-self.layers :], dim=2), mask_BT


class WaveSpeech(Encoder):
    """wav2vec 2.0, HuBERT, WavLM (on samples) or w2v-BERT (on Kaldi filter banks) from `transformers`.

    A model whose feature extractor normalises over time (`feat_extract_norm="group"`) is run clip by clip: padding
    would change its vectors. A clip too short to give a vector is padded with zeros until it gives one.

    differs: the models' own SpecAugment in training mode is off (it draws from numpy's global generator); what is
    done to a sample stands in the data room.

    Args:
        name: a hub id or a local folder.
        layers: how many of the last hidden layers to put out; the last one is the model's `last_hidden_state`.
        standardise: bring each clip to zero mean and unit variance; None does as the model's
            `preprocessor_config.json` says. w2v-BERT's filter banks are always standardised.

    Raises:
        ValueError: another kind of model, one with an adapter, a wrong number of layers, or no word on `standardise`.
    """

    signal = "speech"

    def __init__(self, name: str | Path, *, layers: int = 1, standardise: bool | None = None) -> None:
        super().__init__()
        config = AutoConfig.from_pretrained(name)
        if config.model_type not in WAVE_MODELS:
            raise WrongValue(f"{name} is a {config.model_type} model: wanted {', '.join(WAVE_MODELS)}")
        if getattr(config, "add_adapter", False):
            raise WrongValue(f"{name} has an adapter behind its layers (add_adapter): wanted a model without")
        off = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        self.model = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32, **off)
        self.layers = _depth(layers, int(config.num_hidden_layers), name)
        self.width = int(config.hidden_size) * layers
        self.on_banks = config.model_type == "wav2vec2-bert"
        self.alone = getattr(config, "feat_extract_norm", "layer") == "group"
        self.standardise = not self.on_banks and _standardises(name) if standardise is None else standardise
        self.settings = {"layers": layers, "standardise": self.standardise}
        self.kernels = [] if self.on_banks else list(zip(config.conv_kernel, config.conv_stride, strict=True))

    def collate(self, items: Sequence[Any]) -> Padded:
        """Recordings to samples `(B, S)` at 16 kHz."""
        return collate_waves(items)

    def forward(self, batch: Padded) -> Encoded:
        """Samples to `(B, T, layers * hidden_size)` at 50 vectors a second."""
        if self.on_banks:
            inputs = stacked_banks(batch)
        else:
            inputs = at_least(standardised(batch) if self.standardise else batch, self._shortest())
        if self.alone:
            return self._one_by_one(inputs)
        states = self._states(inputs)
        lengths = inputs.lengths if self.on_banks else self._frames(inputs.lengths)
        mask = length_mask(lengths, states.shape[1])
        return Encoded(states, mask, masked_mean(states, mask))

    def save(self, folder: Path) -> None:
        """A `transformers` folder, and `encoder.json`."""
        self.model.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> WaveSpeech:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(folder, layers=kept["layers"], standardise=kept["standardise"])

    def _states(self, inputs: Padded) -> Tensor:
        # a missing clip attends to silence: finite, and masked out by the caller
        mask = inputs.mask | ~inputs.present[:, None]
        key = "input_features" if self.on_banks else "input_values"
        out = self.model(**{key: inputs.values}, attention_mask=mask.long(), output_hidden_states=True)
        return self._last(out)

    def _one_by_one(self, inputs: Padded) -> Encoded:
        lengths = self._frames(inputs.lengths)
        size = int(lengths.max().clamp(min=1))
        rows = []
        for values, length in zip(inputs.values, inputs.lengths, strict=True):
            if length == 0:
                rows.append(inputs.values.new_zeros(size, self.width))
                continue
            out = self.model(input_values=values[None, :length], output_hidden_states=True)
            states = self._last(out)[0]
            rows.append(nn.functional.pad(states, (0, 0, 0, size - len(states))))
        tokens, mask = torch.stack(rows), length_mask(lengths, size)
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def _last(self, out: Any) -> Tensor:
        # of models with do_stable_layer_norm the last of the hidden states lacks the norm behind the layers
        return torch.cat([*out.hidden_states[:-1], out.last_hidden_state][-self.layers :], dim=2)

    def _frames(self, lengths: Tensor) -> Tensor:
        for kernel, stride in self.kernels:
            lengths = torch.where(lengths >= kernel, (lengths - kernel) // stride + 1, 0)
        return lengths

    def _shortest(self) -> int:
        samples = 1
        for kernel, stride in reversed(self.kernels):
            samples = (samples - 1) * stride + kernel
        return samples


class MelSpeech(Encoder):
    """A Transformer or Conformer on log-mel frames, trained from scratch; 25 vectors a second.

    Args:
        size: "tiny", "small" or "base" (see `blocks.SIZES`).
        kind: "transformer" or "conformer".
        signal: "speech" or "audio": the same encoder serves both.
    """

    def __init__(
        self, size: str = "tiny", *, kind: Kind = "transformer", signal: str = "speech", dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.settings = {"size": size, "kind": kind, "signal": signal, "dropout": dropout}
        self.signal = signal
        self.stack = Stack(size, kind=kind, dropout=dropout)
        self.width = self.stack.width
        self.first = nn.Conv1d(80, self.width, 3, stride=2, padding=1)
        self.second = nn.Conv1d(self.width, self.width, 3, stride=2, padding=1)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Recordings to samples `(B, S)` at 16 kHz."""
        return collate_waves(items)

    def forward(self, batch: Padded) -> Encoded:
        """Samples to vectors."""
        mels = whisper_logmel(batch)
        lengths, hidden = mels.lengths, mels.values.transpose(1, 2)
        for conv in (self.first, self.second):
            lengths = (lengths + 1) // 2
            hidden = gelu(conv(hidden))
            hidden = hidden * length_mask(lengths, hidden.shape[2])[:, None, :]
        mask = length_mask(lengths, hidden.shape[2])
        tokens = self.stack(hidden.transpose(1, 2), mask)
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_model(self, str(folder / "model.safetensors"))
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MelSpeech:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(kept["size"], kind=kept["kind"], signal=kept["signal"], dropout=kept["dropout"])
        load_model(encoder, str(folder / "model.safetensors"))
        return encoder


def _depth(layers: int, depth: int, name: str | Path) -> int:
    if not 1 <= layers <= depth + 1:
        raise WrongValue(f"layers={layers}: {name} has {depth} layers and its input, so 1 to {depth + 1}")
    return layers


def _standardises(name: str | Path) -> bool:
    try:
        return bool(AutoFeatureExtractor.from_pretrained(name).do_normalize)
    except OSError:
        raise WrongValue(
            f"{name} has no preprocessor_config.json, which says whether clips are standardised: give standardise=..."
        ) from None


def _whisper_encoder(name: str | Path) -> WhisperEncoder:
    wheel = wheel_path(str(name))
    if wheel is not None:
        state = whisper_encoder_state(read_ctranslate2(wheel / "model.bin"))
        width, bands, _ = state["conv1.weight"].shape
        config = WhisperConfig(
            d_model=width,
            num_mel_bins=bands,
            encoder_layers=sum(name.endswith("fc1.weight") for name in state),
            encoder_attention_heads=width // 64,  # 64 in every released Whisper
            encoder_ffn_dim=state["layers.0.fc1.weight"].shape[0],
            max_source_positions=len(state["embed_positions.weight"]),
            dropout=0.0,
        )
        encoder = WhisperEncoder(config)
        encoder.load_state_dict(state)
        return encoder
    if (Path(name) / "encoder.json").is_file():  # an encoder alone, as `save` writes it
        encoder = WhisperEncoder(AutoConfig.from_pretrained(name))
        encoder.load_state_dict(load_file(Path(name) / "model.safetensors"))
        return encoder
    model = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    if model.config.model_type != "whisper":
        raise WrongValue(f"{name} is a {model.config.model_type} model: wanted Whisper")
    return model.encoder


def _additive(mask_BT: Tensor, dtype: torch.dtype) -> Float[Tensor, "b 1 t t"]:
    """0 where a key may be attended to, a very negative number elsewhere; a missing clip attends to its padding."""
    allowed = mask_BT | ~mask_BT.any(1, keepdim=True)
    blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
        ~allowed, torch.finfo(dtype).min
    )
    return blocked[:, None, None, :].expand(-1, 1, mask_BT.shape[1], -1)
