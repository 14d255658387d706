"""Text encoders out of causal language models: their first layers, frozen, and more of their layers to train on top.

`CausalText` gives the hidden states behind layer `layers`; `CausalTop` is the layers that follow, whole or with
low-rank maps (`lora.py`). The former's states can be cached, so that a step of training computes the top layers alone.

A text begins with the start token, if the tokenizer has one: causal models park attention on the first token, whose
state is huge and says nothing, so means leave it out.

Axes: B texts, T tokens, D width of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig

from antiphon.decode import BadInput, clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.frozen import OverFrozen
from antiphon.encoders.lora import add_low_rank
from antiphon.encoders.pooling import last_token, masked_mean
from antiphon.encoders.text import padded_ids, warn_cut
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded

Pool = Literal["mean", "last"]


class CausalText(Encoder):
    """The first layers of a causal language model over its tokens.

    Args:
        model: a causal language model of `transformers` whose decoder has `layers`, `norm` and `embed_tokens` (Llama,
            Qwen, Mistral, Gemma, SmolLM2 and their kin); its weights are copied.
        tokenizer: the model's.
        layers: how many; None or all of them: with the last norm.
        pooling: "mean" of the real tokens behind the first one, or the "last" one.
        single: whether the pooled vector stands in the place of the tokens, so that little is cached of a text.
        max_tokens: longer texts are cut, with an `InputCut` warning.

    Raises:
        WrongValue: a model of another build, or more layers than it has.
    """

    signal = "text"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        layers: int | None = None,
        pooling: Pool = "mean",
        single: bool = False,
        max_tokens: int = 512,
    ) -> None:
        super().__init__()
        self.decoder = _layers_of(_decoder(model), 0, layers)
        self.tokenizer, self.pooling, self.single, self.max_tokens = tokenizer, pooling, single, max_tokens
        self.width = int(self.decoder.config.hidden_size)
        self.settings = {"pooling": pooling, "single": single, "max_tokens": max_tokens}

    def collate(self, items: Sequence[Any]) -> Padded:
        """Texts to token ids `(B, T)`, the start token first where there is one."""
        return padded_ids([[] if item is None else self.ids(clean_text(item)) for item in items], 0)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text.

        Raises:
            BadInput: the tokenizer makes no token of it.
        """
        start = self.tokenizer.bos_token_id
        ids = list(self.tokenizer(text, verbose=False)["input_ids"])
        if start is not None and ids[:1] != [start]:
            ids.insert(0, start)
        if len(ids) <= (start is not None):
            raise BadInput(f"text {text!r:.40}: the tokenizer makes no token of it")
        if len(ids) > self.max_tokens:
            warn_cut(text, len(ids), self.max_tokens, "tokens")
        return ids[: self.max_tokens]

    def forward(self, batch: Padded) -> Encoded:
        """Hidden states behind the last of the layers."""
        # the padding stands behind the text, where a causal model does not look: no mask is needed
        states_BTD = self.decoder(input_ids=batch.values, use_cache=False).last_hidden_state
        found = _encoded(states_BTD, batch.mask, self.pooling)
        return Encoded(found.pooled[:, None], batch.present[:, None], found.pooled) if self.single else found

    def save(self, folder: Path) -> None:
        """Weights, configuration, tokenizer and settings."""
        save_file(
            {name: value.contiguous() for name, value in self.decoder.state_dict().items()},
            folder / "model.safetensors",
        )
        self.decoder.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        kept = self.settings | {"normed": not isinstance(self.decoder.norm, nn.Identity)}
        (folder / "encoder.json").write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> CausalText:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        decoder = _built(AutoConfig.from_pretrained(folder), normed=kept.pop("normed"), words=True)
        decoder.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(decoder, AutoTokenizer.from_pretrained(folder), **kept)


