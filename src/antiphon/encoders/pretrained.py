"""Pretrained models of two signals: CLIP, CLAP and X-CLIP checkpoints of `transformers`, by hub id or folder."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, ClapModel, CLIPModel, XCLIPModel

from antiphon.encoders.audio import WindowedAudio
from antiphon.encoders.crossframe import Prompts
from antiphon.encoders.heads import Head, HeadConfig, identity_head
from antiphon.encoders.image import TransformersImage
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.text import TransformersText
from antiphon.encoders.video import Patches, VideoTower
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
        "image": Branch(image, _head(model.visual_projection.weight, "encoder")),
        "text": Branch(text, _head(model.text_projection.weight, "last")),
    }
    return Space(branches, card=f"The towers of the CLIP checkpoint {name}."), math.exp(-model.logit_scale.item())


def clap_space(name: str | Path) -> tuple[Space, float]:
    """A CLAP checkpoint's two towers and projections as a space (branches `audio`, `text`), and its temperature.

    A recording of one window has CLAP's own vector, `get_audio_features` made unit; a longer one the mean of its
    windows'. The temperature is that of sounds against texts.

    Args:
        name: a hub id ("laion/clap-htsat-unfused") or a folder, with safetensors weights.

    Raises:
        WrongValue: another kind of model.
        OSError: nothing of this name here or on the hub (from `transformers`).
    """
    kind = AutoConfig.from_pretrained(name).model_type
    if kind != "clap":
        raise WrongValue(f"{name} holds a {kind}: wanted a CLAP checkpoint")
    towers = (WindowedAudio(name, projected=True), TransformersText(name, projected=True))
    branches = {tower.signal: Branch(tower, identity_head(tower.width)) for tower in towers}
    scale = ClapModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32).logit_scale_a.item()
    return Space(branches, card=f"The towers of the CLAP checkpoint {name}."), math.exp(-scale)


@dataclass(frozen=True)
class VideoModel:
    """What a video recipe starts from: a tower for videos, one for texts, prompts where there are any."""

    tower: VideoTower
    text: Branch
    prompts: Prompts | None
    temperature: float


def video_model(name: str | Path, *, frames: int = 8) -> VideoModel:
    """A CLIP checkpoint as a tower that takes the mean of frames, or an X-CLIP checkpoint with all its parts.

    Args:
        name: a hub id ("openai/clip-vit-base-patch32", "microsoft/xclip-base-patch32") or a folder, with safetensors
            weights.
        frames: of a video, for CLIP; X-CLIP's checkpoint says its own number.

    Raises:
        WrongValue: another kind of model.
        OSError: nothing of this name here or on the hub (from `transformers`).
    """
    config = AutoConfig.from_pretrained(name)
    if config.model_type not in ("clip", "xclip"):
        raise WrongValue(f"{name} holds a {config.model_type}: wanted a CLIP or an X-CLIP checkpoint")
    family = CLIPModel if config.model_type == "clip" else XCLIPModel
    model = family.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    seen, whole = config.vision_config, config.model_type == "xclip"
    processor = AutoImageProcessor.from_pretrained(name, backend="pil")
    stem = Patches(
        seen.hidden_size, frames=seen.num_frames if whole else frames, pixels=seen.image_size, patch=seen.patch_size,
        mean=processor.image_mean, deviation=processor.image_std,
    )  # fmt: skip
    tower = VideoTower(
        stem, cells=(seen.image_size // seen.patch_size) ** 2, frames=stem.frames, width=seen.hidden_size,
        out=config.projection_dim, layers=seen.num_hidden_layers, heads=seen.num_attention_heads,
        inner=seen.intermediate_size, cross=whole,
        integrate=seen.mit_num_hidden_layers if whole else 0,
        time_heads=seen.mit_num_attention_heads if whole else 1, activation=seen.hidden_act,
        epsilon=seen.layer_norm_eps,
    )  # fmt: skip
    weights = model.state_dict()
    tower.load_state_dict(_renamed(weights, _TOWER))
    prompts = None
    if whole:
        prompts = Prompts(
            seen.hidden_size, config.projection_dim, layers=config.prompt_layers,
            heads=config.prompt_num_attention_heads, activation=config.prompt_hidden_act, epsilon=seen.layer_norm_eps,
        )  # fmt: skip
        prompts.load_state_dict(_renamed(weights, _PROMPTS))
    text = Branch(TransformersText(name), _head(model.text_projection.weight, "last"))
    return VideoModel(tower, text, prompts, math.exp(-model.logit_scale.item()))


_TOWER = {
    r"vision_model\.embeddings\.patch_embedding\.": "stem.patch_embedding.",
    r"vision_model\.embeddings\.class_embedding": "class_embedding",
    r"vision_model\.embeddings\.position_embedding\.weight": "position_embedding",
    r"vision_model\.pre_laye?rnorm\.": "pre_layernorm.",
    r"vision_model\.encoder\.layers\.": "layers.",
    r"vision_model\.post_layernorm\.": "post_layernorm.",
    r"visual_projection\.": "visual_projection.",
    r"mit\.encoder\.layers\.": "mit.layers.",
    r"mit\.position_embedding": "mit.position_embedding",
}
_PROMPTS = {
    r"prompts_visual_layernorm\.": "visual_layernorm.",
    r"prompts_visual_projection": "visual_projection",
    r"prompts_generator\.(decoder\.\d+\.)cross_attn\.": r"\1",
    r"prompts_generator\.(decoder\.\d+\.)mlp\.0\.": r"\1mlp.fc1.",
    r"prompts_generator\.(decoder\.\d+\.)mlp\.3\.": r"\1mlp.fc2.",
    r"prompts_generator\.": "",
}


def _renamed(weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """The weights whose names begin in one of these ways, under our names."""
    found = {}
    for name, value in weights.items():
        for theirs, ours in names.items():
            if re.match(theirs, name):
                found[re.sub(theirs, ours, name, count=1)] = value[0] if name == "mit.position_embedding" else value
                break
    return found


def _head(weight_ED: Tensor, pooling: str) -> Head:
    """A head that is this linear map alone."""
    out, width = weight_ED.shape
    head = Head(width, out, HeadConfig.model_validate({"pooling": pooling, "norm": "none"}))
    with torch.no_grad():
        head.linear.weight.copy_(weight_ED)
        head.linear.bias.zero_()
    return head
