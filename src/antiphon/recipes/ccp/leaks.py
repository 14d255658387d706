"""Leakage: does a query know its key by the batch that both were normalised in?

Held-out pairs are put into batches as in training, and each query looks for its key among the keys of its language in
all other batches, as it would in a bank; the sentences of its window are not among them:

    together   its key was normalised in the query's own batch, as in training
    apart      its key was normalised in another batch, of rows drawn by chance
    gap        together - apart; 0 by construction where a key's vector does not hang on its batch

Axes: N pairs, E width of a projection.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from antiphon.types import Views


@torch.no_grad()
def leak(
    views: Views,
    *,
    queries: Callable[[Views], Tensor],
    keys: Callable[[Views], Tensor],
    batch_size: int,
    groups: Sequence[int] | None,
    seed: int,
) -> dict[str, float]:
    """Accuracies `together` and `apart` and their `gap`.

    Args:
        views: of pairs: `language`, `number`, `other`, `near`, and what the next two look at.
        queries: the unit queries of a batch of views.
        keys: the unit keys of the same.
        batch_size: pairs of a batch.
        groups: of each row its document, where batches hold few documents; None mixes them.
        seed: of the batches.
    """
    rng, count = random.Random(seed), len(views["language"])
    plan = _plan(count, batch_size, rng, groups)
    query_NE, key_NE = (_projected(project, views, plan) for project in (queries, keys))
    strange_NE = _projected(keys, views, _plan(count, batch_size, rng, None))
    batch_N = torch.empty(count, dtype=torch.int64)
    for number, places in enumerate(plan):
        batch_N[places] = number
    against_NN = (batch_N[:, None] != batch_N) & (views["language"][:, None] == views["language"])
    for known_N1 in (views["number"][:, None], *views["near"].T[:, :, None]):
        against_NN &= views["other"] != known_N1
    hardest_N = (query_NE @ key_NE.T).masked_fill(~against_NN, -torch.inf).amax(1)
    found = {
        name: float(((query_NE * own_NE).sum(1) > hardest_N).double().mean())
        for name, own_NE in (("together", key_NE), ("apart", strange_NE))
    }
    return found | {"gap": found["together"] - found["apart"]}


def _plan(count: int, size: int, rng: random.Random, groups: Sequence[int] | None) -> list[list[int]]:
    """Batches of like size, of shuffled rows; of rows of few groups each, where groups are given."""
    order = rng.sample(range(count), count)
    if groups is not None:
        order.sort(key=lambda at: groups[at])
    parts = max(1, count // size)
    return [order[count * part // parts : count * (part + 1) // parts] for part in range(parts)]


def _projected(project: Callable[[Views], Tensor], views: Views, plan: Sequence[Sequence[int]]) -> Tensor:
    """Of each row its projection in its batch."""
    found = [project({name: view[list(places)] for name, view in views.items()}) for places in plan]
    order = torch.tensor([at for places in plan for at in places])
    return torch.cat(found)[order.argsort()]
