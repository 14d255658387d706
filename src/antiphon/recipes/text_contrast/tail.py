"""Labels of a long tail, many to a text: a label as words that the encoder reads, or as a number of its own.

    numbers   -sum_l log s(z_l (w_l . h + b_l))                multi-hot BCE, z = 1 for labels of the text, else -1
    words     -sum_l log s(z_l (f(text, label) + b))           BCE of label embeddings (loss=binary)
              -sum_{l of the text} log e^{f_l} / sum_k e^{f_k} their ranking (loss=ranking)

with all labels of training as keys. `start` steps of pairing=words on the training texts may come first (CLESS's
pseudo-labels, by the same loss): the words arm goes on with the same encoder and the same question. Average precision
is of each label over all texts, its mean over labels (macro), in five buckets of equal label mass, from the head to the
tail; `ap_micro` is of all pairs of a text and a label at once. `brier` is the mean squared error of the probabilities
that binary cross-entropy learns, a label's first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from antiphon.data.collate import by_column
from antiphon.data.pairs import expand, load, signal_of
from antiphon.data.splits import split_by
from antiphon.encoders.heads import unit
from antiphon.encoders.space import Branch, branches_of
from antiphon.errors import UserError
from antiphon.evaluation.floors import TfIdf, jaccards, named, published
from antiphon.evaluation.multilabel import average_precision, buckets_of_mass
from antiphon.evaluation.report.figures import curves
from antiphon.objectives.contrast import Scale, contrast
from antiphon.objectives.sigmoid import SigmoidScale, sigmoid_contrast
from antiphon.objectives.targets import normalise_rows
from antiphon.recipes.text_contrast.config import Config
from antiphon.recipes.text_contrast.learner import opened, train
from antiphon.recipes.text_contrast.rows import training_rows
from antiphon.runs import Measures, Run
from antiphon.training.fit import fit
from antiphon.training.learner import Batch, Learner
from antiphon.types import Padded

BUCKETS = 5


@dataclass(frozen=True)
class Labelled:
    """Texts with labels.

    Args:
        texts: by split.
        marks: by split, of each text the numbers of its labels.
        names: the labels, as phrases.
        counts: how many training texts have each.
        left_out: rows without a text, and labels of too few training texts.
    """

    texts: dict[str, list[str]]
    marks: dict[str, list[list[int]]]
    names: list[str]
    counts: Tensor
    left_out: Measures

    def positives(self, split: str) -> Tensor:
        """Which text has which label."""
        return multi_hot(self.marks[split], len(self.names))


class Tail(Learner):
    """A branch, and what makes scores of labels of it.

    Args:
        cfg: the recipe's.
        branch: of texts, and of labels.
        data: the labels, and how frequent they are in training.
    """

    def __init__(self, cfg: Config, branch: Branch, data: Labelled) -> None:
        super().__init__()
        self.cfg, self.branch, self.names, self.count = cfg, branch, branch.encoder.collate(data.names), len(data.names)
        self.answer = nn.Linear(branch.head.out, self.count) if cfg.answers == "numbers" else None
        if self.answer is not None:  # from the first step on as good as the shares of the labels
            share = data.counts.float() / len(data.texts["train"])
            self.answer.bias.data.copy_((share / (1 - share).clamp(min=1e-3)).log())
        self.scale: nn.Module = SigmoidScale(1 / cfg.temperature) if cfg.loss == "binary" else Scale(cfg.temperature)
        if self.answer is not None:
            self.scale.requires_grad_(False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of the arm."""
        scores = self.scores(batch["text"])
        positives = multi_hot(batch["marks"], self.count).to(scores.device)
        if self.cfg.loss == "binary":
            return {self.cfg.answers: sigmoid_contrast(scores, positives)}
        weights = positives.any(1).to(scores.dtype)
        return {self.cfg.answers: contrast(scores, normalise_rows(positives.to(scores.dtype)), weights=weights)}

    def scores(self, texts: Padded) -> Float[Tensor, "b l"]:
        """Of each text the scores of all labels."""
        if self.answer is not None:
            found: Tensor = self.answer(self.branch.head(self.branch.encoder(texts)))
            return found
        labels: Tensor = self.branch(self.names.to(texts.values.device))
        scaled: Tensor = self.scale(self.branch(texts) @ labels.T)
        return scaled


