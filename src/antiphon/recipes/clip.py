"""CLIP: two or more towers, symmetric contrast between pairs of columns, a learned temperature (arXiv 2103.00020).

The baseline of all cross-modal recipes. Towers are `locked` (pretrained and frozen, their features computed once:
LiT, arXiv 2111.07991, with every tower locked), `tuned` (pretrained, and trained on) or from `scratch`. Rows with the
same label are positives of each other (SupCon targets): the same caption stands under several pictures.

Loss of columns a and b, with unit views: `symmetric_contrast(scale * a @ b.T)` (figure 3 of the paper).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from datasets import Dataset
from PIL import Image
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from antiphon.config import Config as Settings
from antiphon.data.augment.audio import speed
from antiphon.data.augment.image import crop, flip
from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate as Columns
from antiphon.data.opening import Rows, opened, seconds
from antiphon.data.pairs import Pairs, directions, expand, signal_of, splits
from antiphon.decode import decode_audio, decode_image
from antiphon.distributed import Ring
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.image import trimmed
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower, encode_columns, prepare_heads
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.evaluation.collapse import CollapseWarning, CollapseWatch
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.objectives.tiled import contrast_tiled
from antiphon.objectives.tiles import SameLabel
from antiphon.runs import Measures, Run
from antiphon.training.fit import Collate, Every, Moment, Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views

PAPER = Paper(
    "2103.00020",
    "Learning Transferable Visual Models From Natural Language Supervision",
    ("image", "speech", "text"),
)


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="stamps", columns=("image", "text"))
    towers: Literal["locked", "tuned", "scratch"] = "locked"
    image: Tower = Tower(encoder="efficientnet-lite0")
    text: Tower = Tower(encoder="all-MiniLM-L6-v2")
    speech: Tower = Tower(encoder="whisper-tiny.en")
    audio: Tower = Tower(encoder="scratch-tiny")
    scratch: Literal["tiny", "small", "base"] = "tiny"
    """Size of every tower under towers=scratch."""
    pairs: tuple[tuple[str, str], ...] = (("image", "text"),)
    """Signals to contrast; a row gives one of its columns of a signal, by chance, in each step."""
    width: PositiveInt = 256
    loss: Literal["dense", "tiled", "ring"] = "dense"
    """tiled: the same loss without the matrix of scores, for batches of many thousands; ring: tiled, and of several
    processes none ever holds the views of all."""
    temperature: PositiveFloat = 0.07  # section 2.5 of the paper: the start of a learned temperature
    train: Train = Train()


class Clip(ContrastiveLearner):
    """One branch for each signal, and a learned temperature for each pair of signals.

    differs: the paper has one pair of signals and one temperature.

    Args:
        cfg: width, heads, pairs, temperature.
        encoders: by signal; frozen ones stand here as `Features`.
    """

    def __init__(self, cfg: Config, encoders: dict[str, Encoder]) -> None:
        super().__init__()
        strangers = {signal for pair in cfg.pairs for signal in pair} - set(encoders)
        if strangers:
            raise UserError(
                f"pairs name {sorted(strangers)}, but the columns hold {sorted(encoders)}: look at data.columns"
            )
        self.pairs, self.loss, self.gathers = cfg.pairs, cfg.loss, cfg.loss != "ring"
        self.branches = nn.ModuleDict(
            {name: Branch(encoder, _head(cfg, name, encoder)) for name, encoder in encoders.items()}
        )
        self.scales = nn.ModuleDict({f"{a}-{b}": Scale(cfg.temperature) for a, b in cfg.pairs})

    def embed(self, batch: Batch) -> Views:
        """A unit view of every column of the batch, whether the row has it, and the row's label."""
        views: Views = {"label": batch["label"]}
        for column, items in batch.items():
            if isinstance(items, Padded):
                views[column] = self.branches[signal_of(column)](items)
                views[f"has_{column}"] = items.present
        return views

    def levels(self) -> dict[str, float]:
        """The temperature of each pair of signals."""
        return {f"temperature/{name}": cast(Scale, scale).temperature for name, scale in self.scales.items()}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Symmetric contrast of each pair of signals, over the rows that have both."""
        losses = {}
        for first, second in self.pairs:
            both = views[f"has_{first}"] & views[f"has_{second}"]
            left, right, labels = views[first][both], views[second][both], views["label"][both]
            scale = cast(Scale, self.scales[f"{first}-{second}"])
            if self.loss == "dense":
                loss = symmetric_contrast(scale(left @ right.T), same_label(labels))
            else:
                exchange = Ring() if self.loss == "ring" else None
                same = SameLabel(labels)
                loss = contrast_tiled(left, right, scale=scale.scale, targets=same, exchange=exchange)
            losses[f"{first}-{second}"] = loss
        return losses


@dataclass(frozen=True)
class Trained:
    """What training leaves: the learner, the rows it reads, and the space that a user keeps."""

    learner: Clip
    columns: list[str]
    data: dict[str, Dataset]
    rows: Rows
    collate: Collate
    space: Space
    seconds: dict[str, float]


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space into the run's folder, and measure retrieval on dev and test."""
    trained = train(cfg, run)
    measures = {f"seconds/{name}": value for name, value in trained.seconds.items()}
    for split in ("dev", "test"):
        views = vectors(trained, split)
        for source, target in directions(trained.columns):
            found = between(views, source, target)
            measures |= {f"{split}/{source}->{target}/{name}": value for name, value in found.items()}
    return run.finish(measures)


