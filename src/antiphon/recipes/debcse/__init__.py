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

    antiphon train debcse data.source=folder data.options.folder=my/texts dev=[] asked=[] intents=null

differs: the encoder of the claims is a convolution over words, trained from scratch, where the paper goes on from BERT;
  trained so, it is no guide for itself (`docs/log.md`), so the claims' guide is SmolLM2's twelfth layer.
differs: no layer stands behind the encoder in training, as SimCSE has one.
differs: back-translation and prompts by a model are no candidates here; one fixed template is.
differs: some thousands of sentences of Wikipedia, where the paper takes a million.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from antiphon.data.cache import cache_folder
from antiphon.data.pairs import Pairs, load
from antiphon.decode import split_words
from antiphon.encoders import Encoder
from antiphon.encoders.causal import CausalText
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.heads import HeadConfig, identity_head, unit
from antiphon.encoders.items import Items
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.evaluation.report.figures import histogram
from antiphon.evaluation.sts import Embed
from antiphon.generation.models import open_language_model
from antiphon.objectives.contrast import contrast
from antiphon.objectives.targets import normalise_rows
from antiphon.recipes.debcse.config import Config
from antiphon.recipes.debcse.probes import Trial, false_negatives
from antiphon.recipes.debcse.rows import Drawn
from antiphon.recipes.debcse.sampling import Candidates, Draws, Pool, candidates_of, draws_of, pool_of, thresholds
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper(
    "2309.07396",
    "DebCSE: Rethinking Unsupervised Contrastive Sentence Embedding Learning in the Debiasing Perspective",
    ("text",),
)


class DebCSE(ContrastiveLearner):
    """The encoder.

    Args:
        cfg: as above.
        encoder: of texts, or `Features` in its place.
        bound: the guide's cosine from which on texts are not compared; None compares all.
    """

    def __init__(self, cfg: Config, encoder: Encoder, bound: float | None = None) -> None:
        super().__init__()
        self.cfg, self.bound = cfg, bound
        head = identity_head(encoder.width)
        head.dropout = nn.Dropout(cfg.text.head.dropout)
        self.branch = Branch(encoder, head)

    def embed(self, batch: Batch) -> Views:
        """Unit vectors of a text and what it drew; the guide's of the same; and what each was made of."""
        views: Views = {name: batch[name] for name in batch if name.startswith("origin_")}
        for name, items in batch.items():
            if name.startswith("guide_"):
                views[name] = unit(items.values[:, 0])
            elif f"guide_{name}" in batch:
                views[name] = unit(self.branch(items))
                views[f"has_{name}"] = items.present
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """L, from texts to positives and hard negatives."""
        names = [name.removeprefix("has_") for name in views if name.startswith("has_") and name != "has_text"]
        keys, guide, there, origin = (
            torch.cat([views[f"{kind}{name}"] for name in names]) for kind in ("", "guide_", "has_", "origin_")
        )
        rows = len(views["text"])
        own = torch.arange(rows, device=keys.device)[:, None] == torch.arange(len(keys), device=keys.device)
        # what was made of the text itself, or is its own positive again, is no negative of it
        known = (origin == views["origin_text"][:, None]) | (origin == views["origin_positive"][:, None])
        allowed = there & ~known
        if self.bound is not None:
            allowed &= views["guide_text"] @ guide.T < self.bound
        scores = views["text"] @ keys.T / self.cfg.temperature
        return {"contrast": contrast(scores, normalise_rows(own.to(scores.dtype)), mask=allowed | own)}


def run(cfg: Config, run: Run) -> Measures:
    """Train the guide (once for all arms), draw pairs by it, train, save the space, and measure it by its floors."""
    started = time.perf_counter()
    shared = cfg.only("data", "dev", "asked", "intents", "guide", "layers", "near", "reference")
    material = _material(shared.model_dump_json())
    pool, trial = material.pool, material.trial
    for row, reason in material.refused:
        run.quarantine(cfg.data.columns[0], row, reason)
    run.seed_all()
    encoder = cfg.text.open("text")
    items = Items(encoder, [*pool.texts, *trial.texts()], _cache() if cfg.locked else None)
    learner = DebCSE(cfg, items.stand_in())
    measures = _named("random", trial.measured(partial(items.vectors, learner.branch)))
    guide = _trained_guide(cfg, run, items, pool) if material.guide is None else material.guide
    guide_ND = guide(pool.texts)
    bounds = thresholds(guide_ND[: pool.corpus], cfg.alpha, cfg.beta, seed=run.seed)
    found = candidates_of(pool, guide_ND, near=cfg.near, seed=run.seed)
    draws = draws_of(cfg.rule, pool, found, guide_ND, bounds, cfg.least)
    run.seed_all()
    learner.bound = bounds[0] if cfg.guard and cfg.rule != "dropout" else None
    drawn = Drawn(items, pool, draws, guide_ND, hard=cfg.hard, seed=run.seed)
    fit(learner.train(), drawn.rows(), cfg.train, run, collate=drawn)
    Space({"text": Branch(encoder, learner.branch.head)}).eval().save(run.folder / "space")
    measures |= trial.measured(partial(items.vectors, learner.branch)) | material.levels
    if trial.intents is not None:
        told = false_negatives(guide, trial.intents, learner.bound, batch_size=cfg.train.batch_size, seed=run.seed)
        measures |= {f"false_negatives/{name}": value for name, value in told.items()}
    _draw(run, found, draws)
    return run.finish(measures | {"seconds/total": time.perf_counter() - started})


