"""CCP's learner: f, g, the banks and the slow key encoder; its loss is L of the recipe's docstring."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from antiphon.encoders import Encoder
from antiphon.encoders.heads import Head
from antiphon.encoders.space import Branch, branches_of
from antiphon.encoders.text import TransformersText
from antiphon.objectives.contrast import contrast
from antiphon.recipes.ccp.config import Config
from antiphon.recipes.ccp.guards import Banks, Projection, mean_cosine
from antiphon.recipes.ccp.words import guesser, vectors_of
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views


class CCP(ContrastiveLearner):
    """f, g, and the banks.

    Args:
        cfg: as above.
        encoder: of texts.
        languages: how many.
    """

    def __init__(self, cfg: Config, encoder: Encoder, languages: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))})
        self.project = Projection(cfg.width, cfg.width, cfg.norm)
        self.words = guesser(encoder, cfg.text.encoder) if cfg.mlm else None
        self.slow = nn.ModuleList([deepcopy(self.branches["text"]), deepcopy(self.project)]) if cfg.momentum else None
        if self.slow is not None:
            self.slow.requires_grad_(False)
        self.banks = None if cfg.bank == "batch" else Banks(
            languages, cfg.bank_size, cfg.width, shared=cfg.bank == "shared"
        )  # fmt: skip
        self.cosine = 0.0

    def embed(self, batch: Batch) -> Views:
        """f of both sentences, by the query and the key encoder, before g: that looks at all rows, in `losses`.

        And the losses of hidden words, where the batch has any.
        """
        branch = branches_of(self.branches)["text"]
        views: Views = {name: batch[name] for name in ("number", "other", "language", "near", "near_other")}
        views["there"] = batch["text"].present & batch["context"].present
        for name in ("text", "context"):
            views[name] = branch.head(branch.encoder(batch[name]))
            if self.slow is not None:
                slow = self.slow[0]
                assert isinstance(slow, Branch)
                with torch.no_grad():
                    views[f"{name}_key"] = slow.head(slow.encoder(batch[name]))
        if self.words is not None and "masked" in batch:
            seen = branch.encoder(batch["masked"])
            vectors = vectors_of(cast("TransformersText", branch.encoder))
            views["lost"], views["asked"] = self.words(seen.tokens, batch["asked"].values, vectors)
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Both directions of L, and the weighted loss of masked words."""
        views = {name: view[views["there"]] for name, view in views.items()}
        numbers = {"text": views["number"], "context": views["other"]}
        near = {"text": views["near"], "context": views["near_other"]}
        queries = {name: self.project(views[name], query=True) for name in numbers}
        keys = self.keys_of(views)
        found = {
            f"{query}_to_{key}": self._direction(
                queries[query], keys[key], torch.cat([numbers[query][:, None], near[query]], 1), numbers[key],
                views["language"],
            )
            for query, key in (("text", "context"), ("context", "text"))
        }  # fmt: skip
        if "lost" in views:
            found["masked_words"] = self.cfg.mlm * views["lost"].sum() / views["asked"].sum().clamp(min=1)
        if self.training:
            self._move(views)
            if self.banks is not None:
                self.banks.push(keys["context"], numbers["context"], views["language"])
        self.cosine = mean_cosine(keys["context"].detach())
        return found

    def keys_of(self, views: Views) -> dict[str, Tensor]:
        """Both sentences as keys; without gradients, where they have an encoder of their own."""
        if self.slow is None:
            return {name: self.project(views[name], query=False) for name in ("text", "context")}
        with torch.no_grad():
            return {name: self.slow[1](views[f"{name}_key"], query=False) for name in ("text", "context")}

    @torch.no_grad()
    def fill(self, views: Views, size: int, seed: int) -> None:
        """Running statistics and banks from rows before training, `size` at a time: no query meets an empty bank.

        The rows are shuffled by the seed, since they come language by language.
        """
        there = views["there"].nonzero()[:, 0]
        order = there[torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))]
        places = [order[at : at + size] for at in range(0, len(order), size)]
        parts = [{name: view[some] for name, view in views.items()} for some in places]
        for part in parts:
            self._learn(part)
        for part in parts if self.banks is not None else []:
            assert self.banks is not None
            self.banks.push(self.keys_of(part)["context"], part["other"], part["language"])

    def _learn(self, views: Views) -> None:
        if self.slow is None:
            self.project.learn(views["text"].detach(), views["context"].detach())
            return
        project = self.slow[1]
        assert isinstance(project, Projection)
        project.learn(views["text_key"], views["context_key"])

    @torch.no_grad()
    def _move(self, views: Views) -> None:
        """Running statistics of the keys by this batch, and the key encoder a little towards the query encoder."""
        self._learn(views)
        if self.slow is None:
            return
        for slow, fast in zip(self.slow, (self.branches["text"], self.project), strict=True):
            for mine, theirs in zip(slow.parameters(), fast.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.cfg.momentum)

    def _direction(self, queries: Tensor, keys: Tensor, near: Tensor, other: Tensor, language: Tensor) -> Tensor:
        """L of queries in rows, each language with its own negatives.

        Neither the query itself nor any sentence of its window is one: `near` `(B, 1 + 2 window)` holds their numbers.
        """
        total = queries.new_zeros(())
        for code in sorted(set(language.tolist())):
            rows = (language == code).nonzero()[:, 0]
            if self.banks is None:
                against, numbers, filled = keys[rows], other[rows], torch.ones_like(rows, dtype=torch.bool)
            else:
                against, numbers, filled = self.banks.of(code)
            allowed = filled & (near[rows, :, None] != numbers).all(1)
            positive = (queries[rows] * keys[rows]).sum(1, keepdim=True)
            scores = torch.cat([positive, queries[rows] @ against.to(queries).T], 1) / self.cfg.temperature
            targets = torch.zeros_like(scores)
            targets[:, 0] = 1
            mask = torch.cat([torch.ones_like(allowed[:, :1]), allowed], 1)
            total = total + len(rows) / len(language) * contrast(scores, targets, mask=mask)
        return total

    def levels(self) -> dict[str, float]:
        """The mean cosine of different keys: near 1, all are alike."""
        return {"mean_cosine": self.cosine}