def of_labels(cfg: Config, run: Run) -> Measures:
    """Train, save the space, and measure every bucket beside its floors."""
    if cfg.answers == "numbers" and cfg.loss != "binary":
        raise UserError(f"answers=numbers wants loss=binary, got loss={cfg.loss}")
    settings = cfg.only("data", "classes", "least", "reference").model_dump_json()
    data = _labelled(settings, run.seed)
    rows = training_rows(
        {"id": [str(at) for at in range(len(data.texts["train"]))], "text": data.texts["train"]}, ["text"], None
    )
    first = _first(cfg)
    run.seed_all()
    learner = opened(first, rows)
    untrained = Tail(cfg.but(answers="words"), branches_of(learner.branches)["text"], data)
    floors = named("random", _measured(lambda texts: _asked(untrained, texts), data))
    if cfg.start:
        train(learner, rows, run.part("start", first))
    run.seed_all()
    space = learner.space()
    tagger = Tail(cfg, branches_of(learner.branches)["text"], data)
    if cfg.answers == "words":
        measures = named("start", _measured(lambda texts: _asked(tagger, texts), data))
    else:
        measures = {}
    marked = [row | {"marks": marks} for row, marks in zip(rows, data.marks["train"], strict=True)]
    collate = by_column(text=tagger.branch.encoder, keep=("marks",), seed=run.seed)
    fit(tagger.train(), marked, cfg.train, run, collate=collate)
    space.eval().save(run.folder / "space")
    measures |= _measured(lambda texts: _asked(tagger, texts), data) | floors | _floors(settings, run.seed)
    if cfg.loss == "binary":
        for split in ("dev", "test"):
            chances = _asked(tagger, data.texts[split]).sigmoid()
            measures[f"{split}/brier"] = float((chances - data.positives(split).double()).square().mean())
            shares = (data.counts / len(data.texts["train"])).double()
            floor = float((shares - data.positives(split).double()).square().mean())
            measures[f"shares/{split}/brier"] = floor
    measures |= data.left_out
    _draw(run, cfg, measures)
    return measures


def labelled(cfg: Config, seed: int) -> Labelled:
    """Rows with a text, by split, texts that are equal in one of them; labels are those of `least` training texts.

    Raises:
        UserError: columns that do not fit, or no label that is frequent enough.
    """
    data = load(cfg.data)
    columns = expand(cfg.data.columns, data.column_names)
    if [signal_of(column) for column in columns] != ["text"] or cfg.classes not in data.column_names:
        raise UserError(
            f"study=tail wants one column of texts and one of labels, a line of comma-separated words: got "
            f"data.columns={', '.join(columns)}, classes={cfg.classes}; the rows have {', '.join(data.column_names)}"
        )
    assert cfg.classes is not None
    table = data.select_columns(sorted({columns[0], cfg.classes}))
    kept = [at for at, text in enumerate(table[columns[0]][:]) if text and text.strip()]
    parts = {
        split: rows[:]
        for split, rows in split_by(table.select(kept), cfg.data.split_by or columns[0], seed=seed).items()
    }
    words = {split: [_split(line) for line in part[cfg.classes]] for split, part in parts.items()}
    counts = Counter(word for several in words["train"] for word in several)
    names = sorted(word for word, count in counts.items() if count >= cfg.least)
    if len(names) < 2:
        raise UserError(f"{len(names)} labels in {cfg.classes} stand with {cfg.least} training texts: lower least")
    numbers = {name: number for number, name in enumerate(names)}
    return Labelled(
        texts={split: part[columns[0]] for split, part in parts.items()},
        marks={
            split: [[numbers[word] for word in several if word in numbers] for several in lists]
            for split, lists in words.items()
        },
        names=names,
        counts=torch.tensor([counts[name] for name in names]),
        left_out={
            "labels": len(names), "left_out/labels": len(counts) - len(names), "left_out/rows": len(table) - len(kept),
        },
    )  # fmt: skip


def multi_hot(marks: Sequence[Sequence[int]], count: int) -> Tensor:
    """Numbers of labels to `(N, count)` truth values."""
    found = torch.zeros(len(marks), count, dtype=torch.bool)
    for row, several in zip(found, marks, strict=True):
        row[list(several)] = True
    return found


