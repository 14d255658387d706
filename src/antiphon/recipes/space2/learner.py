"""SPACE-2's learner: ten projections of a turn, the contrast of each by shared trees, and masked words.

Axes: B rows, N turns of all processes, M = 2N copies, V views, P width of a projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.space import Branch, branches_of
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.objectives.contrast import contrast
from antiphon.objectives.masked_words import MaskedWords
from antiphon.objectives.targets import normalise_rows
from antiphon.recipes.space2.trees import VIEWS, Scores, pair_scores
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Encoded, Padded, Views

KINDS: dict[str, Scores] = {
    "views": "views", "shuffled": "views", "labelled": "views", "combined": "combined", "exact": "exact",
    "none": "none",
}  # fmt: skip
"""By what the recipe's `scores` says, the scores of labelled turns; unlabelled ones have "none"."""


class Space2(ContrastiveLearner):
    """The encoder, ten projections, and what guesses masked words.

    Args:
        encoder: of turns.
        starts: of the labelled rows' trees, as `TreeCodes` gives it.
        vocabulary: ids of the words that are asked for.
        head: gives h.
        width: of h.
        projected: width of each projection.
        scores: what labelled turns are taught; the recipe's field.
        temperature: of the contrast.
        mlm: weight of the masked words' loss.
        view_weights: of the views' losses, by view; 1 for those that are not named.

    Raises:
        UserError: a weight of no view, or none above zero.
    """

    starts: Tensor

    def __init__(
        self,
        encoder: WordCnn,
        starts: Int[Tensor, " bounds"],
        vocabulary: Int[Tensor, " v"],
        *,
        head: HeadConfig,
        width: int,
        projected: int,
        scores: str,
        temperature: float,
        mlm: float,
        view_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        by_view = dict.fromkeys(VIEWS, 1.0) | dict(view_weights or {})
        if by_view.keys() != VIEWS.keys() or not any(by_view.values()):
            raise UserError(f"view_weights={view_weights}: wanted weights of {', '.join(VIEWS)}, one of them above 0")
        self.shares = [weight / sum(by_view.values()) for weight in by_view.values()]
        self.scores, self.temperature, self.mlm = scores, temperature, mlm
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, width, head))})
        self.projections = nn.Linear(width, len(VIEWS) * projected)
        self.words = MaskedWords(encoder.width, encoder.buckets + 1, vocabulary, transform=True)
        self.words.requires_grad_(mlm > 0)
        self.register_buffer("starts", starts)
        if scores == "mlm":
            self.projections.requires_grad_(False)
            branches_of(self.branches)["text"].head.requires_grad_(False)

    def embed(self, batch: Batch) -> Views:
        """Two copies of each turn in the ten projections, the numbers of its tree, and its masked words' losses."""
        views: Views = {"codes": batch["codes"].values}
        names = ["text", "other"] if "other" in batch and self.scores != "labelled" else ["text"]
        inputs: dict[str, Padded] = {}
        for name in names:
            if self.scores != "mlm":
                inputs |= {f"{name}_1": batch[name], f"{name}_2": batch[name]}
            if self.mlm:
                inputs[f"{name}_lost"] = batch[f"{name}_masked"]
        # all at once: the gradient of the word vectors, a large table, is then made once
        encoded = branches_of(self.branches)["text"].encoder(_joined(list(inputs.values())))
        for at, name in enumerate(inputs):
            own = encoded[at * len(views["codes"]) : (at + 1) * len(views["codes"])]
            if name.endswith("_lost"):
                vectors = cast("WordCnn", branches_of(self.branches)["text"].encoder).embedding.weight
                asked = inputs[name].values[:, :, 1]
                views[name], views[name.replace("_lost", "_asked")] = self.words(own.tokens, asked, vectors)
            else:
                views[name] = self._projected(own)
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Of labelled and unlabelled turns, and of masked words."""
        losses: dict[str, Tensor] = {}
        for name, label in (("text", "supervised"), ("other", "unsupervised")):
            if f"{name}_1" in views:
                kind = KINDS[self.scores] if name == "text" else "none"
                shared = pair_scores(kind, views["codes"], self.starts)
                losses_V = view_losses(views[f"{name}_1"], views[f"{name}_2"], shared, temperature=self.temperature)
                parts = [share * loss for share, loss in zip(self.shares, losses_V, strict=True)]
                if kind == "views":  # each view's part is logged
                    losses |= {f"{label}_{view}": part for view, part in zip(VIEWS, parts, strict=True)}
                else:
                    losses[label] = torch.stack(parts).sum()
            if f"{name}_lost" in views:
                lost, asked = views[f"{name}_lost"].sum(), views[f"{name}_asked"].sum()
                losses[f"{label}_mlm"] = self.mlm * lost / asked.clamp(min=1)
        return losses

    def projected(self, turns: Padded) -> Float[Tensor, "b v p"]:
        """Unit vectors of turns in the ten projections."""
        return self._projected(branches_of(self.branches)["text"].encoder(turns))

    def _projected(self, turns: Encoded) -> Tensor:
        head = branches_of(self.branches)["text"].head
        return normalize(self.projections(head(turns)).tanh().unflatten(1, (len(VIEWS), -1)), dim=2)


def _joined(parts: list[Padded]) -> Padded:
    """Batches of ids one behind the other; of masked ones, what is seen."""
    longest = max(part.values.shape[1] for part in parts)
    values = [part.values[:, :, 0] if part.values.dim() == 3 else part.values for part in parts]
    return Padded(
        torch.cat([pad(each, (0, longest - each.shape[1])) for each in values]), torch.cat([p.lengths for p in parts])
    )


def view_losses(
    first_NVP: Float[Tensor, "n v p"],
    second_NVP: Float[Tensor, "n v p"],
    shared_SNN: Float[Tensor, "s n n"],
    *,
    temperature: float,
) -> Float[Tensor, " v"]:
    """Soft SupCon over two copies of N turns in each of V projections; the mean over 2N anchors.

    A view in which no two turns share anything has the identity for r, and so the loss of SimCLR.

    Args:
        first_NVP: unit vectors of one copy.
        second_NVP: of the other.
        shared_SNN: r, a matrix for each projection or one for all, its diagonal 1: a turn's copy answers it fully.
        temperature: the cosines are divided by it.
    """
    both_VMP = torch.cat([first_NVP, second_NVP]).transpose(0, 1)
    others_MM = ~torch.eye(both_VMP.shape[1], dtype=torch.bool, device=both_VMP.device)
    losses = []
    for both_MP, shared_NN in zip(both_VMP, shared_SNN.expand(len(both_VMP), -1, -1), strict=True):
        targets_MM = normalise_rows(shared_NN.repeat(2, 2) * others_MM)
        losses.append(contrast(both_MP @ both_MP.T / temperature, targets_MM, mask=others_MM))
    return torch.stack(losses)
