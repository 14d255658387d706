"""SPACE-2: turns of dialogs contrasted by how much of their semantic trees they share (arXiv 2209.06638).

A turn's tree (domain > intent > slot > value) is seen from ten views v: nodes D, I, S, V, edges DI, IS, SV, paths DIS,
ISV, DISV. With z^v a turn's unit vector in v's projection, two copies of each of N turns by dropout, T = 0.07:

    r_ij^v = Jaccard(set_i^v, set_j^v), r_ii = 1, and 0 where both are empty
    p_ij^v = e^{z_i.z_j / T} / sum_{k != i} e^{z_i.z_k / T}
    L^v    = (1 / 2N) sum_i -[ sum_{j != i} r_ij^v log p_ij^v ] / sum_{j != i} r_ij^v
    loss   = (mean_v L^v + 0.1 L_mlm) of labelled turns + (the same with r = identity) of as many unlabelled turns

z^v = unit(tanh(W^v h)): h is what the saved space gives, the projections are for training alone. `scores` is the one
field that arms differ by: `views` (SPACE-2), `combined` (one score, the mean of the views), `exact` (1 for equal
trees), `none` (no labels: SimCLR on everything), `shuffled` (`views`, the trees dealt out anew between turns, a
control), `labelled` (`views` without unlabelled turns), `mlm`, and `random` (nothing is trained).

On texts of one's own, here a CSV with columns `text`, `topic`, `kind`:

    antiphon train space2 data.source=folder data.options.folder=my.csv data.split_by=id more='[]' \\
        unlabelled='[]' asked='[]' levels='{domain: topic, intent: kind}'

The ten views, the loss, the temperature, the weight of masked words and which words are masked are the published
code's; 80/10/10 on values too is reconstructed. Values are masked in every arm, the one use of labels in `none` and
`mlm`.

differs: a convolution over hashed words, trained here from nothing, in the place of a dialog BERT of 110M; it masks
    words, not word pieces, and asks for the most frequent ones only.
differs: the turn before is read as words of its own, ahead of the turn, in the place of role, turn and position
    embeddings.
differs: 12,000 labelled turns of five sets and up to as many unlabelled ones, not 3 and 19 million; no evaluation
    set is among them (the paper's are), and all sets are mixed in a batch, where the code takes one set at a time.
differs: frozen vectors are what most claims are about; fine-tuning (`tune`, R-Drop) is on ten examples of each intent,
    without masked words and without the paper's step of contrast by intents before it, and from another start.
differs: Banking77 is tested on a fifth of its training file and CLINC150 on its validation file; HWU64, TOP and
    MultiWOZ are not here, and spans (REST8K, DSTC8) are not measured.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch

from antiphon.data.pairs import Pairs, expand, load, signal_of, splits
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.space import Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.recipes.space2.claims import CLAIMS
from antiphon.recipes.space2.config import Config
from antiphon.recipes.space2.floors import floors, own_vectors
from antiphon.recipes.space2.learner import Space2, view_contrast
from antiphon.recipes.space2.measures import (
    Asked,
    Intents,
    Turns,
    intent_scores,
    means,
    read_intents,
    read_turns,
    tree_scores,
)
from antiphon.recipes.space2.pictures import draw
from antiphon.recipes.space2.rows import Row, TurnBatches, drawn, frequent_words, turns_of, with_words
from antiphon.recipes.space2.trees import TreeCodes
from antiphon.recipes.space2.tuning import tuned
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit

PAPER = Paper(
    "2209.06638",
    "SPACE-2: Tree-Structured Semi-Supervised Contrastive Pre-training for Task-Oriented Dialog Understanding",
    ("text",),
)

__all__ = ["CLAIMS", "PAPER", "Asked", "Config", "Space2", "laptop", "paper", "run", "tiny", "view_contrast"]


@dataclass(frozen=True)
class Material:
    """What does not depend on the arm: labelled and unlabelled rows, what is held out, and texts that are no use."""

    labelled: list[Row]
    unlabelled: list[Row]
    held: dict[str, Turns]
    asked: dict[str, Intents]
    refused: list[tuple[str, str]]


_OF_THE_FLOORS = (
    "data", "more", "unlabelled", "tree", "levels", "previous", "at_most", "before", "most", "text", "width", "asked",
    "shots", "l2", "turns", "reference",
)  # fmt: skip
"""What the rows and the floors depend on."""


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space, and measure it: held-out trees, and intents from few examples, beside the floors."""
    started = time.perf_counter()
    shared = cfg.only(*_OF_THE_FLOORS)
    found = _material(shared.model_dump_json(), run.seed)
    for row, reason in found.refused:
        run.quarantine("text", row, reason)
    labelled = _shuffled(found.labelled, run.seed) if cfg.scores == "shuffled" else found.labelled
    codes = TreeCodes([row["tree"] for row in labelled])
    run.seed_all()
    encoder = _words(cfg.text)
    learner = Space2(
        encoder, codes.starts, frequent_words([*labelled, *found.unlabelled], cfg.vocabulary), head=cfg.text.head,
        width=cfg.width, projected=cfg.projected, scores=cfg.scores, temperature=cfg.temperature, mlm=cfg.mlm,
    )  # fmt: skip
    space = Space(branches_of(learner.branches)).eval()
    beneath = partial(
        floors, space, found.held, found.asked, shots=cfg.shots, l2=cfg.l2, reference=cfg.reference, seed=run.seed
    )
    measures = dict(run.part("floors", shared).once(beneath))
    at_start = own_vectors(space, found.held["test"].texts)
    if cfg.scores != "random":
        collate = TurnBatches(
            labelled, found.unlabelled, codes, share=cfg.masked, together=cfg.together, seed=run.seed
        )  # fmt: skip
        run.seed_all()
        fit(learner.train(), collate.rows, cfg.train, run, collate=collate)
    space.eval().save(run.folder / "space")
    measures |= _measured(cfg, space, found, run.seed)
    if cfg.tune:
        branch = branches_of(learner.branches)["text"]
        measures |= means(
            {
                name: tuned(
                    cfg, run, name, branch, of, train=cfg.tuning, agreement=cfg.agreement, examples=cfg.examples
                )
                for name, of in found.asked.items()
            }
        )
    with torch.inference_mode():
        projections = learner.eval().projected(encoder.collate(found.held["test"].texts))
    vectors = own_vectors(space, found.held["test"].texts)
    draw(run, measures, found.held["test"], at_start, vectors, projections, cfg.reference)
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


