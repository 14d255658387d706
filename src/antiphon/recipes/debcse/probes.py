"""What DebCSE is measured by: similarity of sentences, and the biases that it is to take away.

Axes: N pairs or texts, D width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from antiphon.decode import split_words
from antiphon.encoders.items import Items
from antiphon.encoders.space import Branch
from antiphon.evaluation.floors import jaccard, tfidf_cosines
from antiphon.evaluation.sts import Embed, similarities, word_floors
from antiphon.runs import Measures


@dataclass(frozen=True)
class Trial:
    """What every run of the recipe is measured on.

    Attributes:
        scored: pairs with scores, by split and name.
        intents: texts with classes.
        held: texts that have nothing to do with each other, and that nothing was trained on.
        counts: of the words of the texts that were trained on.
    """

    scored: dict[str, Any]
    intents: Any
    held: list[str]
    counts: Counter[str]

    def texts(self) -> list[str]:
        """All texts that `measured` will ask for."""
        pairs = [text for rows in self.scored.values() for side in ("text_1", "text_2") for text in rows[side]]
        return [*pairs, *([] if self.intents is None else self.intents["text"]), *self.held]

    def measured(self, items: Items, branch: Branch) -> Measures:
        """Similarity of every set, their means by split, and the biases of a branch over what stands for texts."""
        embed = partial(items.vectors, branch)
        told = biases(embed(self.held), norms(items, branch, self.held), self.held, self.counts)
        inside = {name: pair_cosines(embed, rows) for name, rows in self.scored.items()}
        return (
            similarities(embed, self.scored)
            | self._even(inside)
            | {f"bias/{key}": value for key, value in told.items()}
        )

    def floors(self) -> Measures:
        """What words alone tell of every set, and the means."""
        found = word_floors(self.scored)
        for name, told in (("jaccard", _jaccards), ("tfidf", _tfidf)):
            values = {key: told(list(rows["text_1"]), list(rows["text_2"])) for key, rows in self.scored.items()}
            found |= {f"{name}/{key}": value for key, value in self._even(values).items()}
        return found

    def _even(self, values: Mapping[str, Sequence[float]]) -> Measures:
        """`even` of each set where it can be told, and the means over a split's sets."""
        found = {name: even(each, self.scored[name]) for name, each in values.items()}
        kept = {f"{name}/sts_even": value for name, value in found.items() if value is not None}
        for split in sorted({name.split("/")[0] for name in kept}):
            own = [value for name, value in kept.items() if name.startswith(f"{split}/")]
            kept[f"{split}/sts_even"] = sum(own) / len(own)
        return kept


def even(values: Sequence[float], rows: Any, *, least: int = 30) -> float | None:
    """Spearman's correlation with scores among pairs whose lengths differ alike, so that lengths tell nothing.

    The mean over bins of one difference in words each, weighed by their pairs; None where no bin can be told.

    Args:
        values: of the pairs.
        rows: scored pairs.
        least: pairs of a bin.
    """
    bins: dict[int, list[int]] = {}
    for at, (first, second) in enumerate(zip(rows["text_1"], rows["text_2"], strict=True)):
        bins.setdefault(abs(len(split_words(first)) - len(split_words(second))), []).append(at)
    scores, found = list(rows["score"]), []
    for places in bins.values():
        own, wanted = [float(values[at]) for at in places], [scores[at] for at in places]
        if len(places) >= least and len(set(wanted)) > 1 and max(own) - min(own) > 1e-12:
            found.append((len(places), float(spearmanr(own, wanted).statistic)))
    return sum(size * value for size, value in found) / sum(size for size, _ in found) if found else None


def pair_cosines(embed: Embed, rows: Any) -> list[float]:
    """The cosine of each pair."""
    cosines: list[float] = (embed(list(rows["text_1"])) * embed(list(rows["text_2"]))).sum(1).tolist()
    return cosines


