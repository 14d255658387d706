"""DebCSE: sentence embeddings from pairs that are sampled by inverse propensity (arXiv 2309.07396).

Contrast of a sentence with itself (SimCSE) teaches what pairs have in common: their length, their words. Good pairs
look like those that people made: positives of one meaning in other words, negatives of other meaning in the same words.
Each text x draws one positive and `hard` negatives from candidates, by weights over the chance e that a naive rule
would have found them (`sampling.py`), and with f = cosine / temperature, g a frozen guide:

    L_i = -log e^{f(x_i, x_i+)} / (sum_j e^{f(x_i, x_j+)} + sum_jm e^{f(x_i, x_jm-)})

without what g finds as near x_i as a positive (alpha).
g is a frozen language model's layer (`guide`), or is trained first, by SimCSE on the same texts (`guide: null`, as the
paper has it). The paper's body was not reachable and there is no official code: the principle is verified (abstract),
every formula here and in `sampling.py` is our specification of it.

    antiphon train debcse data.source=folder data.options.folder=my.csv dev='[]' asked='[]' intents=null

Each part is a setting of its own: `positives`, `negatives`, `guard`, `cut`; copies, no hard negatives and no guard are
SimCSE.

differs: the encoder of the claims is a convolution over words, trained from scratch, where the paper goes on from BERT;
  trained so, it is no guide for itself (`docs/log.md`), so the claims' guide is SmolLM2's twelfth layer.
differs: no layer stands behind the encoder in training, as SimCSE has one.
differs: back-translation and prompts by a model are no candidates here; one fixed template is.
differs: some thousands of sentences of Wikipedia, where the paper takes a million.
differs: STS 2015 and 2016 and the test files of STS-B and SICK are not here: SICK's training pairs stand for its test,
  and STS-B's dev pairs are for choosing settings alone.
differs: of related work only Chuang's correction is a setting (`prior`); DCLR's weights and noise and a momentum queue
  are not here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor

from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.items import Items
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.towers import Tower
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.report.figures import histogram
from antiphon.evaluation.sts import Embed, scored_pairs
from antiphon.recipes.debcse.claims import CLAIMS
from antiphon.recipes.debcse.config import Config
from antiphon.recipes.debcse.learner import DebCSE, watch
from antiphon.recipes.debcse.material import (
    OF_THE_MATERIAL,
    Material,
    classed,
    features,
    material,
    trained_guide,
)
from antiphon.recipes.debcse.probes import false_negatives
from antiphon.recipes.debcse.rows import Drawn
from antiphon.recipes.debcse.sampling import Candidates, Draws, Pool, candidates_of, draws_of, same_class, thresholds
from antiphon.runs import Measures, Run
from antiphon.training.fit import Every, Train, fit

PAPER = Paper(
    "2309.07396",
    "DebCSE: Rethinking Unsupervised Contrastive Sentence Embedding Learning in the Debiasing Perspective",
    ("text",),
)

__all__ = ["CLAIMS", "PAPER", "Config", "DebCSE", "laptop", "paper", "run", "tiny"]


def run(cfg: Config, run: Run) -> Measures:
    """Train the guide (once for all arms), draw pairs by it, train, save the space, and measure it by its floors."""
    started = time.perf_counter()
    found = material(cfg.only(*OF_THE_MATERIAL).model_dump_json())
    pool, trial = found.pool, found.trial
    for row, reason in found.refused:
        run.quarantine(cfg.data.columns[0], row, reason)
    run.seed_all()
    encoder = cfg.text.open("text")
    items = Items(encoder, [*pool.texts, *trial.texts()], features() if cfg.locked else None)
    learner = DebCSE(cfg, items.stand_in())
    measures = {f"random/{key}": value for key, value in trial.measured(items, learner.branch).items()}
    guide = trained_guide(cfg, run, items, pool) if found.guide is None else found.guide
    guide_ND = guide(pool.texts)
    bounds = thresholds(guide_ND[: pool.corpus], cfg.alpha, cfg.beta, seed=run.seed)
    candidates = candidates_of(pool, guide_ND, near=cfg.near, seed=run.seed)
    draws = _draws(cfg, pool, candidates, guide_ND, bounds)
    run.seed_all()
    learner.bound = bounds[0] if cfg.guard else None
    drawn = Drawn(items, pool, draws, guide_ND, hard=cfg.hard, seed=run.seed)
    looking = [Every(cfg.watched, watch(cfg.collapsed))]
    fit(learner.train(), drawn.rows(), cfg.train, run, collate=drawn, every=looking)
    Space({"text": Branch(encoder, learner.branch.head)}).eval().save(run.folder / "space")
    measures |= trial.measured(items, learner.branch) | found.levels
    if trial.intents is not None:
        measures |= _of_classes(cfg, found, guide, learner.bound, run.seed)
    _draw(run, candidates, draws)
    return run.finish(measures | {"seconds/total": time.perf_counter() - started})


def _draws(cfg: Config, pool: Pool, found: Candidates, guide_ND: Tensor, bounds: tuple[float, float]) -> Draws:
    return draws_of(
        cfg.positives, cfg.negatives, pool, found, guide_ND, bounds, least=cfg.least, cut=cfg.cut
    )  # fmt: skip


def _of_classes(cfg: Config, found: Material, guide: Embed, bound: float | None, seed: int) -> Measures:
    """How often negatives, and what the rules draw among texts with known classes, are of the text's own class."""
    texts, classes = list(found.trial.intents["text"]), list(found.trial.intents[cfg.classes])
    told = false_negatives(guide, texts, classes, bound, batch_size=cfg.train.batch_size, seed=seed)
    measures = {f"false_negatives/{name}": value for name, value in told.items()}
    pool, candidates, vectors_ND = found.of_classes or classed(found.trial, guide, cfg.near)
    bounds = thresholds(vectors_ND, cfg.alpha, cfg.beta, seed=seed)
    drawn = same_class(_draws(cfg, pool, candidates, vectors_ND, bounds), classes)
    return measures | {f"drawn/{name}": value for name, value in drawn.items()}


