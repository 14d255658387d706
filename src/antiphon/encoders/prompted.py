"""Causal language models as encoders, untrained: an item inside a prompt, read at the last token before an answer.

A system rule, a user's turn with the item in it, the assistant's turn opened: the last hidden state there (behind the
final norm) is the vector (Gen2Embed, arXiv 2508.00955, section 3). The prompt is data, and is saved with the encoder.

All texts share the tokens in front of them. Where no gradient is wanted, these are read once: their keys and values
stand for the prompt in every batch, which changes nothing but the time.

Axes: B items, T tokens of a prompt, P tokens that all prompts begin with, D width of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from antiphon.decode import BadInput, clean_text, decode_image
from antiphon.encoders import Encoder
from antiphon.encoders.beginning import LEAST, Beginning, without_head
from antiphon.encoders.pooling import last_token, masked_mean
from antiphon.encoders.processors import open_processor, picture_signs
from antiphon.encoders.templates import Prompt, Template, prompt_ids
from antiphon.encoders.text import padded_ids, warn_cut
from antiphon.types import Encoded, Padded

Pooling = Literal["last", "mean"]


class PromptedText(Encoder):
    """A text in a prompt, by a causal language model: one vector, at the last token (or the mean).

    Args:
        model: any causal language model of `transformers`, or one of texts and images. It is not copied.
        tokenizer: the model's.
        prompt: what stands around each text.
        max_tokens: of a text, without its prompt; longer ones are cut, with an `InputCut` warning.
        pooling: "last" token, or the "mean" of all tokens but the first, on which causal models park attention.
        reuse: whether shared tokens are read once, where the model allows it (`beginning.py`).

    Raises:
        WrongValue: a chat prompt, and a tokenizer without a chat template, or with one that does not show the item.
    """

    signal = "text"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompt: Prompt,
        *,
        max_tokens: int = 512,
        reuse: bool = True,
        pooling: Pooling = "last",
    ) -> None:
        super().__init__()
        self.template = Template(prompt, tokenizer)
        self.decoder = without_head(model)
        self.tokenizer, self.prompt, self.max_tokens, self.reuse = tokenizer, prompt, max_tokens, reuse
        self.width = int(self.decoder.config.get_text_config().hidden_size)
        self.pooling = pooling
        self.settings = {"prompt": prompt.model_dump(), "max_tokens": max_tokens, "reuse": reuse, "pooling": pooling}
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.signs = sorted({*added, *tokenizer.all_special_tokens})
        self.prefix = _common([self._prompted(text) for text in ("a", "The", "0", "(", "é")])
        self.beginning = Beginning(self.decoder, self.prefix)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to the token ids of whole prompts, `(B, T)`, padded at the end."""
        return padded_ids([[] if item is None else self.ids(clean_text(item)) for item in items], 0)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text in its prompt.

        Raises:
            BadInput: a text that holds a sign of the model's own, with which it could close its turn and speak in the
                place of the system or the assistant.
        """
        found = next((sign for sign in self.signs if sign in text), None)
        if found is not None:
            raise BadInput(f"text {text!r:.40}: holds {found!r}, which the model takes for the end or start of a turn")
        plain = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if not plain:
            raise BadInput(f"text {text!r:.40}: the tokenizer makes no token of it")
        if len(plain) > self.max_tokens:
            warn_cut(text, len(plain), self.max_tokens, "tokens")
            text = self.tokenizer.decode(plain[: self.max_tokens])
        return self._prompted(text)

    def forward(self, batch: Padded) -> Encoded:
        """The state at each prompt's last token, as the only token `(B, 1, D)` and as the pooled vector."""
        reused = self.reuse and self.pooling == "last" and not torch.is_grad_enabled() and self.beginning.holds
        shared = self._shared(batch) if reused else 0
        # padding stands behind, where a causal model does not look: no mask is needed
        if shared < LEAST:
            shared, states_BTD = 0, self.decoder(input_ids=batch.values, use_cache=False).last_hidden_state
        else:
            states_BTD = self.beginning.behind(shared, input_ids=batch.values[:, shared:])
        pooled = self._pooled(states_BTD, batch.mask[:, shared:])
        return Encoded(pooled[:, None], batch.present[:, None], pooled)

    def save(self, folder: Path) -> None:
        """A `transformers` folder, and `encoder.json` with the prompt."""
        self.decoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PromptedText:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype="auto")
        return cls(model, AutoTokenizer.from_pretrained(folder), Prompt(**kept.pop("prompt")), **kept)

    def _prompted(self, text: str) -> list[int]:
        return prompt_ids(self.prompt, self.tokenizer, self.template.text(text))

    def _pooled(self, states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.pooling == "last":
            return last_token(states_BTD, mask_BT).float()
        said_BT = mask_BT.clone()
        said_BT[:, 0] &= mask_BT.sum(1) == 1  # a text of one token is that token
        return masked_mean(states_BTD.float(), said_BT)

    def _shared(self, batch: Padded) -> int:
        """How many first tokens all prompts of a batch have in common with the prefix, leaving one of each."""
        lines = batch.values[batch.present]
        most = min([len(self.prefix), *(batch.lengths[batch.present] - 1).tolist()]) if len(lines) else 0
        same = lines[:, :most] == torch.tensor(self.prefix[:most], device=lines.device)
        return int(same.all(0).long().cumprod(0).sum()) if most > 0 else 0


class PromptedImage(Encoder):
    """A picture in a prompt, by a model of texts and images: one vector, at the last token.

    Pictures are scaled to a square first (the paper: 448 x 448), so that every prompt has the same tokens.

    Args:
        model: as `AutoModelForImageTextToText` opens it. It is not copied.
        processor: the model's.
        prompt: what stands around each picture.
        size: the square's side in pixels.

    Raises:
        WrongValue: a chat prompt, and a processor that has no chat template, or one that does not show the picture; or
            a processor that names no sign of a picture.
    """

    signal = "image"

    def __init__(self, model: Any, processor: Any, prompt: Prompt, *, size: int = 448) -> None:
        super().__init__()
        self.template = Template(prompt, processor, picture=picture_signs(processor))
        self.decoder = without_head(model)
        self.processor, self.prompt, self.size = processor, prompt, size
        self.width = int(self.decoder.config.get_text_config().hidden_size)
        self.settings = {"prompt": prompt.model_dump(), "size": size}
        # what the processor says of one square it says of all, but for the pixels
        self.same = self._processed(Image.new("RGB", (size, size)))
        self.same.pop("pixel_values")

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pictures to what the processor makes of their pixels, `(B, tiles or patches, ...)`."""
        there = [None if item is None else self._pixels(decode_image(item)) for item in items]
        shapes = [tuple(one.shape) for one in there if one is not None]
        shape = shapes[0] if shapes else (1,)
        values = torch.stack([torch.zeros(shape) if one is None else one for one in there])
        return Padded(values, torch.tensor([0 if one is None else shape[0] for one in there]))

    def forward(self, batch: Padded) -> Encoded:
        """The state at each prompt's last token, as the only token `(B, 1, D)` and as the pooled vector."""
        pooled = torch.zeros(len(batch), self.width, device=batch.values.device)
        seen = batch[batch.present]
        if len(seen):
            same = {name: value.to(batch.values.device) for name, value in self.same.items()}
            repeated = {name: value.repeat(len(seen), *[1] * (value.ndim - 1)) for name, value in same.items()}
            out = self.decoder(pixel_values=seen.values.flatten(0, 1), use_cache=False, **repeated)
            pooled = pooled.masked_scatter(batch.present[:, None], out.last_hidden_state[:, -1].to(pooled.dtype))
        return Encoded(pooled[:, None], batch.present[:, None], pooled)

    def save(self, folder: Path) -> None:
        """A `transformers` folder, and `encoder.json` with the prompt."""
        self.decoder.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PromptedImage:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype="auto")
        return cls(model, open_processor(folder), Prompt(**kept.pop("prompt")), **kept)

    def _pixels(self, picture: Image.Image) -> Tensor:
        square = picture.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        found = self._processed(square)
        pixels = found.pop("pixel_values")
        if any(not torch.equal(value, self.same[name]) for name, value in found.items()):
            raise BadInput(f"a picture of {self.size} x {self.size} pixels has other tokens than a blank one")
        return pixels

    def _processed(self, picture: Image.Image) -> dict[str, Tensor]:
        text = self.template.image()
        return dict(self.processor(images=[picture], text=[text], return_tensors="pt"))


def _common(lines: Sequence[Sequence[int]]) -> list[int]:
    """What all lines begin with."""
    found: list[int] = []
    for tokens in zip(*lines, strict=False):
        if len(set(tokens)) > 1:
            break
        found.append(tokens[0])
    return found
