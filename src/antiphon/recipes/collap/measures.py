"""What CoLLAP is measured by: retrieval by S in both directions, in two stages, and whether S hears the order; and its
attention, drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from markupsafe import Markup
from torch import Tensor

from antiphon.evaluation.report.figures import COLOURS
from antiphon.evaluation.retrieval import chance
from antiphon.recipes.collap.rows import Row
from antiphon.runs import Measures
from antiphon.types import Views

CHUNK = 25
"""Recordings that are scored against all texts at a time."""
FIRST = 50
"""How many the first stage hands on to S."""

Scores = Callable[[Views, Views], Tensor]
"""S `(A, B)` of the recordings of some views and the texts of others."""


def turned(rows: Sequence[Row]) -> list[Row]:
    """The same rows, the two halves of each text exchanged."""
    half = [0 if row["text"] is None else len(row["text"]) // 2 for row in rows]
    return [
        row | {"text": row["text"] if at == 0 else torch.cat([row["text"][at:], row["text"][:at]])}
        for row, at in zip(rows, half, strict=True)
    ]


@torch.inference_mode()
def measured(scores: Scores, views: Views, turned_views: Views, sound: str) -> Measures:
    """Retrieval by text and by recording, with chance; two-stage retrieval; the order probe, with chance.

    Args:
        scores: S.
        views: of the rows.
        turned_views: of the same rows with `turned` texts.
        sound: the recordings' entry of the views.
    """
    both = views[f"{sound}_mask"][:, 0] & views["text_mask"][:, 0]
    views, turned_views = ({name: view[both] for name, view in one.items()} for one in (views, turned_views))
    labels = views["label"]
    found_AB, other_AB = (
        torch.cat([scores(part, texts) for part in _chunks(views)]) for texts in (views, turned_views)
    )
    recall_BA = views["text_first"] @ views[f"{sound}_first"].T
    by_text, by_sound = ranks(found_AB.T, labels), ranks(found_AB, labels)
    two_stages = ranks(reranked(recall_BA, found_AB.T, FIRST), labels)
    measures = {f"R@{k}": _share(by_text <= k) for k in (1, 5, 10)}
    measures |= {f"by recording/R@{k}": _share(by_sound <= k) for k in (1, 5, 10)}
    measures |= {"two stages/R@1": _share(two_stages <= 1), "first stage/R@1": _share(ranks(recall_BA, labels) <= 1)}
    measures |= {f"chance {name}": value for name, value in chance(labels, labels).items() if name.startswith("R@")}
    long = views["text_mask"].sum(1) > 2  # with one sentence beside the whole, there is no order
    right = found_AB.diagonal() > other_AB.diagonal()
    return measures | {"order": _share(right[long]) if long.any() else 0.5, "order/chance": 0.5, "n": len(labels)}


def ranks(scores_QK: Float[Tensor, "q k"], labels_K: Int[Tensor, " k"]) -> Int[Tensor, " q"]:
    """The rank of the best key of each query's label; query i has the label of key i, and ties count against us."""
    right_QK = labels_K[:, None] == labels_K[None, :]
    best_Q1 = scores_QK.masked_fill(~right_QK, -torch.inf).amax(1, keepdim=True)
    return 1 + ((scores_QK >= best_Q1) & ~right_QK).sum(1)


def reranked(recall_QK: Float[Tensor, "q k"], scores_QK: Float[Tensor, "q k"], first: int) -> Float[Tensor, "q k"]:
    """Scores whose order is that of a two-stage search: the best `first` by `recall` in the order of `scores`."""
    best_QF = recall_QK.topk(min(first, recall_QK.shape[1]), dim=1).indices
    above = scores_QK.amax() - scores_QK.amin() + recall_QK.amax() - recall_QK.amin() + 1.0
    return recall_QK.scatter(1, best_QF, scores_QK.gather(1, best_QF) - scores_QK.amin() + recall_QK.amax() + above)


def _chunks(views: Views) -> list[Views]:
    count = len(views["label"])
    return [{name: view[at : at + CHUNK] for name, view in views.items()} for at in range(0, count, CHUNK)]


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def attention_picture(
    clips_K: Float[Tensor, " k"], parts_M: Float[Tensor, " m"], said: Sequence[str], seconds: float
) -> Markup:
    """Two rows of bars: how much the text looks at each clip, and the recording at each sentence.

    Args:
        clips_K: weights of the clips, in their order; they sum to one.
        parts_M: the same of the sentences; none where the recording does not look at them.
        said: the sentences.
        seconds: of a clip.
    """
    times = [f"{seconds * at:g} to {seconds * (at + 1):g} s" for at in range(len(clips_K))]
    left, high = 180, 20
    drawn, top = [], 0
    for title, names, weights, colour in (
        ("the text looks at the clips", times, clips_K.tolist(), COLOURS[0]),
        ("the recording looks at the sentences", said, parts_M.tolist(), COLOURS[1]),
    ):
        if not weights:
            continue
        drawn.append(Markup('<text x="{}" y="{}" font-weight="bold">{}</text>').format(left, top + 14, title))
        for at, (name, weight) in enumerate(zip(names, weights, strict=True)):
            down = top + high * (at + 1)
            drawn.append(
                Markup(
                    '<text x="{}" y="{}" text-anchor="end">{}</text><rect x="{}" y="{}" width="{}" height="{}" '
                    'fill="{}"/>'
                    '<text x="{}" y="{}">{}</text>'
                ).format(left - 8, down + 14, name[:28], left, down + 2, round(400 * weight, 1), high - 4, colour,
                         left + round(400 * weight, 1) + 6, down + 14, f"{weight:.2f}")
            )  # fmt: skip
        top += high * (len(names) + 1) + 8
    return Markup(
        '<svg viewBox="0 0 640 {0}" style="max-width:640px" font-size="12" fill="currentColor" role="img" '
        'aria-label="attention over clips and over sentences">{1}</svg>'
    ).format(top, Markup("").join(drawn))