def train(cfg: Config, run: Run) -> Trained:
    """Open the towers, encode what is frozen, fit, and save the space as `space/` in the run's folder."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    columns = expand(cfg.data.columns, data["train"].column_names)
    towers = {signal: _open(cfg, signal) for signal in sorted({signal_of(column) for column in columns})}
    if cfg.towers == "locked":
        rows, looks = _encoded(cfg, data, columns, towers, run)
        inputs: dict[str, Encoder] = {name: Features(tower.width, signal=name) for name, tower in towers.items()}
    else:
        rows, looks, inputs = opened(data, columns, run), columns, towers
    _stop_if_too_many_are_bad(cfg, run, sum(map(len, data.values())) * len(columns))
    features = time.perf_counter() - started
    learner = Clip(cfg, inputs)
    prepare_heads(branches_of(learner.branches), rows["train"], {column: signal_of(column) for column in columns})
    choices = {signal: tuple(look for look in looks if signal_of(look) == signal) for signal in inputs}
    collate = Columns(inputs, keep=("label",), of=choices, seed=run.seed)
    sizes = None if cfg.towers == "locked" else seconds(data["train"], columns, run)
    fit(learner, rows["train"], cfg.train, run, collate=collate, sizes=sizes, every=[Every(10, watch())])
    branches = {signal: Branch(towers[signal], branch.head) for signal, branch in branches_of(learner.branches).items()}
    space = Space(branches).eval()
    space.save(run.folder / "space")
    every = Columns({column: inputs[signal_of(column)] for column in columns}, keep=("label",))
    total = time.perf_counter() - started
    took = {"features": features, "train": total - features, "total": total}
    return Trained(learner.eval(), columns, data, rows, every, space, took)


def watch() -> Callable[[Moment], None]:
    """Says in words, as a warning, when training collapses."""
    watching = CollapseWatch(patience=5)

    def look(moment: Moment) -> None:
        learner = cast(Clip, moment.learner)
        with torch.no_grad():
            views = learner.embed(moment.batch)
        for name, module in learner.scales.items():
            scale = cast(Scale, module)
            signal = name.split("-")[0]
            there = views[signal][views[f"has_{signal}"]]
            said = watching.observe(
                moment.step,
                loss=moment.losses[name],
                batch_size=len(there),
                vectors={signal: there},
                temperature=scale.temperature,
                at_bound=scale.at_bound,
            )
            for sentence in said:
                warnings.warn(sentence, CollapseWarning, stacklevel=2)

    return look


def vectors(trained: Trained, split: str) -> Views:
    """Views of every column of a whole split, as `Clip.embed` gives them."""
    return views_of(trained.learner, trained.rows[split], trained.collate)


def between(views: Views, source: str, target: str) -> Measures:
    """Retrieval from one column to another, over the rows that have them."""
    asked, there = views[f"has_{source}"], views[f"has_{target}"]
    return answers(views[source][asked], views[target][there], views["label"][asked], views["label"][there])


def _head(cfg: Config, signal: str, encoder: Encoder) -> Head:
    return Head(encoder.width, cfg.width, None if cfg.towers == "scratch" else _tower(cfg, signal).head)


def _tower(cfg: Config, signal: str) -> Tower:
    towers = {"image": cfg.image, "text": cfg.text, "speech": cfg.speech, "audio": cfg.audio}
    if signal not in towers:
        raise UserError(f"clip has no tower for {signal!r} columns: it has {', '.join(towers)}")
    return towers[signal]


def _open(cfg: Config, signal: str) -> Encoder:
    tower = _tower(cfg, signal)
    if cfg.towers == "scratch":
        return open_encoder(signal, f"scratch-{cfg.scratch}")
    return tower.open(signal)


def _encoded(
    cfg: Config, data: dict[str, Dataset], columns: list[str], towers: dict[str, Encoder], run: Run
) -> tuple[Rows, list[str]]:
    """The rows with their columns replaced by the frozen towers' tokens; and the columns with the further looks."""
    rows: Rows = {name: list(part.select_columns(["id", "label"])) for name, part in data.items()}
    cache, looks = FeatureCache(cache_folder() / "features"), []
    for signal, encoder in towers.items():
        tower, own = _tower(cfg, signal), [column for column in columns if signal_of(column) == signal]
        encode = partial(encode_columns, rows, columns=own, encoder=encoder, cache=cache, keep=tower.keep)
        looks += encode(data, refused=run.quarantine)
        for number in range(1, 1 + tower.views):
            look = (f"view{number}", LOOKS[signal])
            looks += encode({"train": data["train"]}, look=look, refused=run.quarantine)
    return rows, looks


