"""What refining changes: retrieval and zero-shot classes of old and new rows, and the gap between the signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data.collate import Collate
from antiphon.data.opening import Rows
from antiphon.encoders.space import Space
from antiphon.evaluation.answers import answers
from antiphon.evaluation.geometry import alignment, modality_gap, uniformity
from antiphon.evaluation.report.figures import histogram
from antiphon.evaluation.zeroshot import class_vectors, zero_shot
from antiphon.runs import Measures, Run
from antiphon.training.learner import ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Views

TEMPLATES = ("{}.", "A {}.", "A picture of {}.", "Something of the kind {}.", "This is about {}.")
"""Five prompts for a class, the same for all arms."""


def measured(
    learner: ContrastiveLearner, signals: Sequence[str], collate: Collate, space: Space | None,
    kinds: dict[str, tuple[Any, Rows]], classes: str | None, means: Mapping[str, Tensor] | None = None,
) -> Measures:  # fmt: skip
    """Retrieval both ways, zero-shot classes, the geometry of unit vectors: of each kind of rows on dev and test.

    Args:
        learner: its views are measured.
        signals: both, in the learner's order.
        collate: of the rows.
        space: to read the prompts of classes by.
        kinds: the items and rows of each kind.
        classes: the column of class names, or None.
        means: of the unit vectors of each signal, to be taken away first.
    """
    measures: Measures = {}
    first, second = signals
    for (kind, (data, rows)), split in product(kinds.items(), ("dev", "test")):
        views = views_of(learner, rows[split], collate)
        both = views[f"has_{first}"] & views[f"has_{second}"]
        left, right = (normalize(views[name][both], dim=1) for name in (first, second))
        if means is not None:
            left, right = (normalize(view - means[name], dim=1) for name, view in ((first, left), (second, right)))
        labels = views["label"][both]
        ahead, back = answers(left, right, labels, labels), answers(right, left, labels, labels)
        name = f"{split}/{kind}"
        measures |= {f"{name}/{key}": (value + back[key]) / 2 for key, value in ahead.items()}
        measures |= {
            f"{name}/gap": modality_gap(left, right),
            f"{name}/alignment": alignment(left, right),
            f"{name}/uniformity": (uniformity(left) + uniformity(right)) / 2,
        }
        if classes is not None and space is not None and "text" in signals:
            named = data[split][classes]
            prompts = class_vectors(lambda texts: space.embed(text=texts), sorted(set(named)), TEMPLATES)
            right_class = torch.tensor([sorted(set(named)).index(each) for each in named])[both]
            found = zero_shot(right if first == "text" else left, prompts, right_class).as_dict()
            measures |= {f"{name}/zero_shot/{key}": value for key, value in found.items()}
    return measures


def draw_gap(run: Run, sights: dict[str, Views], signals: list[str]) -> None:
    """Both signals along the line that joined their means at the start."""
    unit = {
        f"{signal}, {when}": normalize(views[signal][views[f"has_{signal}"]], dim=1)
        for when, views in sights.items()
        for signal in signals
    }
    first, second = (unit[f"{signal}, before"].mean(0) for signal in signals)
    along = normalize(second - first, dim=0)
    drawn = histogram({name: (view @ along).tolist() for name, view in unit.items()}, x="along the line of the gap")
    caption = "The new test rows before and after refining, along the line between the signals' means at the start."
    run.picture("gap", drawn, caption)
