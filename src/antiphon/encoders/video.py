"""Video encoders: frames by a frozen image encoder or cut into patches, and X-CLIP's tower on top (arXiv 2208.02816).

Axes: B videos, T frames, N tokens of a frame, P patches (or cells) of a frame, D width of the tower, E of the space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from antiphon.decode import decode_video
from antiphon.encoders import Encoder
from antiphon.encoders.crossframe import ACTIVATIONS, Block, OverTime
from antiphon.encoders.image import EfficientNetLite
from antiphon.encoders.pooling import masked_mean
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded

_BICUBIC = Image.Resampling.BICUBIC
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Frames(Encoder):
    """Frames of a video, each by a frozen image encoder: the cells of all frames, frame by frame.

    Args:
        inner: of pictures.
        frames: T, sampled at even times.
        pixels: a frame's side as the inner encoder is given it, scaled into a white square.
        project: D, to which cells are mapped by fixed orthonormal random rows, which keeps their geometry; 0 leaves
            them as they are.
        at_once: frames that are encoded at a time.
    """

    signal = "video"
    rows: Tensor | None

    def __init__(
        self, inner: Encoder, *, frames: int = 6, pixels: int = 96, project: int = 192, at_once: int = 64
    ) -> None:
        super().__init__()
        if inner.signal != "image" or frames < 1 or project > inner.width:
            raise WrongValue(
                f"frames={frames} of {inner.signal} mapped from {inner.width} to {project}: wanted pictures, one frame "
                "or more, and no more numbers than there are"
            )
        self.inner = inner.requires_grad_(False)
        if isinstance(inner, EfficientNetLite):
            inner.size = pixels  # it has no size of its own: a map of 32 pixels a cell
        self.settings = {"frames": frames, "pixels": pixels, "project": project, "at_once": at_once}
        self.frames, self.pixels, self.at_once = frames, pixels, at_once
        self.width = project or inner.width
        self.register_buffer("rows", _orthonormal(inner.width, project) if project else None)

    def train(self, mode: bool = True) -> Frames:
        """The image encoder stays in evaluation mode."""
        super().train(mode)
        self.inner.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """Videos to frames `(B, T, S, S, 3)` of uint8."""
        values = torch.zeros(len(items), self.frames, self.pixels, self.pixels, 3, dtype=torch.uint8)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                for at, frame in enumerate(decode_video(item, self.frames)):
                    square = ImageOps.pad(_picture(frame), (self.pixels, self.pixels), _BICUBIC, color="white")
                    row[at] = torch.from_numpy(np.array(square))
        return Padded(values, torch.tensor([0 if item is None else self.frames for item in items]))

    @torch.no_grad()
    def forward(self, batch: Padded) -> Encoded:
        """Cells of all frames `(B, T * P, D)`, and their mean."""
        device = batch.lengths.device
        flat = batch.values.flatten(0, 1).cpu()
        parts = []
        for at in range(0, len(flat), self.at_once):
            cells: Tensor = self.inner(
                self.inner.collate([_picture(one) for one in flat[at : at + self.at_once]]).to(device)
            ).tokens
            parts.append(cells if self.rows is None else cells @ self.rows)
        tokens = torch.cat(parts).reshape(len(batch), -1, self.width)
        mask = batch.present[:, None].expand(-1, tokens.shape[1])
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def save(self, folder: Path) -> None:
        """Settings, the fixed rows, and the image encoder in a folder of its own."""
        from antiphon.encoders.open import save_encoder  # not above: `open` lists this module's encoders

        save_encoder(self.inner, folder / "inner")
        save_file({} if self.rows is None else {"rows": self.rows.contiguous()}, folder / "model.safetensors")
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Frames:
        """Read what `save` wrote."""
        from antiphon.encoders.open import load_encoder

        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(load_encoder(folder / "inner"), **kept)
        encoder.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        return encoder


class Patches(Encoder):
    """Frames cut into patches of pixels, each mapped to the tower's width: how CLIP's own tower begins.

    A frame's shorter side is scaled to `pixels` and its middle cut out, as CLIP's processor does.

    Args:
        width: D.
        frames: T.
        pixels: side of a frame.
        patch: side of a patch.
        mean: of the colours, and their deviation: what pixels are standardised by.
        deviation: as said.
    """

    signal = "video"
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        width: int,
        *,
        frames: int = 8,
        pixels: int = 224,
        patch: int = 32,
        mean: Sequence[float] = CLIP_MEAN,
        deviation: Sequence[float] = CLIP_DEVIATION,
    ) -> None:
        super().__init__()
        self.settings = {"frames": frames, "pixels": pixels, "patch": patch, "mean": [*mean], "deviation": [*deviation]}
        self.width, self.frames, self.pixels = width, frames, pixels
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Videos to pixels `(B, T, 3, S, S)` in [0, 1]."""
        values = torch.zeros(len(items), self.frames, 3, self.pixels, self.pixels)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                for at, frame in enumerate(decode_video(item, self.frames)):
                    middle = _middle(_picture(frame), self.pixels)
                    row[at] = torch.from_numpy(np.array(middle)).permute(2, 0, 1) / 255
        return Padded(values, torch.tensor([0 if item is None else self.frames for item in items]))

    def forward(self, batch: Padded) -> Encoded:
        """Patches of all frames `(B, T * P, D)`."""
        pixels = (batch.values - self.mean) / self.deviation
        maps = self.patch_embedding(pixels.flatten(0, 1)).flatten(2).transpose(1, 2)
        tokens = maps.reshape(len(batch), -1, self.width)
        mask = batch.present[:, None].expand(-1, tokens.shape[1])
        return Encoded(tokens, mask, masked_mean(tokens, mask))

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_file({"patch_embedding.weight": self.patch_embedding.weight.contiguous()}, folder / "model.safetensors")
        (folder / "encoder.json").write_text(json.dumps(self.settings | {"width": self.width}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Patches:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(**kept)
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
        return encoder


class VideoTower(Encoder):
    """X-CLIP's video tower: attention inside frames, messages between them, and a small transformer over time.

    A message m_t = W z_t,cls goes through attention over frames and stands as one more token in its frame's attention
    (cross-frame communication); h_t, the projected class tokens, become v = mean_t(Transformer(h + e_time) + h).
    Without both, v is the mean of the frames: CLIP's own tower.

    Args:
        stem: gives the cells of frames: `Patches`, which learn with the tower, or `Frames`, frozen; in a learner
            `Features` may stand in the place of `Frames` (`over`).
        cells: P.
        frames: T at most.
        width: D.
        out: E.
        layers: blocks in a frame.
        heads: of their attention.
        inner: width of their feed-forward layers; None is four times D.
        cross: messages between frames.
        integrate: blocks over time; 0 takes the mean of the frames.
        time_heads: of their attention.
        activation: "gelu" or "quick_gelu" (CLIP's).
        epsilon: of the norms; transformers' CLIP has 1e-5.
    """

    signal = "video"

    def __init__(
        self,
        stem: Encoder,
        *,
        cells: int,
        frames: int,
        width: int,
        out: int,
        layers: int,
        heads: int,
        inner: int | None = None,
        cross: bool = True,
        integrate: int = 1,
        time_heads: int = 2,
        activation: str = "quick_gelu",
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        if width % heads or out % time_heads or activation not in ACTIVATIONS:
            raise WrongValue(
                f"width={width} of {heads} heads, out={out} of {time_heads}, activation={activation!r}: wanted "
                f"multiples, and one of {', '.join(ACTIVATIONS)}"
            )
        self.settings: dict[str, Any] = {
            "cells": cells, "frames": frames, "width": width, "out": out, "layers": layers, "heads": heads,
            "inner": inner, "cross": cross, "integrate": integrate, "time_heads": time_heads,
            "activation": activation, "epsilon": epsilon,
        }  # fmt: skip
        self.width, self.cells, self.cross = out, cells, cross
        self.stem = stem if isinstance(stem, Patches) else stem.requires_grad_(False)
        self.entry = nn.Identity() if isinstance(stem, Patches) else nn.Linear(stem.width, width)
        self.class_embedding = nn.Parameter(torch.randn(width) / width**0.5)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(1 + cells, width))
        self.pre_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(
            Block(width, heads, activation, epsilon, cross=cross, inner=inner) for _ in range(layers)
        )
        self.post_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.visual_projection = nn.Linear(width, out, bias=False)
        self.mit = OverTime(out, frames, integrate, time_heads, activation, epsilon) if integrate else None

    def train(self, mode: bool = True) -> VideoTower:
        """Training mode, of all but a frozen stem."""
        super().train(mode)
        if not isinstance(self.stem, Patches):
            self.stem.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """As the stem does."""
        return self.stem.collate(items)

    def forward(self, batch: Padded) -> Encoded:
        """A vector h_t for each frame, and v for the video."""
        return self.look(batch)[0]

    def look(self, batch: Padded) -> tuple[Encoded, Float[Tensor, "b t p d"]]:
        """As `forward`; and the frames' patches behind the last block, for video-specific prompts."""
        cells_BND: Tensor = self.entry(self.stem(batch).tokens)
        cells_BTPD = cells_BND.reshape(len(batch), -1, self.cells, cells_BND.shape[2])
        first_BTD = self.class_embedding.expand(*cells_BTPD.shape[:2], 1, -1)
        z_BTND: Tensor = self.pre_layernorm(torch.cat([first_BTD, cells_BTPD], dim=2) + self.position_embedding)
        for block in self.layers:
            z_BTND = block(z_BTND)
        h_BTE: Tensor = self.visual_projection(self.post_layernorm(z_BTND[:, :, 0]))
        v_BE = h_BTE.mean(1) if self.mit is None else self.mit(h_BTE)
        there = batch.present[:, None]
        encoded = Encoded(h_BTE * there[:, :, None], there.expand(-1, h_BTE.shape[1]), v_BE * there)
        return encoded, z_BTND[:, :, 1:]

    def grown(self, *, cross: bool, integrate: int) -> VideoTower:
        """The same tower with other parts between frames and over time.

        What both have is copied; new parts start at random, from torch's own generator.
        """
        other = VideoTower(self.stem, **(self.settings | {"cross": cross, "integrate": integrate}))
        other.load_state_dict(self.state_dict(), strict=False)
        return other

    def over(self, stem: Encoder, weights: Mapping[str, Tensor] | None = None) -> VideoTower:
        """The same weights (or these) over another stem: over the one whose cells `Features` handed on."""
        other = VideoTower(stem, **self.settings).to(self.class_embedding.device)
        own = weights if weights is not None else self.state_dict()
        own = {name: value for name, value in own.items() if not name.startswith("stem.")}
        other.load_state_dict(own | {f"stem.{name}": value for name, value in stem.state_dict().items()})
        return other

    def new_parts(self) -> list[nn.Module]:
        """What CLIP's tower does not have: the paper gives it ten times the rate."""
        blocks = cast(list[Block], list(self.layers))
        messages = [
            part for block in blocks if self.cross for part in (block.message_fc, block.message_ln, block.message_attn)
        ]
        return [*messages, *([self.mit] if self.mit is not None else [])]

    def save(self, folder: Path) -> None:
        """Weights and settings, and the stem in a folder of its own."""
        from antiphon.encoders.open import save_encoder

        save_encoder(self.stem, folder / "stem")
        own = {name: one.contiguous() for name, one in self.state_dict().items() if not name.startswith("stem.")}
        save_file(own, folder / "model.safetensors")
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> VideoTower:
        """Read what `save` wrote."""
        from antiphon.encoders.open import load_encoder

        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        stem = load_encoder(folder / "stem")
        return cls(stem, **kept).over(stem, load_file(folder / "model.safetensors"))


def _picture(frame: Tensor) -> Image.Image:
    return Image.fromarray(frame.numpy())


def _middle(picture: Image.Image, pixels: int) -> Image.Image:
    """The shorter side scaled, the longer one cut, as CLIP's processor does it."""
    short = min(picture.size)
    width, height = (int(pixels * side / short) for side in picture.size)
    left, top = (width - pixels) // 2, (height - pixels) // 2
    return picture.resize((width, height), _BICUBIC).crop((left, top, left + pixels, top + pixels))


def _orthonormal(width: int, count: int) -> Float[Tensor, "{width} {count}"]:
    generator = torch.Generator().manual_seed(0)
    found: Tensor = torch.linalg.qr(torch.randn(width, count, generator=generator))[0]
    return found
