"""The views of rows that nothing is trained on: what a recipe measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from antiphon.training.learner import Batch, ContrastiveLearner, to_device
from antiphon.types import Views


@torch.inference_mode()
def views_of(
    learner: ContrastiveLearner,
    rows: Sequence[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], Batch],
    *,
    batch_size: int = 64,
) -> Views:
    """What `learner.embed` gives for all rows, in their order, on the CPU; the learner in eval mode meanwhile.

    Args:
        rows: one or more.
        collate: rows to a batch; `quarantine`, if it adds one, is left out.
        batch_size: rows at once.
    """
    was_training, device = learner.training, next(learner.parameters()).device
    learner.eval()
    parts = []
    for start in range(0, len(rows), batch_size):
        batch = collate([rows[at] for at in range(start, min(start + batch_size, len(rows)))])
        batch.pop("quarantine", None)
        parts.append(learner.embed(to_device(batch, device)))
    learner.train(was_training)
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