def _measured(cfg: Config, space: Space, found: Material, seed: int) -> Measures:
    """Held-out trees and intents."""
    embed, measures = partial(own_vectors, space), dict[str, float]()
    for side, held in found.held.items():
        measures |= {f"{side}/tree/{name}": value for name, value in tree_scores(embed(held.texts), held).items()}
    return measures | means(
        {name: intent_scores(embed, of, shots=cfg.shots, seed=seed, l2=cfg.l2) for name, of in found.asked.items()}
    )


def _words(tower: Tower) -> WordCnn:
    encoder = tower.open("text")
    if not isinstance(encoder, WordCnn):
        raise UserError(f"space2 wants an encoder of whole words, as scratch-small-words, not {tower.encoder}")
    return encoder


@lru_cache(maxsize=5)  # the claims' seeds: one process runs all arms of them
def _material(settings: str, seed: int) -> Material:
    cfg, refused = Config(**json.loads(settings)), list[tuple[str, str]]()

    def read(data: Any) -> list[Row]:
        columns = expand(cfg.data.columns, data.column_names)
        if [signal_of(column) for column in columns] != ["text"]:
            raise UserError(f"space2 wants one column of texts, data.columns gives {', '.join(columns)}")
        rows, bad = turns_of(
            data, columns[0], previous=cfg.previous, most=(cfg.before, cfg.most), tree=cfg.tree, levels=cfg.levels
        )  # fmt: skip
        refused.extend(bad)
        return rows

    encoder = _words(cfg.text)
    rows = {side: read(part) for side, part in splits(cfg.data, seed).items()}
    unseen = {row["domain"] for side in ("dev", "test") for row in rows[side]} if cfg.data.split_by == "domain" else {}
    more, unlabelled = (
        [row for each in sets for row in read(load(each)) if row["domain"] is None or row["domain"] not in unseen]
        for sets in (cfg.more, cfg.unlabelled)
    )
    return Material(
        labelled=with_words(drawn([*rows["train"], *more], cfg.at_most, seed), encoder),
        unlabelled=with_words(drawn(unlabelled, cfg.at_most, seed), encoder),
        held={side: read_turns(rows[side], cfg.turns, seed) for side in ("dev", "test")},
        asked={each.name: read_intents(each) for each in cfg.asked},
        refused=refused,
    )


def _shuffled(rows: list[Row], seed: int) -> list[Row]:
    """The rows with each other's trees; which words are masked stays."""
    trees = [row["tree"] for row in rows]
    random.Random(seed).shuffle(trees)
    return [row | {"tree": tree} for row, tree in zip(rows, trees, strict=True)]


def tiny() -> Config:
    """Seconds: names of generated shapes, the shape in the place of a domain and the colour of an intent."""
    made = Pairs(source="made", columns=("text",), limit=480)
    return Config(
        data=made,
        more=(),
        unlabelled=(made,),
        levels={"domain": "shape", "intent": "colour"},
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=32,
        projected=8,
        vocabulary=50,
        asked=(Asked(name="made", data=made, classes="shape"),),
        l2=1e-2,
        turns=60,
        tune=True,
        examples=(10, "all"),
        tuning=Train(steps=4, batch_size=32, lr=1e-2),
        train=Train(steps=40, batch_size=16, lr=1e-2, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: fields of life of SGD that training never sees, and intents of Banking77 and CLINC150."""
    return Config(
        at_most=12_000,
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=128,
        l2=None,
        train=Train(steps=120, batch_size=64, lr=3e-3),
    )


def paper() -> Config:
    """The published numbers, as near as the encoder allows; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        more=(),
        unlabelled=(Pairs(source="shards", columns=("text",)),),
        text=Tower(encoder="scratch-base-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=768,
        projected=768,
        before=128,
        most=128,
        vocabulary=30_000,
        # batches, rate, warm-up and decay of the published script; 60 epochs of 3M turns
        train=Train(steps=1_400_000, batch_size=128, lr=1e-5, warmup=0.1, schedule="linear"),
        tune=True,
        tuning=Train(steps=7000, batch_size=128, lr=1e-4),
    )
