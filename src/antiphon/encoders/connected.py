"""Pictures for a language model that reads text alone: a connector puts soft tokens where a text would stand.

The map of a frozen picture encoder is pooled to a few cells; two layers make of each cell a vector of the language
model's width (LLaVA-1.5, arXiv 2310.03744, section 3.1), as long as its words are. The connector alone learns, by
captions; then the picture is read in a prompt as texts are (`prompted.py`): the last token's state is its vector.

Axes: B pictures, C cells, H width of the picture encoder, D width of the model, T tokens behind the picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from transformers import AutoModel, AutoTokenizer

from antiphon.encoders import Encoder
from antiphon.encoders.beginning import Beginning, without_head
from antiphon.encoders.heads import Standard
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.templates import Prompt, Template, prompt_ids
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded


class Cells(Encoder):
    """A frozen picture encoder's square map, pooled to `side` x `side` means.

    Args:
        inner: its tokens are the map's cells, row by row.
        side: of the pooled map.
    """

    signal = "image"

    def __init__(self, inner: Encoder, *, side: int = 2) -> None:
        super().__init__()
        if inner.signal != "image" or side < 1:
            raise WrongValue(f"side={side} of {inner.signal}: wanted pictures, and a side of 1 or more")
        self.inner, self.side, self.width = inner.requires_grad_(False), side, inner.width
        self.settings = {"side": side}

    def train(self, mode: bool = True) -> Cells:
        """The picture encoder stays in evaluation mode."""
        super().train(mode)
        self.inner.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """As the picture encoder does."""
        return self.inner.collate(items)

    @torch.no_grad()
    def forward(self, batch: Padded) -> Encoded:
        """Cells `(B, C, H)`, and their mean.

        Raises:
            WrongValue: the map is not square (patches behind a class token), or smaller than `side`.
        """
        inner: Encoded = self.inner(batch)
        count = inner.tokens.shape[1]
        root = math.isqrt(count)
        if root * root != count or root < self.side:
            raise WrongValue(f"{count} cells of a picture: wanted a square map of {self.side} x {self.side} or more")
        map_BHRR = torch.unflatten(inner.tokens.transpose(1, 2), 2, (root, root))
        cells_BCH = adaptive_avg_pool2d(map_BHRR, self.side).flatten(2).transpose(1, 2)
        mask = batch.present[:, None].expand(-1, self.side**2)
        return Encoded(cells_BCH, mask, masked_mean(cells_BCH, mask))

    def save(self, folder: Path) -> None:
        """The picture encoder in a folder of its own, and the setting."""
        from antiphon.encoders.open import save_encoder  # not above: `open` lists the encoders

        save_encoder(self.inner, folder / "inner")
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Cells:
        """Read what `save` wrote."""
        from antiphon.encoders.open import load_encoder

        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(load_encoder(folder / "inner"), **kept)


class Connector(nn.Module):
    """Cells to soft tokens: two layers for each cell, and beside them a linear map of the cells' mean.

    Args:
        width: H.
        out: D.
        hidden: width of the layer between.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, width: int, out: int, *, hidden: int = 512) -> None:
        super().__init__()
        self.settings = {"width": width, "out": out, "hidden": hidden}
        self.norm = Standard(width)
        self.linear = nn.Linear(width, out)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))
        self.register_buffer("centre", torch.zeros(out))
        self.register_buffer("spread", torch.ones(out))

    def forward(self, cells_BCH: Float[Tensor, "b c h"]) -> Float[Tensor, "b c d"]:
        """A soft token for each cell."""
        inputs_BCH = self._standard(cells_BCH)
        said_B1D = self.linear(inputs_BCH.mean(1, keepdim=True))
        soft_BCD: Tensor = self.centre + self.spread * (said_B1D + self.layers(inputs_BCH))
        return soft_BCD

    @torch.no_grad()
    def measure(self, cells_NCH: Float[Tensor, "n c h"], words_VD: Float[Tensor, "v d"]) -> None:
        """Take mean and deviation of each number of the cells, and of the model's words, as soft tokens shall have."""
        self.norm.measure(cells_NCH.flatten(0, 1))
        self.centre.copy_(words_VD.float().mean(0))
        self.spread.copy_(words_VD.float().std(0))

    @torch.no_grad()
    def begin(self, cells_NCH: Float[Tensor, "n c h"], told_ND: Float[Tensor, "n d"], *, penalty: float = 0.3) -> None:
        """Begin as the ridge regression from the mean cell to a mean of the caption's words; the layers as nothing.

        Regression draws all towards its mean: predictions are stretched to the length that the targets have.

        Args:
            cells_NCH: of training pictures, measured before.
            told_ND: a mean of the model's vectors of each caption's tokens.
            penalty: as a share of the pictures.
        """
        inputs = self._standard(cells_NCH).mean(1).double()
        told = ((told_ND - self.centre) / self.spread).double()
        centre = told.mean(0)
        ridge = inputs.T @ inputs + penalty * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
        weight = torch.linalg.solve(ridge, inputs.T @ (told - centre))
        stretch = (told - centre).norm(dim=1).mean() / (inputs @ weight).norm(dim=1).mean()
        self.linear.weight.copy_((weight * stretch).T)
        self.linear.bias.copy_(centre)
        for weight in self.layers[-1].parameters():
            nn.init.zeros_(weight)

    def _standard(self, cells_BCH: Tensor) -> Tensor:
        return torch.unflatten(self.norm(cells_BCH.flatten(0, 1)), 0, cells_BCH.shape[:2])


