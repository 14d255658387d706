"""A primer's taxonomy of contrastive pre-training for text, as one recipe of free parts (arXiv 2102.12982).

Who should match whom is `pairing`, what is done to a text first is `view`, what else it is compared with is
`negatives`, and how is `loss`; every cell of the taxonomy is a config:

| pairing | contrast | labels | published as |
|---|---|---|---|
| `texts` | input-input: two views of a text | none | SimCSE, CLEAR, ESimCSE, CERT |
| `pair` | input-input: the row's two text columns | none | Quick-Thoughts, CONPONO, DeCLUTR |
| `class` | input-input: texts of one class | yes | SupCon fine-tuning |
| `label` | input-label: a text and its label's words | yes | CLESS, supervised |
| `words` | input-label: a text and some of its own words | none | CLESS, self-supervised |
| `tokens` | real words against replaced ones | none | ELECTRIC, ELECTRA |

SimCSE is `view=none` (dropout alone), CLEAR `view=deletion`, `span` or `reorder`, ESimCSE `view=repetition`, CERT's
queue `negatives=queue`; a column of neighbouring sentences makes `pair` Quick-Thoughts.

With f = cosine / temperature, positives +, K keys, and p_k the chance that key k is drawn:

    ranking   -log e^{f+} / sum_k e^{f_k}                                   InfoNCE, ranking NCE
    binary    -log s(f+ + b) - sum_k log(1 - s(f_k + b)), b learned         negative sampling, binary NCE
    triplet   max(0, d(+) - d(k) + 0.2),  d = 1 - cosine                    semi-hard
    corrected f_k - log(K p_k) in the place of f_k                          Ma and Collins 2018

On texts of one's own with a column of classes, here `kind`, of a CSV (`split_by` keeps classes for the zero-shot test):

    antiphon train text_contrast pairing=label classes=kind data.split_by=kind data.source=folder \\
        data.options.folder=my.csv

Label words and texts go through one encoder into one space, so that names of classes are found without a new head.
The primer has no experiments of its own; its figures come from the papers that it surveys.

differs: CLESS scores a pair by a network; here it is a cosine, so that zero-shot classification needs the space only.
differs: the encoder is a convolution over hashed words, for labels too, where CLESS averages a label's word vectors.
differs: back-translation (CERT) and a thesaurus need models and data that are not here; `view` has no slot for them.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs, expand, signal_of, splits
from antiphon.encoders import Encoder
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.evaluation.report.figures import curves
from antiphon.objectives.contrast import Scale, contrast
from antiphon.objectives.negatives import MemoryQueue, hardest
from antiphon.objectives.sigmoid import SigmoidScale, sigmoid_contrast
from antiphon.objectives.targets import normalise_rows
from antiphon.objectives.triplet import triplet
from antiphon.recipes.text_contrast.rows import asked_words, collate_for, most_common, training_rows, word_shares
from antiphon.recipes.text_contrast.scores import SHOTS, model_scores, space_scores, word_scores
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Padded, Views

PAPER = Paper("2102.12982", "A Primer on Contrastive Pretraining in Language Processing: Methods, Lessons Learned")


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="intents", columns=("text",), split_by="intent")
    classes: str | None = "words"
    """The column with each row's class as a phrase, for `class`, `label` and the measures; None where there is none."""
    text: Tower = Tower(encoder="scratch-small-words", head=HeadConfig(pooling="attention", norm="none"))
    pairing: Literal["texts", "pair", "class", "label", "words", "tokens", "none"] = "words"
    """none: nothing is trained, the random encoder is measured."""
    view: Literal["none", "deletion", "span", "reorder", "repetition", "crop", "typos"] = "deletion"
    """What is done to each text anew whenever it is read; `none` leaves dropout alone to make two views differ."""
    rate: Annotated[float, Field(ge=0, le=1)] = 0.2
    """How far: the chance or share of words. Under pairing=words deletion hides the word that is asked for as often."""
    negatives: Literal["batch", "hard", "queue"] = "batch"
    hard: PositiveInt = 8
    """How many keys of the batch each text is compared with under negatives=hard: those that score highest."""
    queue: PositiveInt = 1024
    """How many keys of earlier batches there are under negatives=queue."""
    loss: Literal["ranking", "binary", "triplet"] = "ranking"
    corrected: bool = False
    """Take log(K p) off the scores, p being how often the key is one among all (pairings label and words)."""
    labels: PositiveInt = 3
    """Under pairing=words: how many of its words a text is asked for at once."""
    common: NonNegativeInt = 50
    """So many of the most frequent words are never asked for: they tell nothing."""
    replaced: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the words that pairing=tokens replaces, by words drawn as often as they occur."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    width: PositiveInt = 128
    temperature: PositiveFloat = 0.07
    train: Train = Train()


