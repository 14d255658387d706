"""CLIP: two or more towers, symmetric contrast between pairs of columns, a learned temperature (arXiv 2103.00020).

The baseline of all cross-modal recipes. Towers are `locked` (pretrained and frozen, their features computed once:
LiT, arXiv 2111.07991, with every tower locked), `tuned` (pretrained, and trained on) or from `scratch`. Rows with the
same label are positives of each other (SupCon targets): the same caption stands under several pictures.

Loss of columns a and b, with unit views: `symmetric_contrast(scale * a @ b.T)` (figure 3 of the paper).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from datasets import Dataset
from torch import Tensor, nn

from antiphon.config import Config as Settings
from antiphon.data.cache import cache_folder
from antiphon.data.collate import by_column
from antiphon.data.pairs import Pairs, directions, expand, labelled, signal_of, splits
from antiphon.decode import BadInput
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features, encode_once, file_size
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.progress import bar
from antiphon.runs import Measures, Run
from antiphon.training.fit import Collate, Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper("2103.00020", "Learning Transferable Visual Models From Natural Language Supervision")


class Tower(Settings):
    """One signal's encoder and head."""

    encoder: str
    layers: int = 1
    """How many of the last hidden layers the head mixes (speech models)."""
    pool: int = 1
    """Locked towers: means over so many neighbouring tokens are cached (0: one over the whole item)."""
    head: HeadConfig = HeadConfig()


class Config(Settings):
    """Settings of the recipe; the defaults are the demo's."""

    data: Pairs = Pairs(source="stamps", columns=("image", "text", "speech"))
    towers: Literal["locked", "tuned", "scratch"] = "locked"
    image: Tower = Tower(encoder="efficientnet-lite0")
    text: Tower = Tower(encoder="all-MiniLM-L6-v2")
    speech: Tower = Tower(encoder="whisper-tiny.en")
    audio: Tower = Tower(encoder="scratch-tiny")
    scratch: Literal["tiny", "small", "base"] = "tiny"
    """Size of every tower under towers=scratch."""
    pairs: tuple[tuple[str, str], ...] = (("image", "text"), ("speech", "text"), ("speech", "image"))
    width: int = 256
    temperature: float = 0.07  # section 2.5 of the paper: the start of a learned temperature
    train: Train = Train()


@dataclass(frozen=True)
class Trained:
    """What training leaves: the learner, the rows it reads, and the space that a user keeps."""

    learner: Clip
    data: dict[str, Dataset]
    rows: dict[str, Sequence[dict[str, Any]]]
    collate: Collate
    space: Space
    seconds: dict[str, float]


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space into the run's folder, and measure retrieval on dev and test."""
    trained = train(cfg, run)
    measures = {f"seconds/{name}": value for name, value in trained.seconds.items()}
    for split in ("dev", "test"):
        measures |= {f"{split}/{name}": value for name, value in retrieval(trained, split).items()}
    return run.finish(measures)


def train(cfg: Config, run: Run) -> Trained:
    """Open the towers, encode what is frozen, fit, and save the space as `space/` in the run's folder."""
    started = time.perf_counter()
    run.seed_all()
    rows = labelled(splits(cfg.data, run.seed), cfg.data.split_by)
    columns = expand(cfg.data.columns, rows["train"].column_names)
    encoders = {signal: _open(cfg, signal) for signal in sorted({signal_of(column) for column in columns})}
    inputs: dict[str, Encoder] = dict(encoders)
    kept: dict[str, Sequence[dict[str, Any]]] = dict(rows)
    if cfg.towers == "locked":
        inputs = {signal: Features(encoder.width, signal=signal) for signal, encoder in encoders.items()}
        kept = dict(_encoded(cfg, rows, columns, encoders, run))
    features = time.perf_counter() - started
    learner = Clip(cfg, columns, inputs)
    collate = by_column(keep=("label",), **{column: inputs[signal_of(column)] for column in columns})
    fit(learner, kept["train"], cfg.train, run, collate=collate)
    space = Space({signal: Branch(encoders[signal], branch.head) for signal, branch in learner.branches.items()})
    space.eval().save(run.folder / "space")
    total = time.perf_counter() - started
    return Trained(
        learner.eval(),
        rows,
        kept,
        collate,
        space,
        {"features": features, "train": total - features, "total": total},
    )


