"""The learner of the text-contrast recipe: one encoder, and the loss of a cell of the taxonomy.

Axes: Q queries, K keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from antiphon.decode import split_words
from antiphon.encoders import Encoder
from antiphon.encoders.heads import Head
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.objectives.contrast import Scale, contrast
from antiphon.objectives.negatives import MemoryQueue
from antiphon.objectives.sigmoid import SigmoidScale, sigmoid_contrast
from antiphon.objectives.targets import normalise_rows
from antiphon.objectives.triplet import triplet
from antiphon.recipes.text_contrast.config import Config
from antiphon.recipes.text_contrast.rows import Row, asked_words, collate_for, most_common, word_shares
from antiphon.runs import Run
from antiphon.training.fit import fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Padded, Views


class TextContrast(ContrastiveLearner):
    """One encoder of texts, and the loss of a cell of the taxonomy.

    Args:
        cfg: as above.
        encoder: of texts, and of labels.
        shares: how often each id that the encoder makes of a word is asked for, of all; for pairing=words.
    """

    shares: Tensor

    def __init__(self, cfg: Config, encoder: Encoder, shares: Tensor | None = None) -> None:
        super().__init__()
        self.cfg = cfg
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))})
        # Without a bias of its own the few positives drown at once, and all is told apart from all (Ma and Collins).
        self.scale = SigmoidScale(1 / cfg.temperature) if cfg.loss == "binary" else Scale(cfg.temperature)
        # A key's last number says what it answers, for a text that it answers must not flee from it.
        self.queue = MemoryQueue(cfg.queue, cfg.width + 1) if cfg.negatives == "queue" else None
        self.real = nn.Linear(encoder.width, 1) if cfg.pairing == "tokens" else None
        if self.real is not None:
            branches_of(self.branches)["text"].head.requires_grad_(False)
            self.scale.requires_grad_(False)
        self.register_buffer("shares", torch.zeros(0) if shares is None else shares)

    def embed(self, batch: Batch) -> Views:
        """Unit views of the text and of its keys; of which words it consists, where words are asked for."""
        branch = branches_of(self.branches)["text"]
        views: Views = {"label": batch["label"], "share": batch["share"], "row": batch["row"]}
        if self.real is not None:
            return views | {"tokens": self._replaced(branch.encoder, batch["text"], batch["whole"])}
        for name, items in batch.items():
            if name == "whole":
                views["bag"] = torch.zeros(len(items), len(self.shares), device=items.values.device, dtype=torch.bool)
                views["bag"].scatter_(1, items.values, items.mask)
            elif isinstance(items, Padded):
                views[name] = branch(items)
                views[f"has_{name}"] = items.present
                if name.startswith("word"):
                    views[f"id_{name}"] = items.values[:, 0]
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The loss of the cell."""
        if self.real is not None:
            return {"tokens": views["tokens"].mean()}
        keys, positives, allowed, shares = self.matched(views)
        earlier = None if self.queue is None else self._earlier(views)
        loss = self._loss(views["text"] @ keys.T, views["text"], positives, allowed, shares, earlier)
        if self.cfg.pairing in ("texts", "pair"):
            loss = (loss + self._loss(keys @ views["text"].T, keys, positives, allowed, shares, earlier)) / 2
        if self.queue is not None and self.training:
            self.queue.push(torch.cat([keys.detach(), self._answered(views)[:, None].to(keys.dtype)], 1))
        return {self.cfg.pairing: loss}

    def matched(self, views: Views) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The keys, which of them answer which text, which may be compared with it, and how often each is asked for."""
        if self.cfg.pairing == "words":
            names = [name for name in views if name.startswith("word")]
            keys, there = (torch.cat([views[f"{kind}{name}"] for name in names]) for kind in ("", "has_"))
            ids = self._answered(views)
            own = torch.arange(len(views["text"]), device=keys.device)
            positives = (own[:, None] == own.repeat(len(names))) & there
            # another text's word that this one has too is no negative of it
            return keys, positives, (positives | ~self._answers(views, ids)) & there, self.shares[ids]
        key = "name" if self.cfg.pairing == "label" else "view"
        there = views[f"has_{key}"].expand(len(views["text"]), -1)
        positives = self._answers(views, self._answered(views)) & there
        return views[key], positives, there, views["share"] if key == "name" else None

    def _answered(self, views: Views) -> Tensor:
        """What each key answers, by number: a word, a class, or a row."""
        if self.cfg.pairing == "words":
            return torch.cat([views[f"id_{name}"] for name in views if name.startswith("word")])
        return views["label" if self.cfg.pairing in ("label", "class") else "row"]

    def _answers(self, views: Views, numbers_K: Tensor) -> Bool[Tensor, "q k"]:
        """Which text is answered by keys of these numbers."""
        if self.cfg.pairing == "words":
            return views["bag"][:, numbers_K]
        return self._answered(views)[:, None] == numbers_K

    def _earlier(self, views: Views) -> Bool[Tensor, "q k"]:
        """Which keys of the queue each text may be compared with: those that do not answer it."""
        assert self.queue is not None
        return self.queue.filled & ~self._answers(views, self.queue.keys[:, -1].long())

    def _loss(
        self,
        cosines: Tensor,
        queries: Tensor,
        positives: Tensor,
        allowed: Tensor,
        shares: Tensor | None,
        earlier: Tensor | None,
    ) -> Tensor:
        """The loss of queries in rows; a row without a positive is not looked at."""
        if self.cfg.negatives == "hard":
            others = cosines.detach().masked_fill(positives | ~allowed, -math.inf)
            allowed = positives | _highest(others, self.cfg.hard)
        if self.cfg.negatives == "drawn":
            allowed = positives | drawn_of(allowed & ~positives, self.cfg.drawn)
        if self.queue is not None and earlier is not None:
            more = queries @ self.queue.keys[:, :-1].T
            cosines = torch.cat([cosines, more], 1)
            positives = torch.cat([positives, torch.zeros_like(earlier)], 1)
            allowed = torch.cat([allowed, earlier], 1)
        weights = positives.any(1).to(cosines.dtype)
        if self.cfg.loss == "triplet":
            return triplet(1 - cosines, positives, mining="semi-hard", mask=allowed, weights=weights)
        scores = self.scale(cosines)
        if self.cfg.corrected and shares is not None:
            count = self.cfg.drawn if self.cfg.negatives == "drawn" else len(shares)
            scores = scores - (count * shares.clamp(min=1e-9)).log()
        if self.cfg.loss == "binary":
            return sigmoid_contrast(scores, positives, mask=allowed, weights=weights)
        return contrast(scores, normalise_rows(positives.to(scores.dtype)), mask=allowed, weights=weights)

    def _replaced(self, encoder: Encoder, text: Padded, whole: Padded) -> Tensor:
        """For each text the mean loss of telling, word by word, whether it is the text's own."""
        assert self.real is not None
        own = (text.values == whole.values).float()
        logits = self.real(encoder(text).tokens)[:, :, 0]
        if self.cfg.corrected:  # ELECTRIC: what is learned is the word's own likelihood, whatever the noise is
            noise = self.cfg.replaced * self.shares[text.values].clamp(min=1e-9)
            logits = logits - (noise / (1 - self.cfg.replaced)).log()
        losses = binary_cross_entropy_with_logits(logits, own, reduction="none") * text.mask
        return losses.sum(1) / text.lengths.clamp(min=1)

    def levels(self) -> dict[str, float]:
        """The temperature."""
        return {"temperature": self.scale.temperature}

    def space(self) -> Space:
        """The encoder, as it is kept."""
        return Space(branches_of(self.branches))