class TextContrast(ContrastiveLearner):
    """One encoder of texts, and the loss of a cell of the taxonomy.

    Args:
        cfg: as above.
        encoder: of texts, and of labels.
        shares: how often each id that the encoder makes of a word is asked for, of all; for pairing=words.
    """

    shares: Tensor

    def __init__(self, cfg: Config, encoder: Encoder, shares: Tensor | None = None) -> None:
        super().__init__()
        self.cfg = cfg
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))})
        # Without a bias of its own the few positives drown at once, and all is told apart from all (Ma and Collins).
        self.scale = SigmoidScale(1 / cfg.temperature) if cfg.loss == "binary" else Scale(cfg.temperature)
        self.queue = MemoryQueue(cfg.queue, cfg.width) if cfg.negatives == "queue" else None
        self.real = nn.Linear(encoder.width, 1) if cfg.pairing == "tokens" else None
        if self.real is not None:
            branches_of(self.branches)["text"].head.requires_grad_(False)
            self.scale.requires_grad_(False)
        self.register_buffer("shares", torch.zeros(0) if shares is None else shares)

    def embed(self, batch: Batch) -> Views:
        """Unit views of the text and of its keys; of which words it consists, where words are asked for."""
        branch = branches_of(self.branches)["text"]
        views: Views = {"label": batch["label"], "share": batch["share"]}
        if self.real is not None:
            return views | {"tokens": self._replaced(branch.encoder, batch["text"], batch["whole"])}
        for name, items in batch.items():
            if name == "whole":
                views["bag"] = torch.zeros(len(items), len(self.shares), device=items.values.device, dtype=torch.bool)
                views["bag"].scatter_(1, items.values, items.mask)
            elif isinstance(items, Padded):
                views[name] = branch(items)
                views[f"has_{name}"] = items.present
                if name.startswith("word"):
                    views[f"id_{name}"] = items.values[:, 0]
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The loss of the cell."""
        if self.real is not None:
            return {"tokens": views["tokens"].mean()}
        keys, positives, allowed, shares = self.matched(views)
        loss = self._loss(views["text"] @ keys.T, views["text"], positives, allowed, shares)
        if self.cfg.pairing in ("texts", "pair"):
            loss = (loss + self._loss(keys @ views["text"].T, keys, positives, allowed, shares)) / 2
        if self.queue is not None and self.training:
            self.queue.push(keys.detach())
        return {self.cfg.pairing: loss}

    def matched(self, views: Views) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The keys, which of them answer which text, which may be compared with it, and how often each is asked for."""
        if self.cfg.pairing == "words":
            names = [name for name in views if name.startswith("word")]
            keys, ids = (torch.cat([views[f"{kind}{name}"] for name in names]) for kind in ("", "id_"))
            there = torch.cat([views[f"has_{name}"] for name in names])
            own = torch.arange(len(views["text"]), device=keys.device)
            positives = (own[:, None] == own.repeat(len(names))) & there
            holds = views["bag"][:, ids]  # another text's word that this one has too is no negative of it
            return keys, positives, (positives | ~holds) & there, self.shares[ids]
        key = "name" if self.cfg.pairing == "label" else "view"
        own = torch.arange(len(views["text"]), device=views["text"].device)
        label = views["label"] if self.cfg.pairing in ("label", "class") else own
        there = views[f"has_{key}"].expand(len(own), -1)
        return views[key], (label[:, None] == label) & there, there, views["share"] if key == "name" else None

    def _loss(
        self, cosines: Tensor, queries: Tensor, positives: Tensor, allowed: Tensor, shares: Tensor | None
    ) -> Tensor:
        """The loss of queries in rows; a row without a positive is not looked at."""
        if self.cfg.negatives == "hard":
            most = min(self.cfg.hard, int((allowed & ~positives).sum(1).min()))
            near = torch.zeros_like(allowed)
            allowed = positives | near.scatter(1, hardest(cosines, most, forbidden=positives | ~allowed), True)
        if self.queue is not None:
            more = queries @ self.queue.keys.T
            cosines = torch.cat([cosines, more], 1)
            positives = torch.cat([positives, torch.zeros_like(more, dtype=torch.bool)], 1)
            allowed = torch.cat([allowed, self.queue.filled.expand(len(queries), -1)], 1)
        weights = positives.any(1).to(cosines.dtype)
        if self.cfg.loss == "triplet":
            return triplet(1 - cosines, positives, mining="semi-hard", mask=allowed, weights=weights)
        scores = self.scale(cosines)
        if self.cfg.corrected and shares is not None:
            scores = scores - (len(shares) * shares.clamp(min=1e-9)).log()
        if self.cfg.loss == "binary":
            return sigmoid_contrast(scores, positives, mask=allowed, weights=weights)
        return contrast(scores, normalise_rows(positives.to(scores.dtype)), mask=allowed, weights=weights)

    def _replaced(self, encoder: Encoder, text: Padded, whole: Padded) -> Tensor:
        """For each text the mean loss of telling, word by word, whether it is the text's own."""
        assert self.real is not None
        own = (text.values == whole.values).float()
        logits = self.real(encoder(text).tokens)[:, :, 0]
        losses = binary_cross_entropy_with_logits(logits, own, reduction="none") * text.mask
        return losses.sum(1) / text.lengths.clamp(min=1)

    def levels(self) -> dict[str, float]:
        """The temperature."""
        return {"temperature": self.scale.temperature}


