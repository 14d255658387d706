"""What ALIP's rows are made of: coarse captions by a tagger that never saw them, and texts dealt out anew.

Axes: N rows, D width of picture features, G tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from antiphon.data.cache import cache_folder
from antiphon.data.splits import split_by
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.towers import Tower, encode_columns
from antiphon.errors import UserError
from antiphon.runs import Run


class Tagger:
    """Guesses tags from features of pictures: ridge regression from standardised features to whether a tag is there.

    Args:
        features_ND: of the pictures that it learns from; captions are for others.
        tags: of each.
        most: G, the most frequent tags that it knows.
        penalty: of the ridge, as a share of the rows.

    Raises:
        ValueError: fewer than three tags.
    """

    def __init__(
        self, features_ND: Float[Tensor, "n d"], tags: Sequence[Sequence[str]], *, most: int = 300, penalty: float = 1.0
    ) -> None:
        counts = Counter(tag for own in tags for tag in set(own))
        self.names = [tag for tag, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]
        if len(self.names) < 3:
            raise ValueError(f"{len(self.names)} different tags: a caption names three")
        places = {tag: at for at, tag in enumerate(self.names)}
        there_NG = torch.zeros(len(tags), len(self.names), dtype=torch.float64)
        for row, own in zip(there_NG, tags, strict=True):
            row[[places[tag] for tag in own if tag in places]] = 1
        wide_ND = features_ND.double()
        self.mean, self.rate = wide_ND.mean(0), 1 / wide_ND.std(0).clamp(min=1e-6)
        self.prior = there_NG.mean(0)
        inputs_ND = (wide_ND - self.mean) * self.rate
        gram_NN = inputs_ND @ inputs_ND.T  # the dual form: there are fewer rows than numbers
        gram_NN.diagonal().add_(penalty * len(tags) * inputs_ND.shape[1] / 100)
        self.weights = inputs_ND.T @ torch.linalg.solve(gram_NN, there_NG - self.prior)

    def __call__(self, features_ND: Float[Tensor, "n d"]) -> list[list[str]]:
        """The three tags that are likeliest for each picture, the likeliest first."""
        scores_NG = (features_ND.double() - self.mean) * self.rate @ self.weights + self.prior
        return [[self.names[at] for at in row] for row in scores_NG.topk(3, dim=1).indices.tolist()]


def captioned(
    rows: Dataset, column: str, tower: Tower, run: Run, *, taught: float
) -> tuple[Dataset, list[str | None], float]:
    """Rows that the tagger has not seen, their captions, and which share of the captions' tags is right.

    Args:
        rows: with `id`, `image` and `label`; rows of one label are all seen or none.
        column: comma-separated words.
        tower: the frozen encoder of pictures that the tagger stands on.
        run: its seed divides the rows; pictures that cannot be used are noted there, and have no caption.
        taught: the share of the rows that the tagger learns from.
    """
    parts = split_by(rows, "label", seed=run.seed, shares={"tagger": taught, "train": 1 - taught})
    seen: dict[str, list[dict[str, Any]]] = {name: [{"id": one} for one in part["id"]] for name, part in parts.items()}
    cache = FeatureCache(cache_folder() / "features")
    encode_columns(seen, parts, ["image"], tower.open("image"), cache, keep=1, refused=run.quarantine)
    there = {name: [at for at, row in enumerate(each) if row["image"] is not None] for name, each in seen.items()}
    features = {name: torch.cat([seen[name][at]["image"] for at in each]) for name, each in there.items()}
    tags = {name: [tags_of(one) for one in part[column]] for name, part in parts.items()}
    guessed = Tagger(features["tagger"], [tags["tagger"][at] for at in there["tagger"]])(features["train"])
    captions: list[str | None] = [None] * len(seen["train"])
    right = 0
    for at, guess in zip(there["train"], guessed, strict=True):
        captions[at] = caption(guess)
        right += len(set(guess) & set(tags["train"][at]))
    return parts["train"], captions, right / (3 * len(guessed))


def check_column(rows: Dataset, column: str, purpose: str) -> None:
    """Refuse rows that lack a column that captions come from.

    Raises:
        UserError: saying how to name another.
    """
    if column not in rows.column_names:
        raise UserError(
            f"no column {column!r} for {purpose}: the rows have {', '.join(rows.column_names)}: name one by caption= "
            "(captions) or tags= (comma-separated words)"
        )


def caption(tags: Sequence[str]) -> str:
    """A sentence of the kind that a captioner writes."""
    return f"a picture of {', '.join(tags[:-1])} and {tags[-1]}"


def tags_of(text: str | None) -> list[str]:
    """Comma-separated words as a list, in lower case."""
    return [tag for tag in (word.strip().lower() for word in (text or "").split(",")) if tag]


def mislead(rows: Sequence[dict[str, Any]], share: float, seed: int) -> None:
    """Deal the texts of a random share of the rows out anew among them; `moved` tells whose text is another's."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[: round(share * len(rows))].tolist()
    before = [(rows[at]["text"], rows[at]["label"]) for at in chosen]
    for row in rows:
        row["moved"] = 0
    for at, (text, label) in zip(chosen, before[1:] + before[:1], strict=True):
        rows[at]["moved"] = int(rows[at]["label"] != label)
        rows[at]["text"], rows[at]["label"] = text, label


def told_apart(values_N: Float[Tensor, " n"], right_N: Bool[Tensor, " n"]) -> float:
    """The area under the ROC curve: how often a right row's value is above a wrong one's; ties count half.

    Raises:
        ValueError: all rows are right, or all wrong.
    """
    right, values = right_N.cpu().numpy(), values_N.double().cpu().numpy()
    count = int(right.sum())
    if count in (0, len(right)):
        raise ValueError(f"{count} of {len(right)} rows are right: wanted some of both kinds")
    below = np.sum(rankdata(values)[right]) - count * (count + 1) / 2
    return float(below / (count * (len(right) - count)))