@torch.inference_mode()
def norms(items: Items, branch: Branch, texts: Sequence[str]) -> Float[Tensor, " n"]:
    """How long the vectors of texts are before they are made unit vectors."""
    was = branch.training
    branch.eval()
    device = next(branch.head.parameters()).device
    parts = [[items.of[text] for text in texts[at : at + 256]] for at in range(0, len(texts), 256)]
    found = [branch.head(branch.encoder(branch.encoder.collate(part).to(device))).norm(dim=1).cpu() for part in parts]
    branch.train(was)
    return torch.cat(found)


def biases(
    vectors_ND: Float[Tensor, "n d"],
    norms_N: Float[Tensor, " n"],
    texts: Sequence[str],
    counts: Counter[str],
    *,
    pairs: int = 5000,
    seed: int = 0,
) -> Measures:
    """How far vectors follow what is no meaning; 0 is best.

    `length`: the size of Spearman's correlation of cosines with how much lengths differ, over random pairs.
    `frequency`: that of the first principal component with the mean log frequency of a text's words; `norm`: that of
    the length of vectors with it. 0 where all texts are alike in it: there is nothing to follow.

    Args:
        vectors_ND: unit vectors of the texts.
        norms_N: their lengths before that.
        texts: that have nothing to do with each other.
        counts: of words, in a corpus.
        pairs: at random.
        seed: of the pairs.
    """
    vectors, sizes = vectors_ND.double(), norms_N.double()
    first, second = torch.randint(len(texts), (2, pairs), generator=torch.Generator().manual_seed(seed))
    first, second = first[first != second], second[first != second]
    lengths = torch.tensor([len(split_words(text)) for text in texts]).double()
    cosines = (vectors[first] * vectors[second]).sum(1)
    frequency = [float(np.mean([math.log1p(counts[word]) for word in split_words(text)] or [0.0])) for text in texts]
    centred = vectors - vectors.mean(0)
    component = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]
    apart = (lengths[first] - lengths[second]).abs()
    varied = max(frequency) - min(frequency) > 1e-12
    return {
        "length": abs(float(spearmanr(cosines, apart).statistic)) if apart.any() else 0.0,
        "frequency": abs(float(np.corrcoef(component, frequency)[0, 1])) if varied else 0.0,
        "norm": abs(float(np.corrcoef(sizes, frequency)[0, 1])) if varied and sizes.std() > 1e-9 else 0.0,
    }


def _tfidf(first: Sequence[str], second: Sequence[str]) -> list[float]:
    cosines: list[float] = tfidf_cosines(first, second).tolist()
    return cosines


def _jaccards(first: Sequence[str], second: Sequence[str]) -> list[float]:
    return [jaccard(a, b) for a, b in zip(first, second, strict=True)]


def false_negatives(
    guide: Embed, texts: Sequence[str], classes: Sequence[str], bound: float | None, *, batch_size: int, seed: int
) -> Measures:
    """Shares of pairs of one class among pairs of a batch: `all` of them, and those that a guard `left`.

    Args:
        guide: unit vectors of the frozen guide.
        texts: N.
        classes: of the texts.
        bound: pairs at this cosine or above are not compared; None compares all.
        batch_size: of a batch.
        seed: of the order.
    """
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    vectors = guide([texts[at] for at in order])
    places = {name: place for place, name in enumerate(sorted(set(classes)))}
    numbers = torch.tensor([places[classes[at]] for at in order])
    same, kept = [], []
    for start in range(0, len(order) - batch_size + 1, batch_size):
        part = slice(start, start + batch_size)
        others = ~torch.eye(batch_size, dtype=torch.bool)
        same.append((numbers[part, None] == numbers[part])[others])
        kept.append((vectors[part] @ vectors[part].T < (2.0 if bound is None else bound))[others])
    alike, left = torch.cat(same), torch.cat(kept)
    return {"all": float(alike.double().mean()), "left": float(alike[left].double().mean())}
