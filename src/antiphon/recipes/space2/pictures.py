"""SPACE-2's pictures: what each projection follows, how well each view is followed, and near trees' cosines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from torch import Tensor

from antiphon.evaluation.floors import TfIdf
from antiphon.evaluation.report.figures import curves
from antiphon.recipes.space2.measures import Turns, bins, projected
from antiphon.recipes.space2.trees import VIEWS
from antiphon.runs import Measures, Run


def draw(
    run: Run,
    measures: Measures,
    turns: Turns,
    before: np.ndarray,
    after: np.ndarray,
    projections: Float[Tensor, "n v p"],
    reference: str | None,
) -> None:
    """Keep three pictures with the run, all of the held-out turns of the test split."""
    kinds = {"this run": "", "random encoder": "random/", "TF-IDF": "tfidf/", "Jaccard": "jaccard/"}
    kinds |= {f"{reference} (reference)": f"{reference}/"} if reference else {}
    by_view = {name: [measures[f"{key}test/tree/spearman_{view}"] for view in VIEWS] for name, key in kinds.items()}
    said = "Held-out turns: rank correlation of cosines with the share of their trees that two turns have, by view."
    run.picture("trees", heat(by_view, list(VIEWS)), said)
    said = "The same by projection: the cosines of each row's projection with the scores of each column's view."
    run.picture("projections", heat(dict(zip(VIEWS, projected(projections, turns), strict=True)), list(VIEWS)), said)
    words = TfIdf(turns.texts)(turns.texts).toarray()
    lines = {"this run": after, "random encoder": before, "TF-IDF": words}
    series = {name: bins(vectors @ vectors.T, turns) for name, vectors in lines.items()}
    said = "Held-out turns: the mean cosine of pairs, by how much of their trees they share."
    run.picture("shared", curves(series, x="mean share of the trees over the views", y="mean cosine"), said)


def heat(rows: Mapping[str, Sequence[float]], columns: Sequence[str]) -> Markup:
    """A table of correlations, darker where they are higher."""
    cell = Markup('<td style="text-align:right;background:rgba(42,120,214,{:.2f})">{:.2f}</td>')
    lines = [
        Markup("<tr><th>{}</th>{}</tr>").format(
            name, Markup("").join(cell.format(min(0.7, max(0.0, value)), value) for value in values)
        )
        for name, values in rows.items()
    ]
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in columns)
    return Markup("<table><tr><th></th>{}</tr>{}</table>").format(head, Markup("").join(lines))
