"""MultiCSR's learner: an encoder, and a layer behind it in training only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from antiphon.encoders import Encoder
from antiphon.encoders.heads import identity_head, unit
from antiphon.encoders.space import Branch
from antiphon.evaluation.collapse import CollapseWarning, CollapseWatch
from antiphon.evaluation.geometry import alignment, uniformity
from antiphon.recipes.multicsr.config import Config
from antiphon.recipes.multicsr.masking import allowed_pairs, masked_contrast, official
from antiphon.training.fit import Moment
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views


class MultiCSR(ContrastiveLearner):
    """The encoder, and a layer behind it in training only, as SimCSE has it.

    Args:
        cfg: as above.
        encoder: of texts, or `Features` in its place.
    """

    def __init__(self, cfg: Config, encoder: Encoder) -> None:
        super().__init__()
        self.cfg = cfg
        head = identity_head(encoder.width)
        head.dropout = nn.Dropout(cfg.text.head.dropout)
        self.branch = Branch(encoder, head)
        self.seen: Views = {}
        self.project = nn.Sequential(nn.Linear(encoder.width, encoder.width), nn.Tanh())

    def embed(self, batch: Batch) -> Views:
        """Unit vectors of texts, positives and hard negatives, and g's of texts and hard negatives."""
        views: Views = {}
        for name in ("text", "positive", "negative"):
            if name in batch:
                views[name] = unit(self.project(self.branch.head(self.branch.encoder(batch[name]))))
            if f"guide_{name}" in batch:
                views[f"guide_{name}"] = unit(batch[f"guide_{name}"].values[:, 0])
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """L, or the released code's; how many pairs are masked is told by `share_masked`."""
        self.seen = {name: views[name].detach() for name in ("text", "positive")}
        names = [name for name in ("positive", "negative") if name in views]
        scores_NK = views["text"] @ torch.cat([views[name] for name in names]).T / self.cfg.temperature
        there_K = torch.ones(scores_NK.shape[1], dtype=torch.bool, device=scores_NK.device)
        allowed_NK = torch.ones_like(scores_NK, dtype=torch.bool)
        if "guide_text" in views:
            guide_KD = torch.cat([views[f"guide_{name}"] for name in ("text", "negative") if name in views])
            guide_NK, rescued = views["guide_text"] @ guide_KD.T, self.cfg.loss == "contrast"
            allowed_NK = allowed_pairs(guide_NK, there_K, self.cfg.phi, rescued=rescued)
        if self.cfg.loss == "official":
            return {"official": official(scores_NK, allowed_NK, there_K)}
        return {"contrast": masked_contrast(scores_NK, allowed_NK)}

    def levels(self) -> dict[str, float]:
        """Of the last batch: `alignment`, how far positives are; `uniformity`, near 0 where all vectors are alike."""
        if len(self.seen["text"]) < 2:
            return {}
        text, positive = self.seen["text"], self.seen["positive"]
        return {"alignment": alignment(text, positive), "uniformity": uniformity(text)}


def watch() -> Callable[[Moment], None]:
    """Says in words, as a warning, when training collapses; looks without dropout, so that no chance is used up."""
    watching = CollapseWatch(patience=5)

    def look(moment: Moment) -> None:
        learner = cast(MultiCSR, moment.learner)
        was = learner.training
        with torch.no_grad():
            views = learner.eval().embed(moment.batch)
        learner.train(was)
        count = len(views["text"])
        loss, keys = moment.losses.get("contrast"), count * (1 + ("negative" in views))
        for sentence in watching.observe(moment.step, loss=loss, batch_size=keys, vectors={"text": views["text"]}):
            warnings.warn(sentence, CollapseWarning, stacklevel=2)

    return look
