"""What the captioner is trained on, and what it is asked about: everything as vectors of the space, made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor

from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate
from antiphon.data.sources.captions import WORDS, mentions
from antiphon.decode import BadInput
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features, encode_once
from antiphon.encoders.space import Branch
from antiphon.types import Padded


class Ids:
    """Collates token ids that are ids already."""

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pad lists of ids; None becomes length zero."""
        lengths = torch.tensor([0 if item is None else len(item) for item in items], dtype=torch.int64)
        values = torch.zeros(len(items), max([1, *lengths.tolist()]), dtype=torch.int64)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                row[: len(item)] = torch.tensor(item, dtype=torch.int64)
        return Padded(values, lengths)


@dataclass(frozen=True)
class Heard:
    """Sounds that a captioner is asked about.

    Args:
        names: file or row names, for people.
        kinds: what each is.
        vectors: of the sounds, in the space.
        references: captions of each sound, or of its kind.
    """

    names: list[str]
    kinds: list[str]
    vectors: Float[Tensor, "n e"]
    references: list[list[str]]


@torch.inference_mode()
def vectors_of(
    branch: Branch,
    encoder: Encoder,
    items: Sequence[Any],
    keep: int,
    refused: Callable[[int, BadInput], None] | None = None,
) -> Float[Tensor, "n e"]:
    """Unit vectors of items; the frozen encoder's part comes from the cache."""
    tokens = encode_once(encoder, items, FeatureCache(cache_folder() / "features"), keep=keep, refused=refused)
    stand_in, was_training = Features(encoder.width, signal=encoder.signal), branch.training
    branch.eval()
    found: Tensor = branch(stand_in.collate(tokens).to(next(branch.head.parameters()).device)).cpu()
    branch.train(was_training)
    return found


def neighbours(vectors: Float[Tensor, "n e"], count: int) -> Float[Tensor, "n k e"]:
    """Each vector, and behind it its nearest others, the nearest first."""
    scores = vectors @ vectors.T
    scores.fill_diagonal_(float("inf"))
    return vectors[scores.topk(min(count + 1, len(vectors)), dim=1).indices]


def augmented(item: Tensor, generator: torch.Generator, *, replace: float, variance: float) -> Tensor:
    """norm(e' + noise): e' the caption's own vector, or by chance one of its neighbours'; `(1 + k, E)` to `(1, E)`.

    Args:
        item: the own vector first.
        generator: of the chance.
        replace: how often a neighbour stands in.
        variance: of the noise, in each dimension.
    """
    chance = float(torch.rand((), generator=generator))
    other = int(torch.randint(max(1, len(item) - 1), (), generator=generator)) + 1
    vector = item[other if chance < replace and len(item) > 1 else 0]
    noise = torch.randn(vector.shape, generator=generator) * variance**0.5
    return torch.nn.functional.normalize(vector + noise, dim=0)[None]


def collate_of(width: int, *, replace: float, variance: float, tags: int, seed: int) -> Collate:
    """Batches of an augmented vector, chances of spoiled tags, and a caption's ids."""
    columns: dict[str, Any] = {"vector": Features(width, signal="vector"), "ids": Ids()}
    changes: dict[str, Any] = {
        "vector": lambda item, generator: augmented(item, generator, replace=replace, variance=variance)
    }
    of = {}
    if tags:
        columns["chance"] = Features(2 * tags + 1, signal="chance")
        changes["chance"] = lambda _, generator: torch.rand(1, 2 * tags + 1, generator=generator)
        of["chance"] = "ids"
    return Collate(columns, augment=changes, of=of, seed=seed)


def in_place_of_texts(
    vectors: Float[Tensor, "n e"], kinds: Sequence[str], captions: Sequence[str], seed: int
) -> tuple[Float[Tensor, "m e"], list[int]]:
    """For each caption of a kind that was heard, a sound's vector of that kind, drawn by the seed; and its place."""
    generator = torch.Generator().manual_seed(seed)
    of: dict[str, list[int]] = {}
    for at, kind in enumerate(kinds):
        of.setdefault(kind, []).append(at)
    places = [at for at, kind in enumerate(captions) if kind in of]
    drawn = [of[captions[at]][int(torch.randint(len(of[captions[at]]), (), generator=generator))] for at in places]
    return vectors[drawn], places


def references_of(data: Dataset, references: Dataset | None, classes: str | None) -> list[list[str]]:
    """Captions to compare with: those of the row's kind, or without kinds the row's own."""
    if references is None or classes is None:
        return [[text] for text in data["text"]]
    by_kind: dict[str, list[str]] = {}
    for text, kind in zip(references["text"], references[classes], strict=True):
        by_kind.setdefault(kind, []).append(text)
    return [by_kind.get(kind, []) for kind in data[classes]]


def names_kind(caption: str, kind: str, words: Mapping[str, Sequence[str]] = WORDS) -> bool:
    """Whether a caption mentions a kind: by its word list, or where it has none, by its own name."""
    return mentions(caption, words.get(kind, (kind,)))
