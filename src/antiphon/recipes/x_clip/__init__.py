"""X-CLIP: a model of pictures and texts becomes one of videos and texts (arXiv 2208.02816).

Frame t has tokens z_t (class token and patches), class k the vector c_k of its text, from a trained pair of towers:

    m_t  = W z_t,cls + b,  M^ = M + Attn(LN(M)) over frames       a message for each frame, in every block (`cross`)
    z_t <- block([z_t, m^_t]), the message dropped                attention inside the frame, with CLIP's weights
    h_t  = Proj(LN(z_t,cls)),  v = mean_t(Transformer(h + e_time) + h)                        over time (`integrate`)
    z_   = LN(mean_t(LN(patches) W_p)),  c^_k = c_k + alpha Layers(c_k, z_)        texts that see the video (`prompts`)
    s_k  = <v, c^_k> / (|v| |c^_k| T),  L = cross-entropy over the classes, labels smoothed

It is no contrast among the rows of a batch: the class texts are the classifier. The text tower is frozen, new parts
have ten times the rate. Three protocols: all training videos, or `shots` of each class; and classes that are held out
(`held_out`, or those that the rows call `novel`), recognised among each other from their texts alone.

On videos of one's own, each of a class:

    antiphon train x_clip data.source=folder data.options.folder=my.csv data.columns=[video] classes=kind \\
        captions=kind reverse=null text.head.map=learned

The order of the mean over frames and W_p, and the norms, are those of the official code (the paper writes neither).

differs: without a checkpoint the start is trained here: blocks over the cells of a frozen EfficientNet-Lite0, on single
    frames and captions, against frozen MiniLM vectors (their principal components).
differs: where rows have vectors of frames in the place of videos (`ucf101`: VGG16), a frame is one cell: messages pass
    between frames as ever, but inside a frame only the class token, the cell and the message meet; prompts look at one
    vector, the mean of the cells over time; and no model of pictures and texts read these frames before, so that the
    start learns them from the names of the classes, on the videos and classes that training may see.
differs: no mixup, cutmix, crops or colour changes; and never a flip, which would turn left into right.
differs: one rate's schedule for all; ten times the rate is had by a factor before the new weights.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data.cache import cache_folder
from antiphon.data.collate import INDEX, Collate
from antiphon.data.pairs import Pairs, splits
from antiphon.encoders import Encoder
from antiphon.encoders.crossframe import Prompts
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig, identity_head
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.towers import Tower, encode_columns
from antiphon.encoders.video import Frames, VideoTower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.objectives.contrast import Scale, contrast
from antiphon.recipes.x_clip.claims import CLAIMS
from antiphon.recipes.x_clip.config import Config
from antiphon.recipes.x_clip.measures import measured_twice, regression, shuffled
from antiphon.recipes.x_clip.pictures import keep_films, reversible
from antiphon.recipes.x_clip.rates import faster, plain
from antiphon.recipes.x_clip.rows import Classes, Row, class_rows, few, holds_vectors, read_vectors, video_column
from antiphon.recipes.x_clip.start import Captions, Start, Stills, learn_stills, one_frame, pretrained, read, vectors_of
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views

PAPER = Paper(
    "2208.02816",
    "Expanding Language-Image Pretrained Models for General Video Recognition",
    ("video", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Config", "XClip", "laptop", "paper", "run", "tiny"]


class XClip(ContrastiveLearner):
    """The video tower and the prompts, and the class texts' vectors as they stand.

    Args:
        cfg: as above.
        tower: with or without messages and blocks over time.
        prompts: None leaves the texts as they are.
        vectors: `(K, E)` of the classes, not yet of unit length.
        seen: numbers of the classes that are trained.
        temperature: where the scale starts.
    """

    vectors: Tensor
    seen: Tensor

    def __init__(
        self, cfg: Config, tower: VideoTower, prompts: Prompts | None, vectors: Float[Tensor, "k e"],
        seen: Int[Tensor, " s"], temperature: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tower, self.prompts, self.smoothing = tower, prompts, cfg.smoothing
        self.register_buffer("vectors", vectors)
        self.register_buffer("seen", seen)
        self.scale = Scale(temperature)

    def embed(self, batch: Batch) -> Views:
        """Vectors of videos, and what the texts look at."""
        items: Padded = batch["video"]
        encoded, patches = self.tower.look(items)
        views: Views = {"video": encoded.pooled, "class": batch["class"], "there": items.present}
        return views if self.prompts is None else views | {"memory": self.prompts.memory(patches)}

    def cosines(self, views: Views, classes: Int[Tensor, " k"]) -> Float[Tensor, "b k"]:
        """Of each video and each of these classes' texts, as the video changes them."""
        vectors_KE = self.vectors[classes]
        video_BE = normalize(views["video"], dim=1)
        if self.prompts is None:
            return video_BE @ normalize(vectors_KE, dim=1).T
        prompted_BKE = normalize(self.prompts(vectors_KE, views["memory"]), dim=2)
        return torch.einsum("be,bke->bk", video_BE, prompted_BKE)

    def shares(self, batch: Batch) -> Float[Tensor, "b k"]:
        """How much of each video every class has, seen or not; each line sums to one."""
        scores: Tensor = self.scale(self.cosines(self.embed(batch), torch.arange(len(self.vectors))))
        return scores.softmax(1)

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Cross-entropy over the seen classes."""
        views = {name: view[views["there"]] for name, view in views.items()}
        scores = self.scale(self.cosines(views, self.seen))
        right = (views["class"][:, None] == self.seen[None, :]).to(scores.dtype)
        targets = (1 - self.smoothing) * right + self.smoothing / len(self.seen)
        return {"classes": contrast(scores, targets)}

    def levels(self) -> dict[str, float]:
        """The temperature."""
        return {"temperature": self.scale.temperature}


def run(cfg: Config, run: Run) -> Measures:
    """Open or train the start, grow it, train it on videos, save the space; measure dev and test."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    column = video_column(data["train"], cfg.data.columns, {"classes": cfg.classes, "novel": cfg.novel})
    classes = Classes.of(data, cfg.classes, cfg.reverse, cfg.held_out, run.seed, novel=cfg.novel)
    rows = {split: class_rows(part, cfg.classes, classes) for split, part in data.items()}
    seen = set(classes.seen)
    shown = few([row for row in rows["train"] if row["class"] in seen], cfg.shots, run.seed)
    if cfg.pretrained is not None and cfg.classifier == "regression":
        raise UserError(f"classifier=regression reads frozen vectors, pretrained={cfg.pretrained} is trained whole")
    if cfg.pretrained is None:
        start = _trained_start(cfg, run, data, rows, shown, column, classes)
    else:
        start = pretrained(cfg.pretrained, cfg.frames, data, rows, column)
    if cfg.classifier == "regression":
        found = regression(shown, {split: rows[split] for split in ("dev", "test")}, classes)
        return run.finish(found | {"seconds/total": time.perf_counter() - started})
    run.seed_all()  # the arms' new parts begin alike, whether their start was trained now or before
    tower = start.tower.grown(cross=cfg.cross, integrate=cfg.integrate)
    prompts = None
    if cfg.prompts:
        own = Prompts(tower.settings["width"], tower.width, layers=cfg.prompts, alpha=cfg.alpha)
        prompts = start.prompts or own
    vectors = vectors_of(start.text, classes.names)
    learner = XClip(cfg, tower, prompts, vectors, torch.tensor(classes.seen), start.temperature)
    faster([*tower.new_parts(), *([prompts] if prompts is not None else [])], cfg.faster)
    look = {"video": one_frame(tower.cells)} if cfg.one_frame else {}
    collate = Collate({"video": tower.stem}, keep=("class",), augment=look, seed=run.seed)
    fit(learner, shown, cfg.train, run, collate=collate)
    whole = tower.over(start.stem, plain(tower))
    Space({"video": Branch(whole, identity_head(whole.width)), "text": start.text}).eval().save(run.folder / "space")
    measures = start.measures | {"seconds/total": time.perf_counter() - started}
    mixed = shuffled(collate, 1 if cfg.one_frame else tower.settings["frames"])
    for split in ("dev", "test"):
        asked = [row | {INDEX: at} for at, row in enumerate(rows[split])]
        views, others = (views_of(learner, asked, batches) for batches in (collate, mixed))
        found = measured_twice(learner.cosines, views, others, classes)
        measures |= {f"{split}/{key}": value for key, value in found.items()}
    if cfg.data.source == "moving" and not cfg.one_frame:  # pictures that may be shown
        chosen = reversible(rows["test"], classes, most=2)
        items, batches = [data["test"][column][at] for at in chosen], [collate([rows["test"][at]]) for at in chosen]
        keep_films(run, items, batches, cfg.frames, classes.names, learner.eval().shares)
    return run.finish(measures)