@torch.inference_mode()
def vectors(trained: Trained, split: str) -> Views:
    """Views of a whole split, as `Clip.embed` gives them."""
    rows = trained.rows[split]
    parts = [
        trained.learner.embed(trained.collate([rows[at] for at in range(start, min(start + 64, len(rows)))]))
        for start in range(0, len(rows), 64)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def retrieval(trained: Trained, split: str) -> Measures:
    """R@k and median rank of every direction, and the level of chance, as `image->text/R@10`."""
    views = vectors(trained, split)
    measures = {}
    for source, target in directions(trained.learner.columns):
        queries, keys = views[f"has_{source}"], views[f"has_{target}"]
        for name, value in answers(
            views[source][queries], views[target][keys], views["label"][queries], views["label"][keys]
        ).items():
            measures[f"{source}->{target}/{name}"] = value
    return measures


class Clip(ContrastiveLearner):
    """One branch for each signal; every column of that signal goes through it.

    Args:
        cfg: width, heads, pairs, temperature.
        columns: of the rows, by name.
        encoders: by signal; frozen ones stand here as `Features`.
    """

    def __init__(self, cfg: Config, columns: list[str], encoders: dict[str, Encoder]) -> None:
        super().__init__()
        self.columns = columns
        heads = {signal: _head(cfg, signal, encoder) for signal, encoder in encoders.items()}
        self.branches = nn.ModuleDict({signal: Branch(encoders[signal], head) for signal, head in heads.items()})
        self.pairs = _pairs(cfg.pairs, columns)
        self.scale = Scale(cfg.temperature)

    def embed(self, batch: Batch) -> Views:
        """A unit view of every column, whether the row has it, and the row's label."""
        views: Views = {"label": batch["label"]}
        for column in self.columns:
            views[column] = self.branches[signal_of(column)](batch[column])
            views[f"has_{column}"] = batch[column].present
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """For each pair of signals, the mean over its pairs of columns."""
        losses: dict[str, list[Tensor]] = {}
        for first, second in self.pairs:
            both = views[f"has_{first}"] & views[f"has_{second}"]
            if not both.any():
                continue  # no row of this batch has both
            scores = self.scale(views[first][both] @ views[second][both].T)
            name = f"{signal_of(first)}-{signal_of(second)}"
            losses.setdefault(name, []).append(symmetric_contrast(scores, same_label(views["label"][both])))
        return {name: torch.stack(parts).mean() for name, parts in losses.items()}


def _head(cfg: Config, signal: str, encoder: Encoder) -> Head:
    if cfg.towers == "scratch":
        return Head(encoder.width, cfg.width)
    return Head(encoder.width, cfg.width, tower(cfg, signal).head)


def tower(cfg: Config, signal: str) -> Tower:
    """The tower of a signal."""
    towers: dict[str, Tower] = {
        "image": cfg.image,
        "text": cfg.text,
        "speech": cfg.speech,
        "audio": cfg.audio,
    }
    if signal not in towers:
        raise UserError(f"clip has no tower for {signal!r} columns: it has {', '.join(towers)}")
    return towers[signal]


def _pairs(pairs: tuple[tuple[str, str], ...], columns: list[str]) -> list[tuple[str, str]]:
    named = [
        (first, second)
        for a, b in pairs
        for first in columns
        for second in columns
        if signal_of(first) == a and signal_of(second) == b and first != second
    ]
    if not named:
        raise UserError(f"pairs {pairs} name no two of the columns {', '.join(columns)}")
    return named


def _open(cfg: Config, signal: str) -> Encoder:
    wanted = tower(cfg, signal)
    if cfg.towers == "scratch":
        return open_encoder(signal, f"scratch-{cfg.scratch}")
    return open_encoder(signal, wanted.encoder, layers=wanted.layers)


def _encoded(
    cfg: Config, rows: dict[str, Dataset], columns: list[str], encoders: dict[str, Encoder], run: Run
) -> dict[str, list[dict[str, Any]]]:
    """The rows of every split with their columns replaced by the frozen encoders' tokens."""
    encoded = {name: [{"id": row["id"], "label": row["label"]} for row in split] for name, split in rows.items()}
    cache = FeatureCache(cache_folder() / "features")
    for signal, encoder in encoders.items():
        own = [column for column in columns if signal_of(column) == signal]
        places = [(row, column) for split in encoded.values() for row in split for column in own]
        items = [item for split in rows.values() for row in split.select_columns(own) for item in row.values()]

        def refused(at: int, error: BadInput, places: list[tuple[dict[str, Any], str]] = places) -> None:
            row, column = places[at]
            run.quarantine(column, row["id"], str(error))

        with bar(f"encoding {signal}", len(items)) as advance:
            tokens = encode_once(
                encoder,
                items,
                cache,
                pool=tower(cfg, signal).pool,
                size=file_size,
                progress=advance,
                refused=refused,
            )
        for (row, column), item in zip(places, tokens, strict=True):
            row[column] = item
    return encoded


def tiny() -> Config:
    """Seconds: generated shapes and their names, towers from scratch."""
    return Config(
        data=Pairs(source="made", columns=("image", "text"), options={"rows": 96}),
        towers="scratch",
        pairs=(("image", "text"),),
        width=32,
        train=Train(steps=20, batch_size=32, lr=1e-3, save_every=10, log_every=1),
    )


def demo() -> Config:
    """What `antiphon demo` runs: stamps, their captions, and their spoken captions in eight languages."""
    return Config(train=Train(steps=300, batch_size=256, lr=1e-3))


def laptop() -> Config:
    """The claim's setting, minutes on two cores: stamps and their captions."""
    return Config(data=Pairs(source="stamps", columns=("image", "text")), pairs=(("image", "text"),))


def paper() -> Config:
    """The published setting (ViT-B/32, section 2.5 and appendix F), on a user's own image-text shards; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("image", "text")),
        towers="scratch",
        scratch="base",  # differs: our own ViT and byte-level Transformer, not ViT-B/32 and BPE
        pairs=(("image", "text"),),
        width=512,
        train=Train(steps=400_000, batch_size=32_768, microbatch=512, lr=5e-4, weight_decay=0.2, warmup=0.005),
    )


CLAIMS = [
    Claim(
        "Locked pretrained towers beat towers trained from scratch on the same pairs.",
        better=Arm(towers="locked"),
        worse=Arm(towers="scratch"),
        metric="test/image->text/R@10",
        floor="test/image->text/chance R@10",
    )
]