def drawn_of(others_QK: Bool[Tensor, "q k"], count: int) -> Bool[Tensor, "q k"]:
    """So many of the keys that each query may be compared with, by chance; all where there are fewer."""
    return _highest(torch.rand(others_QK.shape, device=others_QK.device).masked_fill(~others_QK, -math.inf), count)


def _highest(scores_QK: Float[Tensor, "q k"], count: int) -> Bool[Tensor, "q k"]:
    """The so many highest of each row; all where there are fewer, and never one of -inf."""
    places_QH = scores_QK.topk(min(count, scores_QK.shape[1]), dim=1).indices
    return torch.zeros_like(scores_QK, dtype=torch.bool).scatter(1, places_QH, True) & (scores_QK > -math.inf)


def opened(cfg: Config, rows: Sequence[Row]) -> TextContrast:
    """A learner that is not trained yet, for these rows."""
    encoder = cfg.text.open("text")
    if cfg.pairing == "tokens":
        words = [word for row in rows for word in split_words(row["text"])]
    else:
        words = asked_words(rows, most_common(rows, cfg.common))
    return TextContrast(cfg, encoder, _shares(cfg, encoder, words))


def train(learner: TextContrast, rows: Sequence[Row], run: Run) -> None:
    """Train it as its config says."""
    cfg = learner.cfg
    collate = collate_for(
        cfg.pairing, branches_of(learner.branches)["text"].encoder, rows, view=cfg.view, rate=cfg.rate,
        labels=cfg.labels, common=most_common(rows, cfg.common), replaced=cfg.replaced, seed=run.seed,
    )  # fmt: skip
    fit(learner.train(), rows, cfg.train, run, collate=collate)


def _shares(cfg: Config, encoder: Encoder, words: list[str]) -> Tensor | None:
    """How often each word is asked for (pairing=words), or replaces another (tokens)."""
    if cfg.pairing not in ("words", "tokens"):
        return None
    if not isinstance(encoder, WordCnn):
        raise UserError(
            f"pairing={cfg.pairing} wants an encoder of whole words, as scratch-small-words, not {cfg.text.encoder}"
        )
    if not words:
        raise UserError(f"no text has a word beside the {cfg.common} most frequent ones: lower common")
    return word_shares(words, encoder)