class ConnectedImage(Encoder):
    """A picture in a prompt, by a language model of texts and a connector: one vector, at the last token.

    Args:
        model: any causal language model of `transformers`. It is not copied: a `PromptedText` may share it.
        tokenizer: the model's.
        prompt: what stands around each picture.
        cells: a frozen encoder of pictures that gives each the same number of tokens (`Cells`), or `Features` of it.
        connector: from its width to the model's.

    Raises:
        WrongValue: a chat prompt, and a tokenizer that has no chat template; or widths that do not fit.
    """

    signal = "image"

    def __init__(self, model: Any, tokenizer: Any, prompt: Prompt, cells: Encoder, connector: Connector) -> None:
        super().__init__()
        self.decoder = without_head(model)
        self.width = int(self.decoder.config.get_text_config().hidden_size)
        wanted = (cells.width, self.width)
        if (connector.settings["width"], connector.settings["out"]) != wanted:
            raise WrongValue(f"a connector of {connector.settings}: wanted width={wanted[0]} and out={wanted[1]}")
        self.tokenizer, self.prompt, self.connector = tokenizer, prompt, connector
        self.cells = cells.requires_grad_(False)
        self.settings = {"prompt": prompt.model_dump()}
        before, _, after = Template(prompt, tokenizer).text(_MARK).partition(_MARK)
        self.beginning = Beginning(self.decoder, prompt_ids(prompt, tokenizer, before))
        self.after: list[int] = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []

    def train(self, mode: bool = True) -> ConnectedImage:
        """The picture encoder stays in evaluation mode."""
        super().train(mode)
        self.cells.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """As the encoder of cells does."""
        return self.cells.collate(items)

    def forward(self, batch: Padded) -> Encoded:
        """The state at each prompt's last token, as the only token `(B, 1, D)` and as the pooled vector."""
        after_BT = torch.tensor([self.after], dtype=torch.int64, device=batch.values.device).expand(len(batch), -1)
        states = self.states(batch, after_BT)[:, -1].float()
        pooled = torch.where(batch.present[:, None], states, 0.0)
        return Encoded(pooled[:, None], batch.present[:, None], pooled)

    def states(self, batch: Padded, after_BT: Int[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Hidden states of the picture's soft tokens, and of tokens behind it, N = C + T."""
        with torch.no_grad():
            cells: Encoded = self.cells(batch)
        words = self.decoder.get_input_embeddings()
        soft_BCD = self.connector(cells.tokens).to(words.weight.dtype)
        behind_BND = torch.cat([soft_BCD, words(after_BT)], dim=1)
        shared = len(self.beginning.ids)
        learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in self.decoder.parameters())
        if not learns and self.beginning.holds:
            return self.beginning.behind(shared, inputs_embeds=behind_BND)
        ids = torch.tensor([self.beginning.ids], dtype=torch.int64, device=after_BT.device).expand(len(batch), -1)
        whole = torch.cat([words(ids), behind_BND], dim=1)
        states: Tensor = self.decoder(inputs_embeds=whole, use_cache=False).last_hidden_state
        return states[:, shared:]

    def over(self, cells: Encoder, prompt: Prompt | None = None) -> ConnectedImage:
        """The same model and connector over another encoder of cells, or in another prompt; nothing is copied."""
        return ConnectedImage(self.decoder, self.tokenizer, prompt or self.prompt, cells, self.connector)

    def save(self, folder: Path) -> None:
        """A `transformers` folder, the connector, the encoder of cells in a folder of its own, and the prompt."""
        from antiphon.encoders.open import save_encoder

        self.decoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_file(self.connector.state_dict(), folder / "connector.safetensors")
        save_encoder(self.cells, folder / "cells")
        kept = self.settings | {"connector": self.connector.settings}
        (folder / "encoder.json").write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ConnectedImage:
        """Read what `save` wrote."""
        from antiphon.encoders.open import load_encoder

        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype="auto")
        sizes = kept["connector"]
        connector = Connector(sizes["width"], sizes["out"], hidden=sizes["hidden"])
        connector.load_state_dict(load_file(folder / "connector.safetensors"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return cls(model, tokenizer, Prompt(**kept["prompt"]), load_encoder(folder / "cells"), connector)


_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
