"""What a space of texts is worth for classification: by the classes' names alone, and from a few examples of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from antiphon.encoders.space import Space
from antiphon.evaluation.floors import TfIdf, jaccards, published
from antiphon.evaluation.geometry import uniformity
from antiphon.evaluation.probe import few_shot
from antiphon.evaluation.zeroshot import zero_shot
from antiphon.runs import Measures

SHOTS = (1, 5, 10)

Table = Mapping[str, Mapping[str, list[str]]]
"""Columns by split, as lists: a data set gives a column anew, row by row, each time it is asked."""


def space_scores(
    space: Space, data: Table, column: str, classes: str | None, seed: int, *, shots: Sequence[int] = SHOTS
) -> Measures:
    """Accuracies of a space on dev and test, and how evenly the texts are spread in it."""
    found: Measures = {}
    for split in ("dev", "test"):
        vectors = space.embed(text=data[split][column])
        found[f"{split}/uniformity"] = uniformity(vectors)
        if classes is not None:
            names = sorted(set(data[split][classes]))
            found |= _accuracies(split, vectors, space.embed(text=names), names, data[split][classes], seed, shots)
    return found


def word_scores(data: Table, column: str, classes: str, seed: int, *, shots: Sequence[int] = SHOTS) -> Measures:
    """The floor: TF-IDF, its document frequencies those of the training texts and of the classes' names."""
    found: Measures = {}
    for split in ("dev", "test"):
        names = sorted(set(data[split][classes]))
        model = TfIdf([*data["train"][column], *names])
        texts, of_names = (torch.from_numpy(model(part).toarray()) for part in (data[split][column], names))
        found |= _accuracies(split, texts, of_names, names, data[split][classes], seed, shots)
    return found


def overlap_scores(data: Table, column: str, classes: str) -> Measures:
    """Another floor, of classes' names alone: words in common over words in either (Jaccard)."""
    found: Measures = {}
    for split in ("dev", "test"):
        names = sorted(set(data[split][classes]))
        overlaps = torch.from_numpy(jaccards(data[split][column], names))
        found |= _accuracies(split, overlaps, torch.eye(len(names)), names, data[split][classes], 0, ())
    return found


def model_scores(
    name: str, data: Table, column: str, classes: str, seed: int, *, shots: Sequence[int] = SHOTS
) -> Measures:
    """An upper reference: a published text encoder, as it is."""
    names = {split: sorted(set(data[split][classes])) for split in ("dev", "test")}
    texts = [text for split in names for text in (*data[split][column], *names[split])]
    of = dict(zip(texts, published(name, texts), strict=True))
    found: Measures = {}
    for split in names:
        asked, of_names = (torch.stack([of[text] for text in part]) for part in (data[split][column], names[split]))
        found |= _accuracies(split, asked, of_names, names[split], data[split][classes], seed, shots)
    return found


def _accuracies(
    split: str,
    texts: Tensor,
    of_names: Tensor,
    names: list[str],
    classes: Sequence[str],
    seed: int,
    shots: Sequence[int],
) -> Measures:
    numbers = {name: number for number, name in enumerate(names)}
    labels = torch.tensor([numbers[name] for name in classes])
    asked = zero_shot(texts, torch.nn.functional.normalize(of_names, dim=1), labels).as_dict()
    found = {f"{split}/zero_shot/{name}": asked[name] for name in ("accuracy", "chance", "majority")}
    fewest = int(torch.bincount(labels).min())  # a class wants an example more, to be asked about
    found |= {
        f"{split}/few_shot/{number}": few_shot(texts, labels, shots=number, seed=seed)
        for number in shots
        if number < fewest
    }
    return found | {f"{split}/few_shot/left_out": sum(number >= fewest for number in shots)}