_OF_THE_START = (
    "data", "classes", "captions", "image", "text", "frames", "pixels", "project", "inner", "layers", "heads", "width",
    "temperature", "start",
)  # fmt: skip
_OF_NAMES = ("held_out", "novel", "shots")  # where the start learns from classes' names


def _trained_start(
    cfg: Config, run: Run, data: dict[str, Any], rows: dict[str, list[Row]], shown: list[Row], column: str,
    classes: Classes,
) -> Start:  # fmt: skip
    stem = _read_videos(cfg, run, data, rows, shown, column)
    said = {split: list(part[cfg.captions]) for split, part in data.items()}
    reader = cfg.text.open("text")
    text = Branch(reader, Head(reader.width, cfg.width, cfg.text.head)).requires_grad_(False)
    if text.head.needs_rows:
        text.head.prepare(read(reader, sorted({*said["train"], *classes.names})))
    first = next((row["video"] for row in rows["train"] if row["video"] is not None), None)
    if first is None:
        raise UserError(f"x_clip: none of the {len(rows['train'])} training videos could be read: see quarantine.jsonl")
    tower = VideoTower(
        Features(stem.width, signal="video"), cells=len(first) // cfg.frames, frames=cfg.frames, width=cfg.inner,
        out=cfg.width, layers=cfg.layers, heads=cfg.heads, cross=False, integrate=0, activation="gelu",
    )  # fmt: skip
    stills = Stills(tower, cfg.temperature)
    captions = Captions.of(text, {split: said[split] for split in ("train", "dev")})
    allowed = {row["id"] for row in shown} if cfg.captions == cfg.classes else None
    depends_on = _OF_THE_START + (_OF_NAMES if cfg.captions == cfg.classes else ())
    measures = learn_stills(
        stills, captions, rows, run.part("start", cfg.only(*depends_on)), cfg.start, allowed=allowed
    )
    return Start(tower, text, stem, stills.scale.temperature, None, measures)


