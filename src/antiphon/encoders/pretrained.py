"""Pretrained models of two signals as a `Space`: CLIP checkpoints of `transformers`, by hub id or folder."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, CLIPModel

from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.image import TransformersImage
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.text import TransformersText
from antiphon.errors import WrongValue


def clip_space(name: str | Path) -> tuple[Space, float]:
    """A CLIP checkpoint's two towers and projections as a space (branches `image`, `text`), and its temperature.

    The vectors are CLIP's own: `get_image_features` and `get_text_features`, made unit.

    Args:
        name: a hub id ("openai/clip-vit-base-patch32") or a folder, with safetensors weights.

    Raises:
        WrongValue: another kind of model.
        OSError: nothing of this name here or on the hub (from `transformers`).
    """
    kind = AutoConfig.from_pretrained(name).model_type
    if kind != "clip":
        raise WrongValue(f"{name} holds a {kind}: wanted a CLIP checkpoint")
    model = CLIPModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    image, text = TransformersImage(name), TransformersText(name)
    branches = {
        "image": Branch(image, _head(model.visual_projection, "encoder")),
        "text": Branch(text, _head(model.text_projection, "last")),
    }
    return Space(branches, card=f"The towers of the CLIP checkpoint {name}."), math.exp(-model.logit_scale.item())


def _head(projection: nn.Linear, pooling: str) -> Head:
    out, width = projection.weight.shape
    head = Head(width, out, HeadConfig.model_validate({"pooling": pooling, "norm": "none"}))
    with torch.no_grad():
        head.linear.weight.copy_(projection.weight)
        head.linear.bias.zero_()
    return head
