"""CCP: contrastive context prediction, sentences of several languages without bilingual data (arXiv 2206.03281).

A sentence s_c is pulled towards a sentence s of its document, at most w places away, and pushed from others of its own
language l; z = g(f(s)) of unit length, g a projection used in training only:

    L = -log e^{z_c.z/t} / (e^{z_c.z/t} + sum_{n in B_l} e^{z_c.n/t})   and the same with z as the query

B_l is a memory bank of language l alone: were other languages in it, telling languages apart would do, and the spaces
of the languages would part (collapse). g has batch norm; were queries and keys normalised by the same batch, they would
know each other by it (leakage): here a query is normalised by its batch, a key by running statistics. After training
each language is calibrated by what its own training texts tell (`evaluation.geometry`: centre, scale, whiten, rotate
without pairs). Of this the abstract and introduction are verified; the form of the norm, the calibration and all
numbers are reconstructed: the code that was published holds no pre-training.

Limits of the setting that is measured: with so little text the order of sentences and the guards move what they should,
and yet the trained encoder is no better than the untrained one on sentences of another kind, or once both are centred;
letter n-gram TF-IDF is above both; and Ukrainian, in another script, stays near chance. So the claims tell of arms
against each other, each beside its floor.

`disjoint=true` trains each language on documents of its own, since the texts here are translations of one original.
To train on texts of one's own, with columns `document` and `language` and rows in the order of the text:

    antiphon train ccp data.source=folder data.options.folder=my.csv data.split_by=document disjoint=false outside=null

differs: f is a bag of hashed letter n-grams with a hidden layer, trained from scratch, where the paper goes on from
  XLM-R; any text encoder can stand in its place (`text.encoder`).
differs: no masked language model beside the contrast: a bag of n-grams has no tokens to fill in.
differs: some 73 documents of news, 15 a language, where the paper has a web crawl; the bank holds hundreds of keys.
differs: keys come from a slow copy of the encoder (`momentum`), which the paper does not tell of: without it a bank of
  older keys is told apart by its age, and in a few hundred steps all sentences become alike.
differs: languages stand side by side in each batch, and each is compared with its own bank; the paper's batching is not
  known.
differs: Tatoeba has German and Ukrainian in the place of the spec's Italian and Russian; no retrieval of passages (XOR-
  Retrieve, Mr.TyDi).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs, expand, load, signal_of, splits
from antiphon.data.sources.documents import apart
from antiphon.encoders import Encoder
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.objectives.contrast import contrast
from antiphon.recipes.ccp.guards import Banks, Norm, Projection, mean_cosine
from antiphon.recipes.ccp.leaks import leak
from antiphon.recipes.ccp.measures import outside_pairs
from antiphon.recipes.ccp.pictures import draw
from antiphon.recipes.ccp.rows import Column, Row, Windows, by_language, training_rows
from antiphon.recipes.ccp.scores import Trial, by_reference, embedded, floor_scores, scores
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Views

PAPER = Paper(
    "2206.03281", "Unsupervised Context Aware Sentence Representation Pretraining for Multi-lingual Dense Retrieval"
)


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="documents", columns=("text",), split_by="document")
    document: str = "document"
    """The column that names each row's document; its rows stand in the order of the text."""
    language: str | None = "language"
    """The column of languages; None where there is one only."""
    line: str | None = "line"
    """The column whose values translations share; for the measures alone. None where there are no translations."""
    pivot: str = "eng"
    """The language that translations are measured to and from."""
    outside: Pairs | None = Pairs(
        source="tatoeba", options={"languages": ["fra", "spa", "deu", "ukr"]}, columns=("text",)
    )
    """Translated sentences of another kind, in columns `text_xxx`, to be measured on; None for none."""
    disjoint: bool = True
    """Each document of training in one language only: no bilingual data, not even comparable texts."""
    order: Literal["document", "shuffled"] = "document"
    """shuffled: the control; a language's sentences change places with each other, and context tells nothing."""
    window: PositiveInt = 2
    """w: how many places away, to either side, the other sentence of a pair may stand."""
    text: Tower = Tower(encoder="scratch-small-ngrams", head=HeadConfig(norm="layer", hidden=256))
    width: PositiveInt = 256
    norm: Norm = "asymmetric"
    """Of the projection: asymmetric, symmetric (queries and keys by their own batch), layer, or none."""
    bank: Literal["language", "shared", "batch"] = "language"
    """Negatives: a bank for each language, one bank for all, or the batch's other keys of the query's language."""
    bank_size: PositiveInt = 512
    """Keys that a bank holds."""
    together: bool = False
    """Batches of few documents with many pairs of each, which is where leakage shows; see train.bucket."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Of the key encoder, a slow copy of the query encoder, so that a bank's keys are of one kind; 0: keys come from
    the query encoder itself, with gradients."""
    temperature: PositiveFloat = 0.07
    balance: Annotated[NonNegativeFloat, Field(le=1)] = 0.5
    """a: languages are drawn by n^a, n being their sentences."""
    calibration: Literal["none", "centre", "scale", "whiten", "rotate"] = "none"
    """Under which translations are measured; every kind is told beside it."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    train: Train = Train()


class CCP(ContrastiveLearner):
    """f, g, and the banks.

    Args:
        cfg: as above.
        encoder: of texts.
        languages: how many.
    """

    def __init__(self, cfg: Config, encoder: Encoder, languages: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))})
        self.project = Projection(cfg.width, cfg.width, cfg.norm)
        self.slow = nn.ModuleList([deepcopy(self.branches["text"]), deepcopy(self.project)]) if cfg.momentum else None
        if self.slow is not None:
            self.slow.requires_grad_(False)
        self.banks = None if cfg.bank == "batch" else Banks(
            languages, cfg.bank_size, cfg.width, shared=cfg.bank == "shared"
        )  # fmt: skip
        self.cosine = 0.0

    def embed(self, batch: Batch) -> Views:
        """f of both sentences, by the query and the key encoder, before g: that looks at all rows, in `losses`."""
        branch = branches_of(self.branches)["text"]
        views: Views = {name: batch[name] for name in ("number", "other", "language")}
        views["there"] = batch["text"].present & batch["context"].present
        for name in ("text", "context"):
            views[name] = branch.head(branch.encoder(batch[name]))
            if self.slow is not None:
                slow = self.slow[0]
                assert isinstance(slow, Branch)
                with torch.no_grad():
                    views[f"{name}_key"] = slow.head(slow.encoder(batch[name]))
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Both directions of L."""
        views = {name: view[views["there"]] for name, view in views.items()}
        numbers = {"text": views["number"], "context": views["other"]}
        queries = {name: self.project(views[name], query=True) for name in numbers}
        keys = self.keys_of(views)
        found = {
            f"{query}_to_{key}": self._direction(
                queries[query], keys[key], numbers[query], numbers[key], views["language"]
            )
            for query, key in (("text", "context"), ("context", "text"))
        }
        if self.training:
            self._move(views)
            if self.banks is not None:
                self.banks.push(keys["context"], numbers["context"], views["language"])
        self.cosine = mean_cosine(keys["context"].detach())
        return found

    def keys_of(self, views: Views) -> dict[str, Tensor]:
        """Both sentences as keys; without gradients, where they have an encoder of their own."""
        if self.slow is None:
            return {name: self.project(views[name], query=False) for name in ("text", "context")}
        with torch.no_grad():
            return {name: self.slow[1](views[f"{name}_key"], query=False) for name in ("text", "context")}

    @torch.no_grad()
    def fill(self, views: Views, size: int) -> None:
        """Running statistics and banks from rows before training, `size` at a time: no query meets an empty bank."""
        parts = [
            {name: view[at : at + size] for name, view in views.items()} for at in range(0, len(views["text"]), size)
        ]
        parts = [{name: view[part["there"]] for name, view in part.items()} for part in parts]
        for part in parts:
            self._learn(part)
        for part in parts if self.banks is not None else []:
            assert self.banks is not None
            self.banks.push(self.keys_of(part)["context"], part["other"], part["language"])

    def _learn(self, views: Views) -> None:
        if self.slow is None:
            self.project.learn(views["text"].detach(), views["context"].detach())
            return
        project = self.slow[1]
        assert isinstance(project, Projection)
        project.learn(views["text_key"], views["context_key"])

    @torch.no_grad()
    def _move(self, views: Views) -> None:
        """Running statistics of the keys by this batch, and the key encoder a little towards the query encoder."""
        self._learn(views)
        if self.slow is None:
            return
        for slow, fast in zip(self.slow, (self.branches["text"], self.project), strict=True):
            for mine, theirs in zip(slow.parameters(), fast.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.cfg.momentum)

    def _direction(self, queries: Tensor, keys: Tensor, own: Tensor, other: Tensor, language: Tensor) -> Tensor:
        """L of queries in rows, each language with its own negatives; a query never meets itself or its key in them."""
        total = queries.new_zeros(())
        for code in sorted(set(language.tolist())):
            rows = (language == code).nonzero()[:, 0]
            if self.banks is None:
                against, numbers, filled = keys[rows], other[rows], torch.ones_like(rows, dtype=torch.bool)
            else:
                against, numbers, filled = self.banks.of(code)
            allowed = filled & (numbers != own[rows, None]) & (numbers != other[rows, None])
            positive = (queries[rows] * keys[rows]).sum(1, keepdim=True)
            scores = torch.cat([positive, queries[rows] @ against.to(queries).T], 1) / self.cfg.temperature
            targets = torch.zeros_like(scores)
            targets[:, 0] = 1
            mask = torch.cat([torch.ones_like(allowed[:, :1]), allowed], 1)
            total = total + len(rows) / len(language) * contrast(scores, targets, mask=mask)
        return total

    def levels(self) -> dict[str, float]:
        """The mean cosine of different keys: near 1, all are alike."""
        return {"mean_cosine": self.cosine}