def run(cfg: Config, run: Run) -> Measures:
    """Train on the training texts, save the space, and measure it on dev and test beside its floors."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    columns = expand(cfg.data.columns, data["train"].column_names)
    if {signal_of(column) for column in columns} != {"text"} or (cfg.pairing == "pair") != (len(columns) == 2):
        raise UserError(
            f"pairing={cfg.pairing} wants {'two columns' if cfg.pairing == 'pair' else 'one column'} of texts, "
            f"data.columns gives {', '.join(columns)}"
        )
    if cfg.classes is None and cfg.pairing in ("class", "label"):
        raise UserError(f"pairing={cfg.pairing} wants classes=COLUMN, the rows' classes as phrases")
    wanted = sorted({"id", *columns, *([cfg.classes] if cfg.classes else [])})
    data = {split: rows.select_columns(wanted)[:] for split, rows in data.items()}
    rows = training_rows(data["train"], columns, cfg.classes)
    encoder = cfg.text.open("text")
    common = most_common(rows, cfg.common)
    learner = TextContrast(cfg, encoder, _shares(cfg, encoder, asked_words(rows, common)))
    space = Space(branches_of(learner.branches))
    measures = _named("random", space_scores(space.eval(), data, columns[0], cfg.classes, run.seed))
    if cfg.pairing != "none":
        collate = collate_for(
            cfg.pairing, encoder, rows, view=cfg.view, rate=cfg.rate, labels=cfg.labels, common=common,
            replaced=cfg.replaced, seed=run.seed,
        )  # fmt: skip
        fit(learner.train(), rows, cfg.train, run, collate=collate)
    space.eval().save(run.folder / "space")
    measures |= space_scores(space, data, columns[0], cfg.classes, run.seed)
    if cfg.classes is not None:
        measures |= _named("tfidf", word_scores(data, columns[0], cfg.classes, run.seed))
        if cfg.reference is not None:
            measures |= _named(cfg.reference, model_scores(cfg.reference, data, columns[0], cfg.classes, run.seed))
        _draw(run, measures, cfg.reference)
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


def _shares(cfg: Config, encoder: Encoder, words: list[str]) -> Tensor | None:
    """How often each word is asked for, under pairing=words."""
    if cfg.pairing != "words":
        return None
    if not isinstance(encoder, WordCnn):
        raise UserError(
            f"pairing=words wants an encoder of whole words, as scratch-small-words, not {cfg.text.encoder}"
        )
    if not words:
        raise UserError(f"no text has a word beside the {cfg.common} most frequent ones: lower common")
    return word_shares(words, encoder)


def _named(name: str, measures: Measures) -> Measures:
    return {f"{name}/{key}": value for key, value in measures.items()}


def _draw(run: Run, measures: Measures, reference: str | None) -> None:
    """Accuracy over the number of examples, names alone being none, beside every floor."""
    floors = {"this run": "", "random encoder": "random/", "TF-IDF": "tfidf/"}
    floors |= {f"{reference} (reference)": f"{reference}/"} if reference else {}
    points = {
        name: [(0.0, measures[f"{key}test/zero_shot/accuracy"])]
        + [(float(n), measures[f"{key}test/few_shot/{n}"]) for n in SHOTS if f"{key}test/few_shot/{n}" in measures]
        for name, key in floors.items()
    }
    said = "Accuracy on classes that training never saw, by their names (0) and by the centroid of a few examples."
    run.picture("shots", curves(points, x="examples of each class", y="accuracy"), said)


def tiny() -> Config:
    """Seconds: the names of generated shapes, asked for their words."""
    return Config(
        data=Pairs(source="made", columns=("text",), limit=480),
        classes="colour",
        text=Tower(encoder="scratch-tiny-words"),
        labels=1,
        common=0,
        width=32,
        train=Train(steps=40, batch_size=32, lr=1e-2, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: CLINC150; the intents of dev and test are none of those that training sees."""
    return Config(reference="all-MiniLM-L6-v2", train=Train(steps=200, batch_size=128, lr=1e-3))


