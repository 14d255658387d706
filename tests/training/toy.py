"""A small contrastive learner on made vectors, for the training tests."""

from __future__ import annotations

import torch
from torch import nn

from antiphon.data.collate import by_column
from antiphon.encoders.features import Features
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.negatives import MemoryQueue
from antiphon.training.learner import ContrastiveLearner

WIDTH = 6


class Toy(ContrastiveLearner):
    """Two linear towers with dropout and a learned temperature."""

    def __init__(self, *, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.left = nn.Linear(WIDTH, 4)
        self.right = nn.Linear(WIDTH, 4)
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        self.dropout = nn.Dropout(dropout)
        self.scale = Scale(0.5)

    def embed(self, batch):
        left, right = (batch[name].values[:, 0] for name in ("left", "right"))
        return {"left": self.left(self.dropout(left)), "right": self.right(self.dropout(right))}

    def losses(self, views):
        left, right = (nn.functional.normalize(views[name], dim=1) for name in ("left", "right"))
        return {"contrast": symmetric_contrast(self.scale(left @ right.T))}


class Remembering(Toy):
    """A learner with a queue of its last views, and batch statistics."""

    def __init__(self, *, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__(dropout=dropout, seed=seed)
        self.norm = nn.BatchNorm1d(4)
        self.queue = MemoryQueue(16, 4)

    def embed(self, batch):
        views = super().embed(batch)
        return {**views, "left": self.norm(views["left"])}

    def losses(self, views):
        self.queue.push(nn.functional.normalize(views["right"].detach(), dim=1))
        return super().losses(views)


def rows(count: int = 24) -> list[dict]:
    generator = torch.Generator().manual_seed(7)
    left = torch.randn(count, 1, WIDTH, generator=generator)
    right = left.roll(1, 2) + 0.1 * torch.randn(count, 1, WIDTH, generator=generator)
    return [{"left": a, "right": b} for a, b in zip(left, right, strict=True)]


def collate():
    features = Features(WIDTH, signal="made")
    return by_column(left=features, right=features)


def batch(count: int = 24) -> dict:
    whole = collate()(rows(count))
    del whole["quarantine"]
    return whole


def gradients(learner: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in learner.named_parameters()}
