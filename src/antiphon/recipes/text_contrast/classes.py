"""The first study: is a space of texts good for classes that training never saw?"""

from __future__ import annotations

from antiphon.data.pairs import columns_there, expand, signal_of, splits
from antiphon.errors import UserError
from antiphon.evaluation.floors import named
from antiphon.evaluation.report.figures import curves
from antiphon.recipes.text_contrast.config import Config
from antiphon.recipes.text_contrast.learner import opened, train
from antiphon.recipes.text_contrast.rows import Row, training_rows
from antiphon.recipes.text_contrast.scores import (
    SHOTS,
    Table,
    model_scores,
    overlap_scores,
    space_scores,
    word_scores,
)
from antiphon.runs import Measures, Run


def of_classes(cfg: Config, run: Run) -> Measures:
    """Train on the training texts, save the space, and measure it on dev and test beside its floors."""
    data, column, rows = texts_of(cfg, run.seed)
    learner = opened(cfg, rows)
    space = learner.space()
    measures = named("random", space_scores(space.eval(), data, column, cfg.classes, run.seed))
    if cfg.pairing != "none":
        train(learner, rows, run)
    space.eval().save(run.folder / "space")
    measures |= space_scores(space, data, column, cfg.classes, run.seed)
    if cfg.classes is not None:
        measures |= named("tfidf", word_scores(data, column, cfg.classes, run.seed))
        measures |= named("jaccard", overlap_scores(data, column, cfg.classes))
        if cfg.reference is not None:
            measures |= named(cfg.reference, model_scores(cfg.reference, data, column, cfg.classes, run.seed))
        _draw(run, measures, cfg.reference)
    return measures


def texts_of(cfg: Config, seed: int) -> tuple[Table, str, list[Row]]:
    """The splits' columns, which of them is the text, and the rows that are trained on.

    Raises:
        UserError: columns or classes that do not fit the pairing.
    """
    data = splits(cfg.data, seed)
    columns_there(data["train"].column_names, classes=cfg.classes)
    columns = expand(cfg.data.columns, data["train"].column_names)
    if {signal_of(column) for column in columns} != {"text"} or (cfg.pairing == "pair") != (len(columns) == 2):
        raise UserError(
            f"pairing={cfg.pairing} wants {'two columns' if cfg.pairing == 'pair' else 'one column'} of texts, "
            f"data.columns gives {', '.join(columns)}"
        )
    if cfg.classes is None and cfg.pairing in ("class", "label"):
        raise UserError(f"pairing={cfg.pairing} wants classes=COLUMN, the rows' classes as phrases")
    wanted = sorted({"id", *columns, *([cfg.classes] if cfg.classes else [])})
    table = {split: rows.select_columns(wanted)[:] for split, rows in data.items()}
    for split in ("dev", "test"):
        if cfg.classes is not None and len(set(table[split][cfg.classes])) < 2:
            raise UserError(
                f"{split} has no two classes of {cfg.classes} to tell apart: leave data.split_by={cfg.data.split_by} "
                "out, so that rows of each class are in every split, or give rows of more classes"
            )
    return table, columns[0], training_rows(table["train"], columns, cfg.classes)


def _draw(run: Run, measures: Measures, reference: str | None) -> None:
    """Accuracy over the number of examples, names alone being none, beside every floor."""
    floors = {"this run": "", "random encoder": "random/", "TF-IDF": "tfidf/"}
    floors |= {f"{reference} (reference)": f"{reference}/"} if reference else {}
    points = {
        name: [(0.0, measures[f"{key}test/zero_shot/accuracy"])]
        + [(float(n), measures[f"{key}test/few_shot/{n}"]) for n in SHOTS if f"{key}test/few_shot/{n}" in measures]
        for name, key in floors.items()
    }
    said = "Accuracy on test, by the names of classes (0) and by the centroid of a few examples of each."
    run.picture("shots", curves(points, x="examples of each class", y="accuracy"), said)
