"""What DebCSE is measured by: similarity of sentences, and the biases that it is to take away.

Axes: N pairs or texts, D width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from antiphon.data.pairs import Pairs, load
from antiphon.decode import split_words
from antiphon.evaluation.sts import Embed, scored_sets, similarities, word_floors
from antiphon.runs import Measures


@dataclass(frozen=True)
class Trial:
    """What every run of the recipe is measured on.

    Attributes:
        scored: pairs with scores, by split and name.
        intents: texts with classes.
        corpus: texts that have nothing to do with each other.
        counts: of the corpus's words.
    """

    scored: dict[str, Any]
    intents: Any
    corpus: list[str]
    counts: Counter[str]

    @classmethod
    def of(cls, dev: Sequence[Pairs], test: Sequence[Pairs], intents: Pairs | None, corpus: Sequence[str]) -> Trial:
        """Read the rows."""
        counts = Counter(word for text in corpus for word in split_words(text))
        return cls(scored_sets(dev, test), None if intents is None else load(intents), list(corpus[:2000]), counts)

    def texts(self) -> list[str]:
        """All texts that `measured` will ask for."""
        pairs = [text for rows in self.scored.values() for side in ("text_1", "text_2") for text in rows[side]]
        return [*pairs, *([] if self.intents is None else self.intents["text"]), *self.corpus]

    def measured(self, embed: Embed) -> Measures:
        """Similarity of every set, their means by split, and the biases."""
        found = {f"bias/{key}": value for key, value in biases(embed, self.corpus, self.counts).items()}
        return similarities(embed, self.scored) | found

    def floors(self) -> Measures:
        """What words alone tell of every set, and the means."""
        return word_floors(self.scored)


def biases(embed: Embed, texts: Sequence[str], counts: Counter[str], *, pairs: int = 5000, seed: int = 0) -> Measures:
    """How far vectors follow what is no meaning; 0 is best.

    `length`: the size of Spearman's correlation of cosines with how much lengths differ, over random pairs.
    `frequency`: that of the first principal component with the mean log frequency of a text's words.
    Neither is there where all texts are alike in it.

    Args:
        embed: unit vectors.
        texts: that have nothing to do with each other.
        counts: of words, in a corpus.
        pairs: at random.
        seed: of the pairs.
    """
    vectors = embed(texts).double()
    first, second = torch.randint(len(texts), (2, pairs), generator=torch.Generator().manual_seed(seed))
    first, second = first[first != second], second[first != second]
    lengths = torch.tensor([len(split_words(text)) for text in texts]).double()
    cosines = (vectors[first] * vectors[second]).sum(1)
    frequency = [float(np.mean([math.log1p(counts[word]) for word in split_words(text)] or [0.0])) for text in texts]
    centred = vectors - vectors.mean(0)
    component = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]
    apart = (lengths[first] - lengths[second]).abs()
    found = {}
    if apart.any():
        found["length"] = abs(float(spearmanr(cosines, apart).statistic))
    if max(frequency) - min(frequency) > 1e-12:
        found["frequency"] = abs(float(np.corrcoef(component, frequency)[0, 1]))
    return found


def false_negatives(guide: Embed, rows: Any, bound: float | None, *, batch_size: int, seed: int) -> Measures:
    """Shares of pairs of one class among pairs of a batch: `all` of them, and those that a guard `left`.

    Args:
        guide: unit vectors of the frozen guide.
        rows: texts with the column `intent`.
        bound: pairs at this cosine or above are not compared; None compares all.
        batch_size: of a batch.
        seed: of the order.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    vectors = guide([rows["text"][at] for at in order])
    names = [rows["intent"][at] for at in order]
    numbers = torch.tensor([sorted(set(names)).index(name) for name in names])
    same, kept = [], []
    for start in range(0, len(order) - batch_size + 1, batch_size):
        part = slice(start, start + batch_size)
        others = ~torch.eye(batch_size, dtype=torch.bool)
        same.append((numbers[part, None] == numbers[part])[others])
        kept.append((vectors[part] @ vectors[part].T < (2.0 if bound is None else bound))[others])
    alike, left = torch.cat(same), torch.cat(kept)
    return {"all": float(alike.double().mean()), "left": float(alike[left].double().mean())}