def paper() -> Config:
    """CLESS at its largest, as near as is known: batch, and pseudo-labels a text; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        classes=None,
        text=Tower(encoder="scratch-base-words"),
        loss="binary",
        train=Train(steps=100_000, batch_size=1024, lr=1e-3),
    )


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"{floor}/test/{metric}")


_WORDS, _TEXTS = Arm(pairing="words"), Arm(pairing="texts")
_LABEL, _CLASS = Arm(pairing="label"), Arm(pairing="class")

CLAIMS = [
    _claim(
        "Without labels, input-label contrast (a text and its words) beats input-input contrast (two views of it) at "
        "classification by the classes' names: the primer's thesis.",
        _WORDS, _TEXTS, "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "The same from five examples of each class.", _WORDS, _TEXTS, "few_shot/5", "tfidf",
    ),
    _claim(
        "With labels, input-label contrast (a text and its label's words) beats input-input contrast (texts of one "
        "class) at classification by the names of classes that training never saw.",
        _LABEL, _CLASS, "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "With labels, input-input contrast beats input-label contrast from five examples of classes never seen.",
        _CLASS, _LABEL, "few_shot/5", "tfidf",
    ),
    _claim(
        "Among many keys, ranking beats binary noise contrast at classification by names.",
        _WORDS, Arm(pairing="words", loss="binary"), "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "Deleting words makes better views than dropout alone, from five examples of each class.",
        _TEXTS, Arm(pairing="texts", view="none"), "few_shot/5", "random",
    ),
]  # fmt: skip
