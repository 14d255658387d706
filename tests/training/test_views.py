"""Views of rows for measuring: in order, without dropout, and the learner left as it was."""

import torch

from antiphon.training.learner import ContrastiveLearner
from antiphon.training.views import views_of


class Dropping(ContrastiveLearner):
    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(2, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def embed(self, batch):
        return {"vector": self.dropout(self.map(batch["x"])), "label": batch["label"]}

    def losses(self, views):
        raise NotImplementedError


def _collate(rows):
    stacked = torch.stack([row["x"] for row in rows])
    return {"x": stacked, "label": torch.tensor([row["label"] for row in rows]), "quarantine": []}


def test_all_rows_in_order_without_dropout():
    learner = Dropping().train()
    rows = [{"x": torch.randn(2), "label": at} for at in range(7)]
    views = views_of(learner, rows, _collate, batch_size=3)
    assert views["label"].tolist() == list(range(7))
    wanted = learner.map(torch.stack([row["x"] for row in rows]))
    assert torch.allclose(views["vector"], wanted)
    assert not views["vector"].requires_grad
    assert learner.training