def _stop_if_too_many_are_bad(cfg: Config, run: Run, items: int) -> None:
    bad = len(run.quarantined())
    if bad > max(3, cfg.train.quarantine_share * items):
        raise UserError(
            f"{bad} of {items} inputs cannot be used, more than train.quarantine_share={cfg.train.quarantine_share:g}: "
            f"see {run.folder / 'quarantine.jsonl'}"
        )


def crop_and_flip(item: Any, generator: torch.Generator) -> Image.Image:
    """A random part (60 to 100 % of the area) of a picture's inside, turned left to right half of the time."""
    return flip(crop(trimmed(decode_image(item)), generator, size=256, scale=(0.6, 1.0)), generator)


def faster_or_slower(item: Any, generator: torch.Generator) -> Tensor:
    """A recording at 85 to 115 % of its speed, pitch and all: another speaker, nearly."""
    return speed(decode_audio(item), generator, low=0.85, high=1.15)


LOOKS = {"image": crop_and_flip, "speech": faster_or_slower}
"""What `Tower.views` trains on beside the items themselves."""


def tiny() -> Config:
    """Seconds: generated shapes and their names, towers from scratch."""
    return Config(
        data=Pairs(source="made", columns=("image", "text"), options={"rows": 96}),
        towers="scratch",
        width=32,
        train=Train(steps=20, batch_size=32, lr=1e-3, save_every=10, log_every=1),
    )


def demo() -> Config:
    """What `antiphon demo` runs: stamps and their captions, written and spoken in eight languages; chosen on dev."""
    return Config(
        data=Pairs(source="stamps", columns=("image", "text", "speech")),
        image=Tower(
            encoder="efficientnet-lite0+names",
            trim=True,
            keep=1,
            views=2,
            head=HeadConfig(pooling="mean", norm="standard", dropout=0.6),
        ),
        text=Tower(encoder="all-MiniLM-L6-v2+spelling", head=HeadConfig(norm="none", map="pca")),
        speech=Tower(
            encoder="whisper-tiny.en",
            layers=4,
            trim=True,
            keep=4,
            head=HeadConfig(pooling="segments", norm="standard", dropout=0.3),
        ),
        pairs=(("image", "text"), ("speech", "text"), ("speech", "image")),
        temperature=0.1,
        train=Train(steps=120, batch_size=1024, lr=2e-3, weight_decay=0.05, warmup=0.15, clip_norm=None),
    )


def laptop() -> Config:
    """The claim's setting, minutes on two cores: stamps and their captions, both arms on the same rows and steps."""
    return Config(
        image=Tower(encoder="efficientnet-lite0", keep=1),
        text=Tower(encoder="all-MiniLM-L6-v2", keep=1),
        train=Train(steps=300, batch_size=128, lr=1e-3),
    )


def paper() -> Config:
    """The published setting (ViT-B/32, section 2.5 and appendix F), on a user's own image-text shards; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("image", "text")),
        towers="scratch",
        scratch="base",  # differs: our own ViT and byte-level Transformer, not ViT-B/32 and BPE
        width=512,
        loss="tiled",
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
