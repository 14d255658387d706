"""How many keys does a loss gain from? One training for each K, alike but for it.

Ranking is consistent whatever K is, and its bound tightens with K; binary noise contrast wants a constant normaliser
(Ma and Collins 2018): so the primer expects ranking to gain more. `gain` is the accuracy by classes' names with the
most keys, less that with the fewest.
"""

from __future__ import annotations

import math

from antiphon.errors import UserError
from antiphon.evaluation.floors import named
from antiphon.evaluation.report.figures import curves
from antiphon.recipes.text_contrast.classes import texts_of
from antiphon.recipes.text_contrast.config import Config
from antiphon.recipes.text_contrast.learner import opened, train
from antiphon.recipes.text_contrast.scores import model_scores, overlap_scores, space_scores, word_scores
from antiphon.runs import Measures, Run

ASKED = "zero_shot/accuracy"


def of_keys(cfg: Config, run: Run) -> Measures:
    """Train for each of `counts`, save the space of the last, and measure all; and the gain."""
    if cfg.classes is None or len(set(cfg.counts)) < 2 or cfg.pairing in ("none", "tokens"):
        raise UserError(
            f"study=keys wants classes=COLUMN, two counts or more and a pairing with keys, not classes={cfg.classes}, "
            f"counts={list(cfg.counts)}, pairing={cfg.pairing}"
        )
    data, column, rows = texts_of(cfg, run.seed)
    run.seed_all()
    space = opened(cfg, rows).space().eval()
    measures = named("random", space_scores(space, data, column, cfg.classes, run.seed, shots=()))
    measures |= named("tfidf", word_scores(data, column, cfg.classes, run.seed, shots=()))
    measures |= named("jaccard", overlap_scores(data, column, cfg.classes))
    if cfg.reference is not None:
        name = cfg.reference
        measures |= named(name, model_scores(name, data, column, cfg.classes, run.seed, shots=()))
    counts = sorted(set(cfg.counts))
    for count in counts:
        one = cfg.but(negatives="drawn", drawn=count)
        run.seed_all()
        learner = opened(one, rows)
        train(learner, rows, run.part("keys", one))
        space = learner.space().eval()
        measures |= named(f"keys_{count}", space_scores(space, data, column, cfg.classes, run.seed, shots=()))
    space.save(run.folder / "space")
    for split in ("dev", "test"):
        most, least = (measures[f"keys_{count}/{split}/{ASKED}"] for count in (counts[-1], counts[0]))
        # an encoder that is not trained gains nothing from keys
        measures |= {f"{split}/gain": most - least, f"random/{split}/gain": 0.0}
    _draw(run, cfg, counts, measures)
    return measures


def _draw(run: Run, cfg: Config, counts: list[int], measures: Measures) -> None:
    places = [math.log2(count) for count in counts]
    lines = {f"{cfg.loss}, K keys": [measures[f"keys_{count}/test/{ASKED}"] for count in counts]}
    lines |= {name: [measures[f"{key}/test/{ASKED}"]] * len(counts) for name, key in (
        ("TF-IDF", "tfidf"), ("Jaccard", "jaccard"), ("random encoder", "random"),
    )}  # fmt: skip
    if cfg.reference is not None:
        lines[f"{cfg.reference} (reference)"] = [measures[f"{cfg.reference}/test/{ASKED}"]] * len(counts)
    points = {name: list(zip(places, values, strict=True)) for name, values in lines.items()}
    said = f"The {cfg.loss} loss: accuracy by the names of classes never seen, over the logarithm of K, keys a text."
    run.picture(f"keys-{cfg.loss}", curves(points, x="log2 of K", y="accuracy"), said)