def run(cfg: Config, run: Run) -> Measures:
    """Train on the training documents, save the space, and measure it on dev and test beside its floors."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    trial, rows = _prepared(cfg, data, run.seed)
    encoder = cfg.text.open("text")
    learner = CCP(cfg, encoder, len(trial.train))
    space = Space(branches_of(learner.branches)).eval()
    collate = Windows(encoder, run.seed)

    def measured() -> Measures:
        found = scores(lambda texts: embedded(space, texts), trial)
        for split, columns in trial.held.items():
            held = _rows_of(cfg, columns, run.seed)
            told = leak(
                views_of(learner, held, collate, batch_size=256),
                queries=lambda views: learner.project(views["text"], query=True),
                keys=lambda views: learner.keys_of(views)["context"],
                batch_size=cfg.train.batch_size,
                groups=[row["group"] for row in held] if cfg.together else None,
                seed=run.seed,
            )
            found |= {f"{split}/leak/{name}": value for name, value in told.items()}
        return found

    measures = _named("random", measured())
    learner.fill(views_of(learner, rows, collate, batch_size=256), cfg.train.batch_size)
    groups = [float(row["group"]) for row in rows] if cfg.together else None
    fit(learner.train(), rows, cfg.train, run, collate=collate, sizes=groups)
    space.eval().save(run.folder / "space")
    measures |= measured()
    measures |= floor_scores(trial)
    if cfg.reference is not None:
        measures |= _named(cfg.reference, scores(by_reference(cfg.reference), trial))
    draw(run, measures, trial.pivot, list(trial.train))
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


def _prepared(cfg: Config, data: Mapping[str, Any], seed: int) -> tuple[Trial, list[Row]]:
    """What is measured, and the rows that are trained on."""
    names = data["train"].column_names
    columns = expand(cfg.data.columns, names)
    if [signal_of(column) for column in columns] != ["text"]:
        raise UserError(f"ccp wants one column of texts, data.columns gives {', '.join(columns)}")
    for field in ("document", "language", "line"):
        wanted = getattr(cfg, field)
        if wanted is not None and wanted not in names:
            raise UserError(f"{field}={wanted}: no such column, the rows have {', '.join(names)}")
    if cfg.bank != "batch" and cfg.bank_size < cfg.train.batch_size:
        raise UserError(f"bank_size={cfg.bank_size} is below train.batch_size={cfg.train.batch_size}: make it larger")
    train = data["train"]
    if cfg.disjoint and cfg.language is not None:
        train = apart(train, seed=seed, document=cfg.document, language=cfg.language)
    told = (columns[0], cfg.document, cfg.language, cfg.line)
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


def _rows_of(cfg: Config, columns: Mapping[str, Column], seed: int, *, shuffled: bool = False) -> list[Row]:
    return training_rows(columns, window=cfg.window, shuffled=shuffled, balance=cfg.balance, seed=seed)


def _named(name: str, measures: Measures) -> Measures:
    return {f"{name}/{key}": value for key, value in measures.items()}


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
    return Config(together=True, train=Train(steps=120, batch_size=64, bucket=8, lr=1e-3))


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
        train=Train(steps=100_000, batch_size=1024, lr=1e-5, microbatch=64),
    )


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str, *, higher: bool = True) -> Claim:
    return Claim(
        text, better=better, worse=worse, metric=f"test/{metric}", floor=f"{floor}/test/{metric}", higher=higher
    )


_CONTEXT, _SHUFFLED = Arm(order="document"), Arm(order="shuffled")
_OWN, _SHARED = Arm(bank="language"), Arm(bank="shared")
_BATCH = Arm(bank="batch")
_ASYMMETRIC, _SYMMETRIC = Arm(norm="asymmetric"), Arm(norm="symmetric")
_CENTRED, _RAW = Arm(calibration="centre"), Arm(calibration="none")

CLAIMS = [
    _claim(
        "Context prediction without bilingual data finds translations in held-out documents better than the same "
        "training with the order of the sentences shuffled.",
        _CONTEXT, _SHUFFLED, "accuracy", "random",
    ),
    _claim(
        "The same on sentences of another kind (Tatoeba): the paper's benchmark.",
        _CONTEXT, _SHUFFLED, "outside/accuracy", "tfidf",
    ),
    _claim("The same between languages other than English.", _CONTEXT, _SHUFFLED, "others", "tfidf"),
    _claim(
        "The same at finding a sentence's neighbours among those of its language, which is what is trained.",
        _CONTEXT, _SHUFFLED, "neighbours", "random",
    ),
    _claim(
        "With a bank for each language a linear probe tells languages apart less well than with one bank for all.",
        _OWN, _SHARED, "language_probe", "random", higher=False,
    ),
    _claim(
        "A bank for each language finds translations better than one bank for all.",
        _OWN, _SHARED, "accuracy", "random",
    ),
    _claim(
        "A bank for each language keeps a higher effective rank than one bank for all.",
        _OWN, _SHARED, "effective_rank", "random",
    ),
    _claim(
        "A bank for each language finds translations better than no bank, the batch's own keys being the negatives.",
        _OWN, _BATCH, "accuracy", "random",
    ),
    _claim(
        "Without a bank the space collapses, the paper says: a bank for each language keeps a higher effective rank "
        "than none.",
        _OWN, _BATCH, "effective_rank", "random",
    ),
    _claim(
        "The same by the mean cosine of different sentences: it is lower with a bank for each language than with none.",
        _OWN, _BATCH, "mean_cosine", "random", higher=False,
    ),
    _claim(
        "With a bank for each language a linear probe tells languages apart less well than with none.",
        _OWN, _BATCH, "language_probe", "random", higher=False,
    ),
    _claim(
        "Asymmetric batch norm leaks less than symmetric: the gap of a held-out contrast between keys normalised with "
        "their query and apart.",
        _ASYMMETRIC, _SYMMETRIC, "leak/gap", "random", higher=False,
    ),
    _claim(
        "Asymmetric batch norm finds neighbours better than symmetric.",
        _ASYMMETRIC, _SYMMETRIC, "neighbours", "random",
    ),
    _claim(
        "Centring each language by its training texts finds translations better than the vectors as they are.",
        _CENTRED, _RAW, "accuracy", "tfidf",
    ),
    _claim("The same on sentences of another kind (Tatoeba).", _CENTRED, _RAW, "outside/accuracy", "tfidf"),
]  # fmt: skip
