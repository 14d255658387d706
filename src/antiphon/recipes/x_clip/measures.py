"""What X-CLIP is measured by: its classes, seen and held out, and the direction of time; and films, drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from antiphon.data.collate import Collate
from antiphon.evaluation.report.figures import COLOURS
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


def film_picture(films: Sequence[tuple[UInt8[Tensor, "t h w 3"], Sequence[tuple[str, float]]]]) -> Markup:
    """Films as strips of frames, and under each the share of each prompt.

    Args:
        films: frames, and prompts with shares that sum to one.
    """
    parts = []
    for frames, shares in films:
        strip = Image.fromarray(torch.cat(list(frames), dim=1).numpy())
        strip.thumbnail((56 * len(frames), 56))
        file = io.BytesIO()
        strip.save(file, "WEBP", quality=70)
        source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
        bars = Markup("").join(
            Markup(
                '<div style="display:flex;gap:.5em;align-items:center"><span style="width:16em">{}</span>'
                '<span style="background:{};height:.7em;width:{}em"></span><span>{}</span></div>'
            ).format(text, COLOURS[0], round(12 * share, 2), f"{share:.2f}")
            for text, share in shares
        )
        parts.append(
            Markup('<div style="margin-bottom:1em"><img src="{}" alt="{} frames of a film"/>{}</div>').format(
                source, len(frames), bars
            )
        )
    return Markup("").join(parts)
