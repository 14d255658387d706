"""Leakage: does a query know its key by the batch that both were normalised in?

Held-out pairs are put into batches as in training, and each query looks for its key among the keys of its language in
all other batches, as it would in a bank:

    together   its key was normalised in the query's own batch, as in training
    apart      its key was normalised in another batch, of rows drawn by chance
    gap        together - apart; 0 where a key's vector does not hang on its batch

Axes: N pairs, D width, E width of a projection.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from antiphon.recipes.ccp.guards import Projection
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of


class Projects(Protocol):
    """A learner with a projection."""

    project: Projection


@torch.no_grad()
def leak(
    learner: ContrastiveLearner,
    rows: Sequence[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], Batch],
    *,
    batch_size: int,
    groups: Sequence[int] | None,
    seed: int,
) -> dict[str, float]:
    """Accuracies `together` and `apart` and their `gap`, on pairs that training never saw.

    Args:
        learner: its `project` is g.
        rows: with a window each.
        collate: rows to a batch.
        batch_size: pairs of a batch.
        groups: of each row its document, where batches hold few documents; None mixes them.
        seed: of the batches.
    """
    project = learner.project
    assert isinstance(project, Projection)
    views = views_of(learner, rows, collate)
    rng = random.Random(seed)
    plan = _plan(len(rows), batch_size, rng, groups)
    queries, keys = (
        _projected(project, views[name], plan, query=query) for name, query in (("text", True), ("context", False))
    )
    strange = _projected(project, views["context"], _plan(len(rows), batch_size, rng, None), query=False)
    batch_N = torch.empty(len(rows), dtype=torch.int64)
    for number, places in enumerate(plan):
        batch_N[places] = number
    right: dict[str, list[Tensor]] = {"together": [], "apart": []}
    for places in plan:
        against = (batch_N != batch_N[places[0]])[None] & (views["language"][places, None] == views["language"])
        for known in ("number", "other"):
            against &= views["other"] != views[known][places, None]
        hardest = (queries[places] @ keys.T).masked_fill(~against, -torch.inf).amax(1)
        for name, of in (("together", keys), ("apart", strange)):
            right[name].append((queries[places] * of[places]).sum(1) > hardest)
    found = {name: float(torch.cat(parts).double().mean()) for name, parts in right.items()}
    return found | {"gap": found["together"] - found["apart"]}


def _plan(count: int, size: int, rng: random.Random, groups: Sequence[int] | None) -> list[list[int]]:
    """Batches of like size, of shuffled rows; of rows of few groups each, where groups are given."""
    order = rng.sample(range(count), count)
    if groups is not None:
        order.sort(key=lambda at: groups[at])
    parts = max(1, count // size)
    return [order[count * part // parts : count * (part + 1) // parts] for part in range(parts)]


def _projected(project: Projection, vectors_ND: Tensor, plan: Sequence[Sequence[int]], *, query: bool) -> Tensor:
    found = [project(vectors_ND[list(places)], query=query) for places in plan]
    order = torch.tensor([at for places in plan for at in places])
    return torch.cat(found)[order.argsort()]
