"""Pictures with captions, for a language model that reads text alone: what a connector learns of them, and controls.

A connector (`encoders.connected`) is trained by captioning, the language model and the picture encoder frozen: the
pictures' cells are computed once, and what stands in front of a picture is read once. Then pictures are read in the
same prompt as texts.

Axes: B pictures, C cells, L tokens of a caption, T tokens behind a picture, N training pictures, E width of the space.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate
from antiphon.data.pairs import Pairs, expand, signal_of, splits
from antiphon.decode import BadInput, clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.batched import embed_items
from antiphon.encoders.connected import Cells, ConnectedImage, Connector
from antiphon.encoders.features import FeatureCache, Features, encode_once, file_size
from antiphon.encoders.heads import Head, HeadConfig, unit
from antiphon.encoders.open import open_encoder
from antiphon.encoders.prompted import PromptedImage
from antiphon.encoders.space import Branch
from antiphon.encoders.templates import Prompt
from antiphon.encoders.text import padded_ids
from antiphon.errors import UserError
from antiphon.recipes.mllm_embedder.rows import Twins
from antiphon.runs import Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Padded, Views

Shown = Literal["auto", "untrained", "linear"]
"""How pictures are read. auto: by the model itself, where it is one of texts and images; else by a connector that was
trained by captions. By a connector that was not (a floor). Or by no language model at all, but a linear map into a text
encoder's space that learned from the same pairs (an upper reference)."""

PENALTY = 0.3
"""Of the ridge regression, as a share of the rows; on dev, of 0.03 to 3."""


_LEAST = 1e-3
"""The weight of a token that all captions have, so that a caption of such tokens has a mean."""


class Captioning(ContrastiveLearner):
    """What a connector learns by: -log p of a caption's tokens behind the picture, their mean.

    The language model is no part of the learner: it does not learn, and a checkpoint need not hold it.

    Args:
        image: with `Features` in the place of its cells; its model is frozen.
        head: from the model's states to its words.
    """

    def __init__(self, image: ConnectedImage, head: Any) -> None:
        super().__init__()
        self.connector = image.connector
        self.frozen = (image, head)  # in a tuple, where torch does not look for parts

    def embed(self, batch: Batch) -> Views:
        """-log p of every caption in nats, and how many tokens it has."""
        image, head = self.frozen
        ids_BL: Padded = batch["ids"]
        device = ids_BL.values.device
        image.decoder.to(device)
        head.to(device)
        after = torch.tensor([image.after], dtype=torch.int64, device=device).expand(len(ids_BL), -1)
        states = image.states(batch["cells"], torch.cat([after, ids_BL.values[:, :-1]], dim=1))
        longest = ids_BL.values.shape[1]
        # flat: the words of a batch of sequences would be copied for each of them
        logits = head(states[:, -longest:].flatten(0, 1)).float()
        each_BL = cross_entropy(logits, ids_BL.values.flatten(), reduction="none")
        nats = torch.where(ids_BL.mask, each_BL.view_as(ids_BL.values), 0.0).sum(1)
        return {"nats": nats, "tokens": ids_BL.lengths}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The mean over all tokens."""
        return {"caption": views["nats"].sum() / views["tokens"].sum()}


class Ids:
    """Collates token ids."""

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pad lists of ids; None becomes length zero."""
        return padded_ids([[] if item is None else list(item) for item in items], 0)


def shows_pictures(columns: Sequence[str]) -> bool:
    """Whether one of the columns holds pictures."""
    return any(signal_of(column) == "image" for column in columns)


def pictured(
    pairs: Pairs, cells: Cells | PromptedImage, run: Run, *, most: int | None
) -> tuple[dict[str, Twins], dict[str, Tensor]]:
    """Pairs of a picture and its caption by split, and the pictures' tokens by key; no concept is in two splits.

    The first column asks for the second: `columns=("image", "text")`. Pairs are of one class that agree in what the
    rows are split by. Rows are divided the same way in every run, since runs share the connector.

    Args:
        pairs: rows with pictures and texts.
        cells: the frozen encoder: of cells, or the model that reads pictures itself, which gives one vector.
        run: is told of pictures that cannot be read.
        most: at most so many pairs of a split, drawn the same way each time.

    Raises:
        UserError: columns of other signals, or a split without pairs.
    """
    if sorted(signal_of(column) for column in pairs.columns) != ["image", "text"]:
        raise UserError(f"data.columns={','.join(pairs.columns)}: wanted one of pictures and one of texts")
    found: dict[str, Twins] = {}
    cells_of: dict[str, Tensor] = {}
    cache = FeatureCache(cache_folder() / "features")
    for split, rows in splits(pairs, 0).items():
        (column,), (text,) = (expand((name,), rows.column_names) for name in sorted(pairs.columns))
        places = list(range(len(rows)))
        random.Random(0).shuffle(places)
        rows = rows.select(sorted(places[:most]))

        def refuse(at: int, error: BadInput, rows: Any = rows, column: str = column) -> None:
            run.quarantine(column, str(rows["id"][at]), str(error))

        encoded = encode_once(cells, list(rows[column]), cache, size=file_size, refused=refuse)
        told = [clean_text(one) if isinstance(one, str) else "" for one in rows[text]]
        kept = [at for at, one in enumerate(encoded) if one is not None and told[at]]
        if not kept:
            raise UserError(f"{split}: no rows with both a picture and a caption")
        keys = [f"picture {rows['id'][at]}" for at in kept]
        cells_of |= {key: encoded[at] for key, at in zip(keys, kept, strict=True)}  # type: ignore[misc]
        twins = Twins(keys, [told[at] for at in kept], [str(rows["label"][at]) for at in kept])
        found[split] = twins if signal_of(pairs.columns[0]) == "image" else twins.turned()
    return found, cells_of


