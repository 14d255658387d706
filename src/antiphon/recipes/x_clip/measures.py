"""What X-CLIP is measured by: its classes, seen and held out, and the direction of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from antiphon.data.collate import Collate
from antiphon.evaluation.probe import linear_probe
from antiphon.recipes.x_clip.rows import Classes, Row
from antiphon.runs import Measures
from antiphon.training.learner import Batch
from antiphon.types import Padded, Views

CHUNK = 64
"""Videos that are compared with the classes at a time: each has class vectors of its own."""

Cosines = Callable[[Views, Tensor], Tensor]
"""`(B, K)` of videos and the classes of these numbers."""


@torch.inference_mode()
def measured(cosines: Cosines, views: Views, classes: Classes) -> Measures:
    """Accuracies in [0, 1] with their chance levels.

    `top-1` and `top-5` are of videos of seen classes among these; `unseen/top-1` of held-out classes among themselves
    (zero-shot); `unseen/among all` the same among all classes; `order` of videos whose class has a reverse: the right
    one of the two scores higher. `order/balanced` is the mean over the classes of pairs that are both there, so that
    one answer to all gives a half however many videos each has.
    """
    views = {name: view[views["there"]] for name, view in views.items()}
    every = torch.arange(len(classes.names))
    scores_NK = torch.cat(
        [
            cosines({name: view[at : at + CHUNK] for name, view in views.items()}, every)
            for at in range(0, len(views["class"]), CHUNK)
        ]
    )
    right = views["class"]
    seen = torch.tensor(classes.seen)
    measures = {f"top-{k}": _among(scores_NK, right, seen, k) for k in (1, 5)}
    measures["chance"] = 1 / len(classes.seen)
    if classes.unseen:
        unseen = torch.tensor(classes.unseen)
        inside = torch.isin(right, unseen)
        measures |= {
            "unseen/top-1": _among(scores_NK, right, unseen, 1),
            "unseen/chance": 1 / len(classes.unseen),
            "unseen/among all": _among(scores_NK[inside], right[inside], every, 1),
        }
    turned = torch.tensor([classes.reverse.get(number, -1) for number in right.tolist()], dtype=torch.int64)
    has = turned >= 0
    if has.any():
        own, other = (scores_NK[has].gather(1, which[has][:, None]) for which in (right, turned))
        won, number = (own > other)[:, 0].double(), right[has]
        measures |= {"order": won.mean().item(), "order/chance": 0.5}
        both = [one for one in sorted(set(number.tolist())) if classes.reverse[one] in number]
        if both:
            measures["order/balanced"] = sum(won[number == one].mean().item() for one in both) / len(both)
    return measures


def measured_twice(cosines: Cosines, views: Views, others: Views, classes: Classes) -> Measures:
    """As `measured`; and the same of the videos with their frames shuffled, and what that costs.

    Args:
        cosines: as of `measured`.
        views: of the videos as they are.
        others: of the same, shuffled.
        classes: all.
    """
    found, mixed = measured(cosines, views, classes), measured(cosines, others, classes)
    lost = {"lost by shuffling": found["top-1"] - mixed["top-1"], "lost by shuffling/chance": 0.0}
    return found | {f"shuffled/{name}": value for name, value in mixed.items()} | lost


def regression(shown: Sequence[Row], asked: Mapping[str, Sequence[Row]], classes: Classes) -> Measures:
    """`top-1` among seen classes by logistic regression on the mean of a video's vectors, with its chance level.

    Args:
        shown: what it learns from.
        asked: dev and test; the penalty is chosen on dev.
        classes: all.
    """
    places = {number: at for at, number in enumerate(classes.seen)}
    vectors, labels = {}, {}
    for split, rows in {"train": shown, **asked}.items():
        there = [row for row in rows if row["class"] in places and row["video"] is not None]
        vectors[split] = torch.stack([row["video"].float().mean(0) for row in there])
        labels[split] = torch.tensor([places[row["class"]] for row in there])
    train, dev, test = ((vectors[split], labels[split]) for split in ("train", "dev", "test"))
    probe = linear_probe(train, dev, test)
    assert probe.dev_accuracy is not None
    found = {"dev/top-1": probe.dev_accuracy, "test/top-1": probe.accuracy}
    return found | dict.fromkeys(("dev/chance", "test/chance"), 1 / len(places))


def _among(scores_NK: Tensor, right_N: Tensor, classes: Tensor, k: int) -> float:
    """The share of the videos of these classes whose own one is among the best k of them; no videos give 0."""
    inside = torch.isin(right_N, classes)
    if not inside.any():
        return 0.0
    found = ranks(scores_NK[inside][:, classes], (classes[None] == right_N[inside, None]).int().argmax(1))
    return (found <= k).double().mean().item()


def ranks(scores_NK: Float[Tensor, "n k"], right_N: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The rank of the right class; a tie counts against us."""
    own = scores_NK.gather(1, right_N[:, None])
    return (scores_NK >= own).sum(1)


def shuffled(collate: Collate, frames: int, *, seed: int = 0) -> Callable[[Sequence[Row]], Batch]:
    """As `collate`, with each video's frames in an order drawn by the seed and its place in the batch."""

    def call(rows: Sequence[Row]) -> Batch:
        batch = collate(rows)
        items: Padded = batch["video"]
        generator = torch.Generator().manual_seed(seed)
        values = items.values.reshape(len(items), min(frames, items.values.shape[1]), -1)
        orders = torch.stack([torch.randperm(values.shape[1], generator=generator) for _ in range(len(items))])
        mixed = values.gather(1, orders[:, :, None].expand_as(values)).reshape(items.values.shape)
        return batch | {"video": Padded(mixed, items.lengths)}

    return call
