"""A captioner: a vector of a shared space, of whatever signal, becomes a sentence.

The vector is mapped to a few vectors that stand before the text in a causal language model (soft prompt); the names of
the events nearest to it may follow as plain words (hard prompt). The model may be cut to its first layers and to the
words of some texts, which makes it small.

Axes: B items, E width of the space, D width of the model, T tokens, N names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModelForCausalLM, AutoTokenizer

from antiphon.errors import WrongValue
from antiphon.generation.decoding import Decoding, continued
from antiphon.types import Padded

FORMAT = 1


class Captioner(nn.Module):
    """A language model, the map into its inputs, and names with their vectors.

    Args:
        model: a causal language model of `transformers`; `cut` makes a small one.
        tokenizer: of the whole model.
        words: the tokenizer's ids that the model has, in the model's order; None: all.
        width: E.
        soft: how many vectors stand before the text.
        hidden: width of the map's hidden layer.
        names: of events, for hard prompts.
        template: of a hard prompt; `{}` is for names joined by commas.
        tags: how many names a hard prompt holds, where nothing else is asked; 0: no hard prompt.
    """

    name_vectors: Tensor
    size: Tensor

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        width: int,
        words: Sequence[int] | None = None,
        soft: int = 4,
        hidden: int = 256,
        names: Sequence[str] = (),
        template: str = "Sounds: {}.",
        tags: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.words = list(range(len(tokenizer))) if words is None else list(words)
        self.place = {word: at for at, word in enumerate(self.words)}
        self.names, self.template, self.soft, self.tags = list(names), template, soft, tags
        self.settings = {"width": width, "soft": soft, "hidden": hidden, "names": self.names, "template": template}
        self.settings["tags"] = tags
        inner = int(model.get_input_embeddings().weight.shape[1])
        self.mapper = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, soft * inner))
        self.norm = nn.LayerNorm(inner)
        typical = model.get_input_embeddings().weight.detach().norm(dim=1).mean()
        self.register_buffer("size", typical / math.sqrt(inner))  # soft prompts begin as long as words are
        self.register_buffer("name_vectors", torch.zeros(len(self.names), width))

    def ids(self, texts: Sequence[str], *, end: bool = False) -> list[list[int]]:
        """Ids of texts in the model; with `end`, the end token behind them.

        Raises:
            WrongValue: a text with a token that the model was cut off.
        """
        lines = [tokens_of(self.tokenizer, text) for text in texts]
        lacking = {word for line in lines for word in line} - self.place.keys()
        if lacking:
            shown = self.tokenizer.decode([min(lacking)])
            raise WrongValue(f"the captioner's model was cut to some words, {shown!r} is none of them")
        last = [self.place[self.tokenizer.eos_token_id]] if end else []
        return [[self.place[word] for word in line] + last for line in lines]

    def nearest(self, vectors: Float[Tensor, "b e"], count: int) -> Int[Tensor, "b k"]:
        """The places of the names nearest to each vector, the nearest first."""
        if count > len(self.names):
            raise WrongValue(f"{count} names wanted, the captioner has {len(self.names)}")
        return (vectors @ self.name_vectors.T).topk(count, dim=1).indices

    def prompt(self, vectors: Float[Tensor, "b e"], tags: Sequence[Sequence[str]] | None = None) -> Padded:
        """Vectors `(B, T, D)` that stand before a caption: the soft prompt, and behind it the tags' words."""
        return self._behind(vectors, [[] for _ in vectors] if tags is None else self._hard(tags))

    def losses(
        self,
        vectors: Float[Tensor, "b e"],
        captions: Padded,
        tags: Sequence[Sequence[str]] | None = None,
    ) -> Float[Tensor, " b"]:
        """-log p of each caption, summed over its tokens, in nats.

        Args:
            vectors: of unit length.
            captions: ids `(B, T)` as `ids(..., end=True)` gives them.
            tags: names of each hard prompt; None: no hard prompt.
        """
        hard = [[] for _ in vectors] if tags is None else self._hard(tags)
        said = [row[:length].tolist() for row, length in zip(captions.values, captions.lengths.tolist(), strict=True)]
        whole = self._behind(vectors, [before + line for before, line in zip(hard, said, strict=True)])
        starts = torch.tensor([self.soft + len(before) for before in hard], device=vectors.device)
        # what follows is padding, behind which nothing looks: the causal mask alone is right
        logits_BTV = self.model(inputs_embeds=whole.values, use_cache=False).logits
        places_BT = (starts[:, None] - 1 + torch.arange(captions.values.shape[1], device=vectors.device)).clamp(
            max=logits_BTV.shape[1] - 1
        )
        logits_BTV = logits_BTV.gather(1, places_BT[:, :, None].expand(-1, -1, logits_BTV.shape[2]))
        each_BT = cross_entropy(logits_BTV.flatten(0, 1).float(), captions.values.flatten(), reduction="none")
        return torch.where(captions.mask, each_BT.view_as(captions.values), 0.0).sum(1)

    @torch.inference_mode()
    def captions(
        self,
        vectors: Float[Tensor, "b e"],
        decoding: Decoding | None = None,
        *,
        tags: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """A sentence for each vector.

        Args:
            vectors: `(B, E)` of the space, of unit length.
            decoding: how; None is greedy.
            tags: how many of the nearest names stand in the hard prompt; None: the captioner's own number.
            generator: for decoders that draw.
        """
        was_training = self.training
        self.eval()
        tags = self.tags if tags is None else tags
        vectors = vectors.to(self.name_vectors.device)
        said = [[self.names[at] for at in row] for row in self.nearest(vectors, tags).tolist()] if tags else None
        end = self.place[self.tokenizer.eos_token_id]
        found = continued(self.model, self.prompt(vectors, said), decoding, ends=[end], generator=generator)
        self.train(was_training)
        lines = [row[:length].tolist() for row, length in zip(found.values, found.lengths.tolist(), strict=True)]
        texts = [self.tokenizer.decode([self.words[at] for at in line if at != end]) for line in lines]
        return [" ".join(str(text).split()) for text in texts]

    def save(self, folder: str | Path) -> Path:
        """Write the language model and the tokenizer as `transformers` does, the rest as safetensors and JSON."""
        folder = Path(folder)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder / "model")
        self.tokenizer.save_pretrained(folder / "tokenizer")
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("model.")}
        save_file(own | {"words": torch.tensor(self.words)}, folder / "captioner.safetensors")
        described = {"format": FORMAT, **self.settings}
        (folder / "captioner.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Captioner:
        """Read what `save` wrote; nothing is unpickled and no hub is asked.

        Raises:
            WrongValue: no captioner there, or one of another format.
        """
        folder = Path(folder)
        if not (folder / "captioner.json").is_file():
            raise WrongValue(f"{folder} holds no captioner (no captioner.json): give the `captioner` folder of a run")
        settings = json.loads((folder / "captioner.json").read_text(encoding="utf-8"))
        if settings.pop("format") != FORMAT:
            raise WrongValue(f"{folder} is a captioner of another format, this version reads format {FORMAT}")
        model = AutoModelForCausalLM.from_pretrained(folder / "model", use_safetensors=True, dtype=torch.float32)
        own = load_file(folder / "captioner.safetensors")
        words = own.pop("words").tolist()
        captioner = cls(model, AutoTokenizer.from_pretrained(folder / "tokenizer"), words=words, **settings)
        captioner.load_state_dict(own | {f"model.{name}": value for name, value in model.state_dict().items()})
        return captioner.eval()

    def _hard(self, tags: Sequence[Sequence[str]]) -> list[list[int]]:
        return self.ids([self.template.format(", ".join(names)) if names else "" for names in tags])

    def _behind(self, vectors: Tensor, lines: list[list[int]]) -> Padded:
        """Soft prompts, and tokens behind them, as vectors of the model."""
        soft_BSD = self.norm(self.mapper(vectors).unflatten(1, (self.soft, -1))) * self.size
        lengths = torch.tensor([len(line) for line in lines], device=vectors.device)
        ids = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.int64)
        for row, line in zip(ids, lines, strict=True):
            row[: len(line)] = torch.tensor(line, dtype=torch.int64)
        words_BTD = self.model.get_input_embeddings()(ids.to(vectors.device))
        return Padded(torch.cat([soft_BSD.to(words_BTD.dtype), words_BTD], dim=1), lengths + self.soft)


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that stands behind others, without special tokens."""
    return list(tokenizer(f" {text}", add_special_tokens=False)["input_ids"]) if text else []


@torch.no_grad()
def cut(model: Any, *, layers: int | None = None, words: Sequence[int] | None = None) -> Any:
    """A copy of a causal language model with its first layers and some of its words; inputs and head untied.

    Args:
        model: of `transformers`.
        layers: how many; None keeps all.
        words: token ids to keep, whose places in this list are the new ids; None keeps all.

    Raises:
        WrongValue: more layers than there are, or none.
    """
    config = deepcopy(model.config)
    have = config.num_hidden_layers
    if layers is not None and not 1 <= layers <= have:
        raise WrongValue(f"layers={layers}: the model has {have}")
    config.num_hidden_layers = layers or have
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    kept = torch.arange(config.vocab_size) if words is None else torch.tensor(list(words))
    config.vocab_size, config.tie_word_embeddings = len(kept), False
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None  # those were ids of all words
    with torch.random.fork_rng(devices=[]):
        small = type(model)(config)
    shapes = {name: value.shape for name, value in small.state_dict().items()}
    same = {name: value for name, value in model.state_dict().items() if shapes.get(name) == value.shape}
    small.load_state_dict(same, strict=False)
    small.get_input_embeddings().weight.copy_(model.get_input_embeddings().weight[kept])
    small.get_output_embeddings().weight.copy_(model.get_output_embeddings().weight[kept])
    return small.to(model.dtype).eval()


def remembered(
    vectors: Float[Tensor, "b e"], memory: Float[Tensor, "n e"], *, temperature: float = 0.01
) -> Float[Tensor, "b e"]:
    """Vectors made anew of a memory's: normalised sums weighted by softmax(cosine / temperature) (DeCap, WSAC)."""
    return normalize((vectors @ memory.T / temperature).softmax(1) @ memory, dim=1)