def connected(
    model: Any, tokenizer: Any, prompt: Prompt, eye: Encoder, *, hidden: int, cells: Sequence[Tensor]
) -> ConnectedImage:
    """A picture encoder with an untrained connector, always the same, over these training pictures' cells."""
    words = model.get_input_embeddings().weight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        connector = Connector(eye.width, words.shape[1], hidden=hidden)
    connector.measure(torch.stack(list(cells)).float(), words)
    return ConnectedImage(model, tokenizer, prompt, eye, connector)


def learn_captions(
    image: ConnectedImage, model: Any, train: Twins, cells: Mapping[str, Tensor], cfg: Train, run: Run
) -> None:
    """Train the connector in place: each training picture, and behind it its caption and the end token."""
    model.requires_grad_(False)
    stand_in, end = Features(image.cells.width, signal="image"), image.tokenizer.eos_token_id
    pairs = picture_first(train, cells)
    told = [image.tokenizer(said, add_special_tokens=False)["input_ids"] for _, said in pairs]
    shown = torch.stack([cells[key] for key, _ in pairs]).float()
    image.connector.begin(shown, telling_means(told, model.get_input_embeddings().weight))
    rows = [
        {"id": f"{at:06}", "cells": cells[key], "ids": [*ids, end]}
        for at, ((key, _), ids) in enumerate(zip(pairs, told, strict=True))
    ]
    learner = Captioning(image.over(stand_in).train(), model.get_output_embeddings())
    fit(learner, rows, cfg, run, collate=Collate({"cells": stand_in, "ids": Ids()}, seed=run.seed))
    image.connector.eval()


def telling_means(told: Sequence[Sequence[int]], words_VD: Tensor) -> Tensor:
    """The mean vector `(N, D)` of each text's tokens, rare ones weighing more: by log N / texts with the token."""
    seen = Counter(word for ids in told for word in set(ids))
    weights = [torch.tensor([math.log(len(told) / seen[word]) + _LEAST for word in ids]) for ids in told]
    means = [w @ words_VD[torch.tensor(ids)].float() / w.sum() for ids, w in zip(told, weights, strict=True)]
    return torch.stack(means)


def picture_first(twins: Twins, cells: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Pairs of a picture's key and its caption, whichever asks."""
    return [(q, d) if q in cells else (d, q) for q, d in zip(twins.queries, twins.documents, strict=True)]


def vectors_of(image: ConnectedImage | Branch, cells: Mapping[str, Tensor]) -> dict[str, Any]:
    """A vector `(1, E)` of each picture: in the encoder's prompt, from the cache where it is there; or by a head."""
    keys = sorted(cells)
    if isinstance(image, Branch):
        return dict(zip(keys, mapped(image.head, [cells[key] for key in keys])[:, None], strict=True))
    reader = image.over(Features(image.cells.width, signal="image"))
    found = encode_once(reader, [cells[key] for key in keys], FeatureCache(cache_folder() / "features"))
    return dict(zip(keys, found, strict=True))


def linear_reference(name: str, eye: Cells, train: Twins, cells: Mapping[str, Tensor]) -> tuple[Encoder, Branch]:
    """A published text encoder, and a linear map of pictures into its space that learned from the same pairs."""
    encoder, pairs = open_encoder("text", name), picture_first(train, cells)
    told = unit(embed_items(encoder, [text for _, text in pairs]))
    return encoder, Branch(eye, linear_head(cells, [key for key, _ in pairs], told))


@torch.no_grad()
def linear_head(cells: Mapping[str, Tensor], keys: Sequence[str], texts_NE: Tensor) -> Head:
    """A head from the mean of a picture's cells to its caption's vector: ridge regression, standardised.

    Args:
        cells: by key.
        keys: of the training pictures.
        texts_NE: unit vectors of their captions.
    """
    means_NH = torch.stack([cells[key].float().mean(0) for key in keys])
    head = Head(means_NH.shape[1], texts_NE.shape[1], HeadConfig(norm="standard"))
    head.prepare(means_NH)
    inputs, centre = head.norm(means_NH).double(), texts_NE.double().mean(0)
    ridge = inputs.T @ inputs + PENALTY * len(keys) * torch.eye(inputs.shape[1], dtype=torch.float64)
    head.linear.weight.copy_(torch.linalg.solve(ridge, inputs.T @ (texts_NE.double() - centre)).T)
    head.linear.bias.copy_(centre)
    return head


@torch.no_grad()
def mapped(head: Head, cells: Sequence[Tensor]) -> Tensor:
    """Unit vectors `(N, E)` of pictures by a linear head."""
    return unit(head.linear(head.norm(torch.stack([one.float().mean(0) for one in cells]))))
