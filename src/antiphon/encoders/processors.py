"""Processors of models of texts and images: opened without torchvision, which parts for videos want.

Qwen2-VL's and its kin's are put together here of the image processor (Pillow) and the tokenizer: the sign of a picture
in a text is repeated for each square of patches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

from antiphon.errors import WrongValue


class GridProcessor:
    """Texts with pictures, for models that take `image_grid_thw` (Qwen2-VL, Qwen2.5-VL, Qwen3-VL).

    Args:
        image_processor: gives `pixel_values`, and `image_grid_thw` in patches; has a `merge_size`.
        tokenizer: has a token for a picture, and for its start and end.
    """

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer
        self.image_token = getattr(tokenizer, "image_token", None) or "<|image_pad|>"
        if self.image_token not in tokenizer.get_vocab():
            raise WrongValue(f"{type(tokenizer).__name__} has no token {self.image_token} for a picture")

    @property
    def chat_template(self) -> Any:
        """The tokenizer's."""
        return self.tokenizer.chat_template

    def apply_chat_template(self, turns: list[dict[str, Any]], **options: Any) -> Any:
        """As the tokenizer does."""
        return self.tokenizer.apply_chat_template(turns, **options)

    def __call__(self, images: list[Image.Image], text: list[str], return_tensors: str = "pt") -> dict[str, Any]:
        """Tensors for one text with its pictures, in their order."""
        found = dict(self.image_processor(images=images, return_tensors=return_tensors))
        (said,) = text
        parts = said.split(self.image_token)
        counts = (found["image_grid_thw"].prod(1) // self.image_processor.merge_size**2).tolist()
        if len(parts) != len(counts) + 1:
            raise WrongValue(f"{len(counts)} pictures and {len(parts) - 1} signs {self.image_token} in their text")
        signs = [self.image_token * count for count in counts]
        said = "".join(part + sign for part, sign in zip(parts, [*signs, ""], strict=True))
        ids = torch.tensor([self.tokenizer(said, add_special_tokens=False)["input_ids"]])
        kinds = (ids == self.tokenizer.convert_tokens_to_ids(self.image_token)).long()
        return found | {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": kinds}

    def save_pretrained(self, folder: Path) -> None:
        """Both parts, as `transformers` keeps them."""
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def open_processor(source: str | Path) -> Any:
    """The processor of a model of texts and images.

    Args:
        source: a hub id or folder of `transformers`.

    Raises:
        WrongValue: it has none, or one that wants packages which are not here.
    """
    try:
        found = AutoProcessor.from_pretrained(source)
    except ImportError as error:
        pixels = AutoImageProcessor.from_pretrained(source, backend="pil")
        if not hasattr(pixels, "merge_size"):
            why = " ".join(str(error).split())
            raise WrongValue(f"{source}: its processor cannot be opened here: {why:.200}") from error
        return GridProcessor(pixels, AutoTokenizer.from_pretrained(source))
    if not hasattr(found, "image_processor"):
        raise WrongValue(f"{source} has no processor of pictures (preprocessor_config.json)")
    return found


def picture_signs(processor: Any) -> str:
    """What stands for a picture in a text that no chat template made.

    Raises:
        WrongValue: a processor that names no such sign.
    """
    token = getattr(processor, "image_token", None)
    if token is None:
        raise WrongValue(
            f"{type(processor).__name__} names no sign of a picture (image_token): models that are shown pictures "
            "beside their prompt, not in it, are not supported"
        )
    sign, around = str(getattr(token, "content", token)), ("<|vision_start|>", "<|vision_end|>")
    known = processor.tokenizer.get_vocab()
    return sign.join(around) if all(one in known for one in around) else sign
