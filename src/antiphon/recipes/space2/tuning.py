"""Fine-tuning on examples of a set of intents, a few of each or all, as SPACE-2 is tested: cross-entropy with R-Drop.

R-Drop (arXiv 2106.14448): each batch passes twice, and the two answers' divergence, both ways, is a loss beside.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from antiphon.config import Config
from antiphon.data.collate import by_column
from antiphon.encoders.space import Branch
from antiphon.errors import UserError
from antiphon.recipes.space2.measures import Intents
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, Learner
from antiphon.types import Padded


class Classifier(Learner):
    """A branch of a space, and a linear answer on it.

    Args:
        branch: trained on.
        classes: how many answers.
        agreement: weight of the divergence.
    """

    def __init__(self, branch: Branch, classes: int, agreement: float) -> None:
        super().__init__()
        self.branch, self.agreement = branch, agreement
        self.dropout = nn.Dropout(0.25)
        self.answer = nn.Linear(branch.head.out, classes)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, and how far the two passes are apart."""
        first, second = (self.logits(batch["text"]) for _ in range(2))
        right = (cross_entropy(first, batch["label"]) + cross_entropy(second, batch["label"])) / 2
        return {"right": right, "agreement": self.agreement * divergence(first, second)}

    def logits(self, texts: Padded) -> Tensor:
        """Answers of a batch of texts."""
        found: Tensor = self.answer(self.dropout(self.branch.head(self.branch.encoder(texts))))
        return found


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """The mean of both Kullback-Leibler divergences of two rows of logits, averaged over rows."""
    p, q = first.log_softmax(1), second.log_softmax(1)
    there, back = (kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((p, q), (q, p)))
    return (there + back) / 2


def tuned(
    cfg: Config,
    run: Run,
    name: str,
    branch: Branch,
    intents: Intents,
    *,
    train: Train,
    agreement: float,
    examples: Sequence[int | str],
) -> Measures:
    """Accuracy on dev and test of copies of the branch, each trained on so many examples of each intent of a set.

    Args:
        cfg: the recipe's, which names the trainings' own runs.
        run: of the recipe.
        name: of the set.
        branch: where training begins; it is left as it is.
        intents: of the set.
        train: how.
        agreement: weight of the divergence.
        examples: numbers of examples, or "all".
    """
    found: Measures = {}
    for number in examples:
        own = run.part(f"{name}_{number}", cfg)
        torch.manual_seed(run.seed)
        learner = Classifier(copy.deepcopy(branch), len(set(intents.labels.tolist())), agreement)
        rows = [
            {"id": str(at), "text": intents.texts[at], "label": int(intents.labels[at])}
            for at in places_of(intents, number, run.seed)
        ]
        collate = by_column(text=learner.branch.encoder, keep=("label",), seed=run.seed)
        fit(learner.train(), rows, train, own, collate=collate)
        found |= {f"{side}/tuned/{number}": _accuracy(learner.eval(), intents, side) for side in ("dev", "test")}
    return found


def places_of(intents: Intents, number: int | str, seed: int) -> list[int]:
    """The places of so many examples of each intent: the first draw of `measures.intent_scores`; "all" are all.

    Raises:
        UserError: an intent has fewer.
    """
    pool, labels = intents.places["pool"], intents.labels
    if number == "all":
        return [int(at) for at in pool]
    fewest = int(np.bincount(labels[pool]).min())
    if fewest < int(number):
        raise UserError(f"examples={number}: an intent has {fewest}; ask for fewer")
    order = np.random.default_rng(seed).permutation(pool)
    return [int(at) for label in np.unique(labels) for at in order[labels[order] == label][: int(number)]]


@torch.inference_mode()
def _accuracy(learner: Classifier, intents: Intents, side: str) -> float:
    places, encoder = intents.places[side], learner.branch.encoder
    answers = torch.cat(
        [
            learner.logits(encoder.collate([intents.texts[at] for at in part])).argmax(1)
            for part in np.array_split(places, range(256, len(places), 256))
        ]
    )
    return float((answers == torch.from_numpy(intents.labels[places])).double().mean())