def _read_videos(
    cfg: Config, run: Run, data: dict[str, Any], rows: dict[str, list[Row]], shown: list[Row], column: str
) -> Encoder:
    """Put each video's cells into its row, as `video`; gives the encoder that made them."""
    if holds_vectors(data["train"], column):
        return read_vectors(data, rows, shown, column, cfg.frames, run)
    stem = Frames(cfg.image.open("image"), frames=cfg.frames, pixels=cfg.pixels, project=cfg.project)
    cache = FeatureCache(cache_folder() / "features")
    encode_columns(rows, data, [column], stem, cache, refused=run.quarantine)
    for row in [row for part in rows.values() for row in part]:
        row["video"] = row.pop(column)
    return stem


def tiny() -> Config:
    """Seconds: generated shapes that move, over a frozen random picture encoder and a frozen random text tower."""
    made = {"pictures": "made", "count": 30, "each": 3, "frames": 4, "size": 32,
            "motions": ["moving to the left", "moving to the right", "growing", "shrinking"]}  # fmt: skip
    return Config(
        data=Pairs(source="moving", columns=("video",), split_by="picture", options=made),
        image=Tower(encoder="scratch-tiny"),
        text=Tower(encoder="scratch-tiny", head=HeadConfig(norm="none", map="pca")),
        frames=4,
        pixels=32,
        project=16,
        inner=32,
        layers=1,
        width=16,
        start=Train(steps=4, batch_size=16, lr=1e-3, log_every=4),
        train=Train(steps=24, batch_size=16, lr=1e-3, save_every=4, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: moving stamps of six kinds in ten motions, 60 classes of which twelve are held out."""
    return Config(
        start=Train(steps=200, batch_size=64, lr=1e-3),
        train=Train(steps=250, batch_size=32, lr=3e-4),
    )


def paper() -> Config:
    """Kinetics-400 with CLIP's ViT-B/16 and 8 frames, batch 256, 30 epochs (supplement, table 1); not run here."""
    return Config(
        data=Pairs(source="shards", columns=("video",), split_by="id"),
        pretrained="openai/clip-vit-base-patch16",
        frames=8,
        held_out=0.0,
        train=Train(steps=28_000, batch_size=256, lr=8e-6, weight_decay=1e-3, warmup=1 / 6),
    )
