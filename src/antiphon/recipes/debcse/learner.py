"""DebCSE's learner: an encoder, contrasted by what was drawn, without what the guide finds as near as a positive."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from antiphon.encoders import Encoder
from antiphon.encoders.heads import identity_head, unit
from antiphon.encoders.space import Branch
from antiphon.encoders.words import WordCnn
from antiphon.evaluation.collapse import CollapseWarning, CollapseWatch
from antiphon.evaluation.geometry import alignment, effective_rank, uniformity
from antiphon.objectives.contrast import contrast
from antiphon.objectives.negatives import debiased_contrast
from antiphon.objectives.targets import normalise_rows
from antiphon.recipes.debcse.config import Config
from antiphon.training.fit import Moment, TrainingError
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views


class DebCSE(ContrastiveLearner):
    """The encoder.

    Args:
        cfg: of the recipe.
        encoder: of texts, or `Features` in its place.
        bound: the guide's cosine from which on texts are not compared; None compares all.
    """

    def __init__(self, cfg: Config, encoder: Encoder, bound: float | None = None) -> None:
        super().__init__()
        self.cfg, self.bound = cfg, bound
        self.seen: Views = {}
        if isinstance(encoder, WordCnn):
            encoder.dropout.p = encoder.settings["dropout"] = cfg.dropout
        head = identity_head(encoder.width)
        head.dropout = nn.Dropout(cfg.text.head.dropout)
        self.branch = Branch(encoder, head)

    def embed(self, batch: Batch) -> Views:
        """Unit vectors of a text and what it drew; the guide's of the same; and what each was made of."""
        views: Views = {name: batch[name] for name in batch if name.startswith("origin_")}
        for name, items in batch.items():
            if name.startswith("guide_"):
                views[name] = unit(items.values[:, 0])
            elif f"guide_{name}" in batch:
                views[name] = unit(self.branch(items))
                views[f"has_{name}"] = items.present
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """L, from texts to positives and hard negatives."""
        self.seen = {name: views[name].detach() for name in ("text", "positive")}
        names = [name.removeprefix("has_") for name in views if name.startswith("has_") and name != "has_text"]
        keys, guide, there, origin = (
            torch.cat([views[f"{kind}{name}"] for name in names]) for kind in ("", "guide_", "has_", "origin_")
        )
        rows = len(views["text"])
        own = torch.arange(rows, device=keys.device)[:, None] == torch.arange(len(keys), device=keys.device)
        # what was made of the text itself, or is its own positive again, is no negative of it
        known = (origin == views["origin_text"][:, None]) | (origin == views["origin_positive"][:, None])
        allowed = there & ~known
        if self.bound is not None:
            allowed &= views["guide_text"] @ guide.T < self.bound
        scores = views["text"] @ keys.T / self.cfg.temperature
        if self.cfg.prior:
            return {
                "contrast": debiased_contrast(
                    scores, prior=self.cfg.prior, lowest=-1 / self.cfg.temperature, mask=allowed | own
                )
            }
        return {"contrast": contrast(scores, normalise_rows(own.to(scores.dtype)), mask=allowed | own)}

    def levels(self) -> dict[str, float]:
        """Of the last batch: how near texts are to their positives, and whether they spread over the sphere."""
        texts = self.seen["text"]
        if len(texts) < 2:
            return {}
        return {
            "alignment": alignment(texts, self.seen["positive"]),
            "uniformity": uniformity(texts),
            "rank": effective_rank(texts, centred=True),
            "cosine": mean_cosine(texts),
        }


def watch(most: float) -> Callable[[Moment], None]:
    """Says when training collapses, by the batch's vectors as they were compared.

    Args:
        most: the mean cosine of different texts above which training ends.

    Raises:
        TrainingError: from the callback, at a mean cosine above `most`.
    """
    watching = CollapseWatch(patience=5)

    def look(moment: Moment) -> None:
        learner = moment.learner
        assert isinstance(learner, DebCSE)
        texts = learner.seen["text"]
        said = watching.observe(
            moment.step, loss=moment.losses["contrast"], batch_size=len(texts), vectors={"texts": texts}
        )
        for sentence in said:
            warnings.warn(sentence, CollapseWarning, stacklevel=2)
        mean = mean_cosine(texts)
        if mean > most:
            raise TrainingError(
                f"step {moment.step}: the mean cosine of different texts is {mean:.2f}, above collapsed={most:g}: "
                "their vectors are falling together; lower train.lr, or draw positives by another rule"
            )

    return look


def mean_cosine(vectors_ND: Tensor) -> float:
    """Of every two different rows of unit vectors."""
    count = len(vectors_ND)
    return float((vectors_ND.sum(0).square().sum() - count) / max(count * (count - 1), 1))