def in_buckets(scores_NL: Tensor, positives_NL: Tensor, counts_L: Tensor) -> Measures:
    """Average precision over labels that a text here has, macro: of all, by bucket, of the head's and the tail's two.

    `ap_micro` is of all pairs of a text and a label.
    """
    asked_L = positives_NL.any(0)
    precisions_L = average_precision(scores_NL, positives_NL)
    bucket_L = buckets_of_mass(counts_L, BUCKETS)
    places = {"ap": range(BUCKETS), "head": (0, 1), "tail": (BUCKETS - 2, BUCKETS - 1)}
    places |= {f"ap_{number + 1}": (number,) for number in range(BUCKETS)}
    every = average_precision(scores_NL.reshape(-1, 1), positives_NL.reshape(-1, 1))
    found: Measures = {"ap_micro": float(every)}
    for name, several in places.items():
        own_L = asked_L & torch.isin(bucket_L, torch.tensor(list(several)))
        found |= {name: float(precisions_L[own_L].mean())} if own_L.any() else {}
    if {"head", "tail"} <= set(found):
        found["tail_less_head"] = found["tail"] - found["head"]
    return found


@lru_cache(maxsize=5)  # the claims' seeds: one process runs all arms of them
def _labelled(settings: str, seed: int) -> Labelled:
    return labelled(Config(**json.loads(settings)), seed)


def _split(line: str | None) -> list[str]:
    return list(dict.fromkeys(word for part in (line or "").split(",") if (word := " ".join(part.lower().split()))))


def _first(cfg: Config) -> Config:
    """The pre-training, which arms share: it does not hang on what follows."""
    names = ("data", "text", "view", "rate", "loss", "labels", "common", "width", "temperature", "reference")
    return cfg.only(*names, classes=None, pairing="words", train=cfg.train.but(steps=max(1, cfg.start)))


def _measured(score: Callable[[list[str]], Tensor], data: Labelled) -> Measures:
    found: Measures = {}
    for split in ("dev", "test"):
        told = in_buckets(score(data.texts[split]), data.positives(split), data.counts)
        found |= {f"{split}/{name}": value for name, value in told.items()}
    return found


@torch.inference_mode()
def _asked(tagger: Tail, texts: Sequence[str]) -> Tensor:
    tagger.eval()
    parts = [texts[at : at + 256] for at in range(0, len(texts), 256)]
    return torch.cat([tagger.scores(tagger.branch.encoder.collate(part)) for part in parts]).double()


@lru_cache(maxsize=5)
def _floors(settings: str, seed: int) -> Measures:
    """Chance; TF-IDF by labels' words, and by the mean of a label's training texts; words in common; the reference."""
    cfg, data = Config(**json.loads(settings)), _labelled(settings, seed)
    words = TfIdf([*data.texts["train"], *data.names])
    train, names = (torch.from_numpy(words(part).toarray()) for part in (data.texts["train"], data.names))
    means = unit(data.positives("train").double().T @ train)

    def by(labels: Tensor) -> Callable[[list[str]], Tensor]:
        return lambda texts: torch.from_numpy(words(texts).toarray()) @ labels.T

    kinds: dict[str, Callable[[list[str]], Tensor]] = {
        "chance": lambda texts: torch.zeros(len(texts), len(data.names)), "tfidf": by(names), "centroid": by(means),
        "jaccard": lambda texts: torch.from_numpy(jaccards(texts, data.names)),
    }  # fmt: skip
    if cfg.reference is not None:
        name = cfg.reference
        kinds[name] = lambda texts: unit(published(name, texts).double()) @ unit(published(name, data.names).double()).T
    return {key: value for name, score in kinds.items() for key, value in named(name, _measured(score, data)).items()}


def _draw(run: Run, cfg: Config, measures: Measures) -> None:
    """Average precision by bucket, beside every floor."""
    floors = {
        "this run": "",
        "TF-IDF, mean of texts": "centroid/",
        "TF-IDF, label's words": "tfidf/",
        "random encoder, label's words": "random/",
        "chance": "chance/",
    }
    floors |= {f"{cfg.reference} (reference)": f"{cfg.reference}/"} if cfg.reference else {}
    points = {
        name: [
            (float(number), measures[f"{key}test/ap_{number}"])
            for number in range(1, BUCKETS + 1)
            if f"{key}test/ap_{number}" in measures
        ]
        for name, key in floors.items()
    }
    what = "words, read by the encoder" if cfg.answers == "words" else "numbers (multi-hot)"
    said = f"Labels as {what}: average precision in buckets of equal label mass, from the head (1) to the tail (5)."
    run.picture(f"tail-{cfg.answers}", curves(points, x="bucket of labels", y="average precision"), said)