def _draw(run: Run, found: Candidates, draws: Draws) -> None:
    """How alike in words what is drawn is, beside all that could be."""

    def likeness(sides: Sequence[tuple[list[int], list[float]]]) -> list[float]:
        return [
            sum(share * found.surface[at][place] for place, share in zip(*side, strict=True))
            for at, side in enumerate(sides)
            if side[0]
        ]

    shown = {"positives, drawn": likeness(draws.positives), "hard negatives, drawn": likeness(draws.negatives)}
    every = [([*places], [1 / len(places)] * len(places)) for places in found.negatives]
    shown["candidates of negatives"] = likeness(every)
    said = "How alike in words a sentence and what it draws are, in the mean of its chances: 1 is the same words."
    run.picture("surface", histogram({name: values for name, values in shown.items() if values}, x="surface"), said)


def tiny() -> Config:
    """Seconds: generated sentences, asked about phrases of coloured shapes."""
    made = Pairs(source="made_documents", options={"languages": ["eng"], "documents": 12}, columns=("text",))
    return Config(
        data=made,
        dev=(scored_pairs("made", "dev"),),
        asked=(scored_pairs("made", "test"),),
        intents=made,
        classes="document",
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(norm="none", dropout=0.1)),
        guide=None,
        watched=10,
        near=4,
        start=Train(steps=4, batch_size=16, lr=1e-3, log_every=4),
        train=Train(steps=40, batch_size=16, lr=3e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: sentences of Wikipedia, words from scratch, SmolLM2 as a guide."""
    return Config(
        dev=(scored_pairs("stsb", "dev"),),
        asked=(
            scored_pairs("sts2012", "test"),
            scored_pairs("sts2013", "test"),
            scored_pairs("sts2014", "test"),
            scored_pairs("sickr", "train"),
        ),
        intents=Pairs(source="intents", columns=("text",), limit=2000),
        reference="all-MiniLM-L6-v2",
        collapsed=1,  # near neighbours come to 0.77, and are to be measured all the same
        train=Train(steps=200, batch_size=64, lr=2e-3, save_every=1000),
    )


def paper() -> Config:
    """As far as is known: BERT, a million sentences, SimCSE's batch and rate; not run here."""
    train = Train(steps=15_625, batch_size=64, lr=3e-5)
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        text=Tower(encoder="bert-base-uncased", head=HeadConfig(norm="none", dropout=0.0)),
        guide=None,
        start=train,
        train=train,
    )