@dataclass(frozen=True)
class Material:
    """What neither arms nor seeds change: the texts, what is asked, a guide that is not trained, and levels beside."""

    pool: Pool
    trial: Trial
    guide: Embed | None
    levels: Measures
    refused: list[tuple[str, str]]


@lru_cache(maxsize=1)  # one process runs all arms and seeds of the claims
def _material(settings: str) -> Material:
    cfg = Config.model_validate_json(settings)
    rows, column = load(cfg.data), cfg.data.columns[0]
    told, refused = dict[str, str](), list[tuple[str, str]]()
    for row, text in zip(rows["id"], rows[column], strict=True):
        if not text or not split_words(text):
            refused.append((row, "no words"))
        elif told.setdefault(text, row) != row:
            refused.append((row, f"the same as {told[text]}"))
    corpus = list(told)
    if len(corpus) <= cfg.near:
        raise UserError(f"{len(corpus)} different texts in {cfg.data.source}: wanted more than near={cfg.near}")
    pool, trial = pool_of(corpus, 0), Trial.of(cfg.dev, cfg.asked, cfg.intents, corpus)
    levels = trial.floors()
    if cfg.reference is not None:
        other = Items(open_encoder("text", cfg.reference), trial.texts(), _cache())
        published = Branch(other.stand_in(), identity_head(other.encoder.width))
        levels |= _named(cfg.reference, trial.measured(partial(other.vectors, published)))
    return Material(pool, trial, None if cfg.guide is None else _model(cfg, pool, trial), levels, refused)


def _cache() -> FeatureCache:
    return FeatureCache(cache_folder() / "features")


def _model(cfg: Config, pool: Pool, trial: Trial) -> Embed:
    """g: the mean of a causal language model's layer over a text, less the mean over the corpus."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of scratch-tiny
        model, tokenizer = open_language_model(str(cfg.guide))
    encoder = CausalText(model, tokenizer, layers=cfg.layers, single=True)
    texts = dict.fromkeys([*pool.texts, *([] if trial.intents is None else trial.intents["text"])])
    found = Items(encoder, texts, _cache())
    mean_D = torch.cat([found.of[text] for text in pool.texts[: pool.corpus]]).float().mean(0)

    def embed(asked: Sequence[str]) -> Tensor:
        return unit(torch.cat([found.of[text] for text in asked]).float() - mean_D)

    return embed


def _trained_guide(cfg: Config, run: Run, items: Items, pool: Pool) -> Embed:
    """g: unit vectors by a copy of the encoder that SimCSE trained on the same texts; arms share its run."""
    learner = DebCSE(cfg, deepcopy(items.stand_in()))
    alone = [([at], [1.0]) for at in range(pool.corpus)]
    draws = Draws(alone, [([], [])] * pool.corpus)
    drawn = Drawn(items, pool, draws, torch.ones(len(pool.texts), 1), hard=0, seed=run.seed)
    start = run.part("guide", cfg.only("data", "text", "locked", "temperature", "start", guide=None))
    fit(learner.train(), drawn.rows(), cfg.start, start, collate=drawn)
    return partial(items.vectors, learner.branch)


def _named(name: str, measures: Measures) -> Measures:
    return {f"{name}/{key}": value for key, value in measures.items()}


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
    """Seconds: phrases about coloured shapes, on two random layers."""
    made = Pairs(source="sts", options={"task": "made", "split": "dev"}, columns=("text_1", "text_2"))
    return Config(
        data=made.but(options={"task": "made", "split": "train"}, columns=("text_1",)),
        dev=(made,),
        asked=(made.but(options={"task": "made", "split": "test"}),),
        intents=None,
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(norm="none", dropout=0.1)),
        guide=None,
        near=4,
        start=Train(steps=4, batch_size=16, lr=1e-3, log_every=4),
        train=Train(steps=40, batch_size=16, lr=3e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: sentences of Wikipedia, words from scratch, SmolLM2 as a guide."""
    return Config(reference="all-MiniLM-L6-v2", train=Train(steps=200, batch_size=64, lr=2e-3, save_every=1000))


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


def _claim(text: str, metric: str, worse: str, floor: str, *, higher: bool = True) -> Claim:
    return Claim(
        text, better=Arm(), worse=Arm(rule=worse), metric=metric, floor=f"{floor}/{metric}", higher=higher
    )  # fmt: skip


CLAIMS = [
    _claim("Pairs by inverse propensity beat SimCSE at similarity (the headline).", "test/sts", "dropout", "tfidf"),
    _claim("They beat SimCSE at what words in common do not tell of similarity.", "test/partial", "dropout", "random"),
    _claim(
        "They put entailments above contradictions more often than SimCSE (SICK).", "test/order", "dropout", "jaccard"
    ),
    _claim(
        "Cosines of unrelated sentences follow their lengths less than SimCSE's.",
        "bias/length", "dropout", "random", higher=False,
    ),
    _claim(
        "Vectors follow the frequency of words less than SimCSE's.",
        "bias/frequency", "dropout", "random", higher=False,
    ),
    _claim("Weights by both beat any near neighbour as a positive.", "test/sts", "neighbours", "tfidf"),
    _claim("Weights by both beat those by surface alone.", "test/sts", "surface", "tfidf"),
    _claim("Weights by both beat those by meaning alone.", "test/sts", "semantic", "tfidf"),
    _claim("Weights that are cut beat those that are not.", "test/sts", "unclipped", "tfidf"),
]  # fmt: skip