class CausalTop(OverFrozen):
    """Further layers of a causal language model over the states behind its first ones; these learn.

    `CausalTop.of` takes the layers out of a model. Two readings of one text differ by dropout alone, as SimCSE has it
    (arXiv 2104.08821), though causal models were trained without.

    Args:
        inner: `CausalText`, whose states the layers read.
        decoder: `to_diff_dict()` of the configuration of these layers.
        normed: whether the model's last norm follows.
        pooling: as `CausalText`.
        dropout: on the states that are read, and on attention.
        rank: of the low-rank maps that learn in the place of the layers; None trains the layers whole.
        alpha: times 1 / rank, the weight of those maps.
        dora: decompose the weights those maps are added to (`lora.py`).
    """

    def __init__(
        self,
        inner: Encoder,
        decoder: dict[str, Any],
        *,
        normed: bool = False,
        pooling: Pool = "mean",
        dropout: float = 0.1,
        rank: int | None = None,
        alpha: float = 16.0,
        dora: bool = False,
    ) -> None:
        settings = {"decoder": decoder, "normed": normed, "pooling": pooling, "dropout": dropout}
        settings |= {"rank": rank, "alpha": alpha, "dora": dora}
        super().__init__(inner, int(decoder["hidden_size"]), settings)
        config = AutoConfig.for_model(**decoder)
        config.attention_dropout = dropout
        self.decoder, self.pooling = _built(config, normed=normed, words=False), pooling
        self.dropout = nn.Dropout(dropout)
        if rank is not None:
            add_low_rank(self.decoder, rank, alpha=alpha, dora=dora)

    @classmethod
    def of(
        cls,
        model: Any,
        inner: Encoder,
        first: int,
        last: int | None = None,
        *,
        pooling: Pool = "mean",
        dropout: float = 0.1,
        rank: int | None = None,
        alpha: float = 16.0,
        dora: bool = False,
    ) -> CausalTop:
        """The layers behind the first `first` ones of a model, up to `last` (None: all, with the last norm).

        Raises:
            WrongValue: a model of another build, or layers that it lacks.
        """
        whole = _layers_of(_decoder(model), first, last, words=False)
        normed = not isinstance(whole.norm, nn.Identity)
        top = cls(inner, whole.config.to_diff_dict(), normed=normed, pooling=pooling, dropout=dropout)
        top.decoder.load_state_dict(whole.state_dict())
        if rank is not None:
            top.settings |= {"rank": rank, "alpha": alpha, "dora": dora}
            add_low_rank(top.decoder, rank, alpha=alpha, dora=dora)
        return top

    def encode(self, inner: Encoded) -> Encoded:
        """Hidden states behind the last layer."""
        states_BTD = self.decoder(inputs_embeds=self.dropout(inner.tokens), use_cache=False).last_hidden_state
        return _encoded(states_BTD, inner.mask, self.pooling)


def _encoded(states_BTD: Tensor, mask_BT: Tensor, pooling: Pool) -> Encoded:
    tokens_BTD = torch.where(mask_BT[:, :, None], states_BTD, 0.0)
    if pooling == "last":
        return Encoded(tokens_BTD, mask_BT, last_token(tokens_BTD, mask_BT))
    said_BT = mask_BT.clone()
    said_BT[:, 0] &= mask_BT.sum(1) == 1  # a text of one token is that token
    return Encoded(tokens_BTD, mask_BT, masked_mean(tokens_BTD, said_BT))


def _decoder(model: Any) -> Any:
    """A model without its head."""
    decoder = getattr(model, "model", model)
    lacking = [name for name in ("layers", "norm", "embed_tokens") if not hasattr(decoder, name)]
    if lacking:
        raise WrongValue(f"{type(model).__name__}: its decoder has no {', '.join(lacking)}; wanted one as Llama's")
    return decoder


@torch.no_grad()
def _layers_of(decoder: Any, first: int, last: int | None, *, words: bool = True) -> Any:
    """A copy with some of the layers, and with the last norm where the last layer is among them."""
    have = len(decoder.layers)
    last = have if last is None else last
    if not 0 <= first < last <= have:
        raise WrongValue(f"layers {first} to {last}: the model has {have}")
    config = deepcopy(decoder.config)
    config.num_hidden_layers = last - first
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[first:last]
    normed = last == have and not isinstance(decoder.norm, nn.Identity)
    part = _built(config, normed=normed, words=words)
    part.layers.load_state_dict(nn.ModuleList(decoder.layers[first:last]).state_dict())
    if words:
        part.embed_tokens.load_state_dict(decoder.embed_tokens.state_dict())
    if normed:
        part.norm.load_state_dict(decoder.norm.state_dict())
    return part


def _built(config: PretrainedConfig, *, normed: bool, words: bool) -> Any:
    """A decoder of this configuration; its weights are drawn without touching torch's generator."""
    if not words:
        config.vocab_size, config.pad_token_id = 1, None  # layers alone read no word
    with torch.random.fork_rng(devices=[]):
        decoder = AutoModel.from_config(config)
    if not normed:
        decoder.norm = nn.Identity()
    if not words:
        decoder.embed_tokens = nn.Identity()
    return decoder.float().eval()
