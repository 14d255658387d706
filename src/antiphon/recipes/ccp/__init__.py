"""CCP: contrastive context prediction, sentences of several languages without bilingual data (arXiv 2206.03281).

A sentence s_c is pulled towards a sentence s of its document, at most w places away, and pushed from others of its own
language l; z = g(f(s)) of unit length, g a projection used in training only:

    L = -log e^{z_c.z/t} / (e^{z_c.z/t} + sum_{n in B_l} e^{z_c.n/t})   and the same with z as the query

and, with `mlm`, the loss of masked words. B_l is a memory bank of language l alone: were other languages in it, telling
languages apart would do, and the spaces of the languages would part (collapse). g has batch norm; were queries and keys
normalised by the same batch, they would know each other by it (leakage): here a query is normalised by its batch, a key
by running statistics. After training each language is calibrated by what its own training texts tell
(`evaluation.geometry`: centre, scale, whiten, rotate without pairs). Of this the abstract and introduction are
verified; the form of the norm, the calibration and all numbers are reconstructed: the code that was published holds no
pre-training.

Limits of the setting that is measured: with so little text the order of sentences and the guards move what they should,
and yet the trained encoder is no better than the untrained one on sentences of another kind, or once both are centred;
letter n-gram TF-IDF is above both; and Ukrainian, in another script, stays near chance. So the claims tell of arms
against each other, each beside its floor.

`disjoint=true` trains each language on documents of its own, since the texts here are translations of one original.
To train on texts of one's own in one language, with a column `document` and rows in the order of the text:

    antiphon train ccp data.source=folder data.options.folder=my.csv language=null line=null outside=null

With a column `language` leave out `language=null`, with a column `line` that names translations also `line=null`; and
set `disjoint=false` where the documents of the languages are no translations of each other.

differs: f is a bag of hashed letter n-grams with a hidden layer, trained from scratch, where the paper goes on from
  XLM-R; any text encoder can stand in its place (`text.encoder`).
differs: the contrast alone is trained here; the paper adds the loss of a masked language model, for which a bag of
  n-grams has no tokens to fill in. `mlm` adds it for encoders that have (`paper()`); its weight is not known.
differs: some 73 documents of news, 15 a language, where the paper has a web crawl; a bank holds 128 keys, fewer than
  any language has sentences, and what stands in the query's window is no negative.
differs: the one bank for all languages holds as many keys of each, and as old ones, as the banks apart: so what is
  compared is the other languages' keys alone.
differs: keys come from a slow copy of the encoder (`momentum`), which the paper does not tell of: without it a bank of
  older keys is told apart by its age, and in a few hundred steps all sentences become alike.
differs: languages stand side by side in each batch, and each is compared with its own bank; the paper's batching is not
  known.
differs: Tatoeba has German and Ukrainian in the place of the spec's Italian and Russian; no retrieval of passages (XOR-
  Retrieve, Mr.TyDi).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from antiphon.data.pairs import Pairs, expand, load, signal_of, splits
from antiphon.data.sources.documents import apart
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.space import Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.floors import named, published
from antiphon.recipes.ccp.claims import CLAIMS
from antiphon.recipes.ccp.config import Config
from antiphon.recipes.ccp.leaks import leak
from antiphon.recipes.ccp.learner import CCP
from antiphon.recipes.ccp.measures import outside_pairs
from antiphon.recipes.ccp.pictures import draw
from antiphon.recipes.ccp.rows import Column, Row, Windows, as_many, by_language, training_rows
from antiphon.recipes.ccp.scores import Trial, embedded, floor_scores, scores
from antiphon.recipes.ccp.words import hiding
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.views import views_of

PAPER = Paper(
    "2206.03281",
    "Unsupervised Context Aware Sentence Representation Pretraining for Multi-lingual Dense Retrieval",
    ("text",),
)

__all__ = ["CCP", "CLAIMS", "PAPER", "Config", "laptop", "paper", "run", "tiny"]


def run(cfg: Config, run: Run) -> Measures:
    """Train on the training documents, save the space, and measure it on dev and test beside its floors."""
    started = time.perf_counter()
    run.seed_all()
    data = _split(cfg, run.seed)
    trial, rows = _prepared(cfg, data, run.seed)
    encoder = cfg.text.open("text")
    learner = CCP(cfg, encoder, len(trial.train))
    space = Space(branches_of(learner.branches)).eval()
    collate = Windows(encoder, run.seed, cfg.window)
    learner.fill(views_of(learner, rows, collate, batch_size=256), cfg.train.batch_size, run.seed)

    def measured() -> Measures:
        return scores(lambda texts: embedded(space, texts), trial) | _leaks(
            cfg, learner, trial, rows, collate, run.seed
        )

    start = measured()
    groups = [float(row["group"]) for row in rows] if cfg.together else None
    told = Windows(encoder, run.seed, cfg.window, hiding(encoder, cfg.masked) if cfg.mlm else None)
    fit(learner.train(), rows, cfg.train, run, collate=told, sizes=groups)
    space.eval().save(run.folder / "space")
    measures = named("random", start) | measured()
    measures |= run.part("floors", cfg.only(*_OF_THE_TRIAL)).once(lambda: _floors(cfg, trial))
    for split in trial.held:
        measures[f"{split}/leak/rise"] = measures[f"{split}/leak/gap"] - start[f"{split}/leak/gap"]
        measures[f"random/{split}/leak/rise"] = 0.0  # of itself over itself
    draw(run, measures, trial.pivot, list(trial.train))
    columns = {split: trial.held.get(split, trial.train) for split in data}
    measures |= {f"{split}/sentences": sum(map(len, each.values())) for split, each in columns.items()}
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


_OF_THE_TRIAL = (
    "data", "document", "language", "line", "pivot", "outside", "disjoint", "window", "calibration", "reference",
)  # fmt: skip


def _floors(cfg: Config, trial: Trial) -> Measures:
    """What hangs on no training, and so is shared by arms: words and letters, chance, and the reference."""
    found = floor_scores(trial)
    if cfg.reference is not None:
        found |= named(cfg.reference, scores(partial(published, cfg.reference), trial))
    return found


def _split(cfg: Config, seed: int) -> Mapping[str, Any]:
    """The rows in train, dev and test, no document in two of them, since its sentences are each other's positives."""
    names = load(cfg.data).column_names
    columns = expand(cfg.data.columns, names)
    if [signal_of(column) for column in columns] != ["text"]:
        raise UserError(f"ccp wants one column of texts, data.columns gives {', '.join(columns)}")
    for field in ("document", "language", "line"):
        wanted = getattr(cfg, field)
        if wanted is not None and wanted not in names:
            without = "" if field == "document" else f"; set {field}=null where there is none"
            raise UserError(f"{field}={wanted}: no such column, the rows have {', '.join(names)}{without}")
    key = cfg.data.split_by or cfg.document
    data = splits(cfg.data.but(split_by=key), seed)
    for one, other in combinations(data, 2):
        both = set(data[one][cfg.document]) & set(data[other][cfg.document]) - {None}
        if both:
            raise UserError(
                f"data.split_by={key} puts {cfg.document} {min(map(str, both))!r} into {one} and {other}: set "
                f"data.split_by={cfg.document}, or leave it out"
            )
    return data


def _prepared(cfg: Config, data: Mapping[str, Any], seed: int) -> tuple[Trial, list[Row]]:
    """What is measured, and the rows that are trained on."""
    if cfg.bank != "batch" and cfg.bank_size < cfg.train.batch_size:
        raise UserError(f"bank_size={cfg.bank_size} is below train.batch_size={cfg.train.batch_size}: make it larger")
    train = data["train"]
    if cfg.disjoint and cfg.language is not None:
        train = apart(train, seed=seed, document=cfg.document, language=cfg.language)
    told = (expand(cfg.data.columns, train.column_names)[0], cfg.document, cfg.language, cfg.line)
    trial = Trial(
        train=by_language(train, *told),
        held={split: by_language(data[split], *told) for split in ("dev", "test")},
        outside=outside_pairs(load(cfg.outside), cfg.pivot, *told[1:]) if cfg.outside is not None else {},
        pivot=cfg.pivot,
        window=cfg.window,
        calibration=cfg.calibration,
    )
    rows = _rows_of(cfg, trial.train, seed, shuffled=cfg.order == "shuffled")
    if not rows:
        raise UserError(f"no sentence has another one near it: is {cfg.document} the column of documents?")
    return trial, rows


def _leaks(cfg: Config, learner: CCP, trial: Trial, rows: Sequence[Row], collate: Windows, seed: int) -> Measures:
    """`leak` of dev and test, and of as many training rows.

    `spread` is the accuracy of these, in batches as in training, less that of held-out pairs normalised apart.
    """
    held = {split: _rows_of(cfg, columns, seed) for split, columns in trial.held.items()}
    found: Measures = {}
    for split, part in {"train": as_many(rows, held["test"]), **held}.items():
        told = leak(
            views_of(learner, part, collate, batch_size=256),
            queries=lambda views: learner.project(views["text"], query=True),
            keys=lambda views: learner.keys_of(views)["context"],
            batch_size=cfg.train.batch_size,
            groups=[row["group"] for row in part] if cfg.together else None,
            seed=seed,
        )
        found |= {f"{split}/leak/{name}": value for name, value in told.items()}
    for split in held:
        found[f"{split}/leak/spread"] = found["train/leak/together"] - found[f"{split}/leak/apart"]
    return found


def _rows_of(cfg: Config, columns: Mapping[str, Column], seed: int, *, shuffled: bool = False) -> list[Row]:
    return training_rows(columns, window=cfg.window, shuffled=shuffled, balance=cfg.balance, seed=seed)


def tiny() -> Config:
    """Seconds: generated documents of three languages."""
    return Config(
        data=Pairs(source="made_documents", columns=("text",), split_by="document"),
        outside=Pairs(source="made_documents", columns=("text",)),
        text=Tower(encoder="scratch-tiny-ngrams"),
        width=32,
        bank_size=64,
        together=True,
        train=Train(steps=40, batch_size=32, lr=1e-2, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: news documents in five languages, each trained on documents of its own."""
    train = Train(steps=120, batch_size=64, bucket=8, lr=1e-3)
    return Config(together=True, bank_size=128, reference="all-MiniLM-L6-v2", train=train)


def paper() -> Config:
    """As far as is known: XLM-R, CLS or mean, and a bank of thousands for each language; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        disjoint=False,  # a crawl: its documents are no translations
        outside=None,
        line=None,
        text=Tower(encoder="xlm-roberta-base", head=HeadConfig(norm="none")),
        width=768,
        bank_size=16_384,  # reconstructed: 8k to 32k
        mlm=1.0,
        train=Train(steps=100_000, batch_size=1024, lr=1e-5, microbatch=64),
    )
