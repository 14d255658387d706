"""X-CLIP: a model of pictures and texts becomes one of videos and texts (arXiv 2208.02816).

Frame t has tokens z_t (class token and patches), class k the vector c_k of its text, from a trained pair of towers:

    m_t  = W z_t,cls + b,  M^ = M + Attn(LN(M)) over frames       a message for each frame, in every block (`cross`)
    z_t <- block([z_t, m^_t]), the message dropped                attention inside the frame, with CLIP's weights
    h_t  = Proj(LN(z_t,cls)),  v = mean_t(Transformer(h + e_time) + h)                        over time (`integrate`)
    z_   = LN(mean_t(LN(patches) W_p)),  c^_k = c_k + alpha Layers(c_k, z_)        texts that see the video (`prompts`)
    s_k  = <v, c^_k> / (|v| |c^_k| T),  L = cross-entropy over the classes, labels smoothed

It is no contrast among the rows of a batch: the class texts are the classifier. The text tower is frozen, new parts
have ten times the rate. Three protocols: all training videos, or `shots` of each class; and classes that are held out
(`held_out`), whose words others have, recognised among each other from their texts alone.

The order of the mean over frames and W_p, and the norms, are those of the official code (the paper writes neither).

differs: without a checkpoint the start is trained here: blocks over the cells of a frozen EfficientNet-Lite0, on single
    frames and captions, against frozen MiniLM vectors (their principal components).
differs: no mixup, cutmix, crops or colour changes; and never a flip, which would turn left into right.
differs: one rate's schedule for all; ten times the rate is had by a factor before the new weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.config import Config as Settings
from antiphon.data.cache import cache_folder
from antiphon.data.collate import INDEX, Collate
from antiphon.data.pairs import Pairs, expand, signal_of, splits
from antiphon.decode import decode_video
from antiphon.encoders import Encoder
from antiphon.encoders.crossframe import Prompts
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig, identity_head
from antiphon.encoders.pretrained import video_model
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.towers import Tower, encode_columns
from antiphon.encoders.video import Frames, VideoTower
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.objectives.contrast import Scale, contrast
from antiphon.recipes.x_clip.measures import film_picture, measured, shuffled
from antiphon.recipes.x_clip.rates import faster, plain
from antiphon.recipes.x_clip.rows import Classes, Row, class_rows, few
from antiphon.recipes.x_clip.start import Stills, one_frame, read, vectors_of
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

Share = Annotated[float, Field(ge=0, lt=1)]


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="moving", columns=("video",), split_by="picture")
    classes: str = "text"
    """The column of class names: they are the prompts."""
    reverse: str | None = "reverse"
    """The column of the class that the film would be backwards; it may be None in a row, or not be there."""
    captions: str = "name"
    """The column of what single frames show, for the start."""
    pretrained: str | None = None
    """A CLIP or X-CLIP checkpoint, by hub id or folder, trained whole; None trains a start over a frozen encoder."""
    image: Tower = Tower(encoder="efficientnet-lite0")
    text: Tower = Tower(encoder="all-MiniLM-L6-v2", head=HeadConfig(norm="none", map="pca"))
    """Frozen, head and all: principal components of the captions and class names; where these are fewer than `width`,
    `text.head.map=learned` is a random map that stays as it is."""
    frames: PositiveInt = 6
    pixels: PositiveInt = 96
    project: NonNegativeInt = 192
    """Numbers that are kept of each cell of the frozen encoder; 0 keeps all."""
    inner: PositiveInt = 128
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    width: PositiveInt = 128
    cross: bool = True
    integrate: NonNegativeInt = 1
    """Blocks over time; 0 is the mean of the frames."""
    prompts: NonNegativeInt = 2
    """Layers of the video-specific prompts; 0 leaves the texts as they are."""
    alpha: PositiveFloat = 0.1  # the official `load()`; the constructor's 1e-4 is not used there
    faster: PositiveFloat = 10.0
    """How many times the rate new parts have."""
    smoothing: Share = 0.1
    temperature: PositiveFloat = 0.02
    held_out: Share = 0.2
    """Share of the classes that no training video shows."""
    shots: PositiveInt | None = None
    """Training videos of a class; None takes all."""
    start: Train = Train()
    """How the start is trained."""
    train: Train = Train()


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
    columns = expand(cfg.data.columns, data["train"].column_names)
    if [signal_of(column) for column in columns] != ["video"] or cfg.classes not in data["train"].column_names:
        raise UserError(
            f"x_clip wants one column of videos and the column classes={cfg.classes}: data.columns gives "
            f"{', '.join(columns)}, the rows have {', '.join(data['train'].column_names)}"
        )
    classes = Classes.of(data, cfg.classes, cfg.reverse, cfg.held_out, run.seed)
    rows = {split: class_rows(part, cfg.classes, classes) for split, part in data.items()}
    begin = _trained_start if cfg.pretrained is None else _pretrained_start
    start = begin(cfg, run, data, rows, columns[0], classes)
    run.seed_all()  # the arms' new parts begin alike, whether their start was trained now or before
    tower = start.tower.grown(cross=cfg.cross, integrate=cfg.integrate)
    prompts = None
    if cfg.prompts:
        own = Prompts(tower.settings["width"], tower.width, layers=cfg.prompts, alpha=cfg.alpha)
        prompts = start.prompts or own
    vectors = vectors_of(start.text, classes.names)
    learner = XClip(cfg, tower, prompts, vectors, torch.tensor(classes.seen), start.temperature)
    faster([*tower.new_parts(), *([prompts] if prompts is not None else [])], cfg.faster)
    seen = set(classes.seen)
    trained = few([row for row in rows["train"] if row["class"] in seen], cfg.shots, run.seed)
    collate = Collate({"video": tower.stem}, keep=("class",), seed=run.seed)
    fit(learner, trained, cfg.train, run, collate=collate)
    whole = tower.over(start.stem, plain(tower))
    Space({"video": Branch(whole, identity_head(whole.width)), "text": start.text}).eval().save(run.folder / "space")
    measures = start.measures | {"seconds/total": time.perf_counter() - started}
    for split in ("dev", "test"):
        for name, batches in (("", collate), ("shuffled/", shuffled(collate, tower.settings["frames"]))):
            found = measured(learner.cosines, views_of(learner, rows[split], batches), classes)
            measures |= {f"{split}/{name}{key}": value for key, value in found.items()}
    if cfg.data.source == "moving":  # pictures that may be shown
        _keep_picture(cfg, run, learner, data["test"], rows["test"], collate, classes)
    return run.finish(measures)


@dataclass(frozen=True)
class Start:
    """What is grown: the towers of pictures and texts, prompts where a checkpoint has them, and what reads videos."""

    tower: VideoTower
    text: Branch
    stem: Encoder
    temperature: float
    prompts: Prompts | None
    measures: Measures


def _pretrained_start(
    cfg: Config, run: Run, data: dict[str, Any], rows: dict[str, list[Row]], column: str, classes: Classes
) -> Start:
    model = video_model(str(cfg.pretrained), frames=cfg.frames)
    for split, part in data.items():
        for row, item in zip(rows[split], part[column], strict=True):
            row["video"] = item
    model.text.requires_grad_(False)
    return Start(model.tower, model.text, model.tower.stem, model.temperature, model.prompts, {})


def _trained_start(
    cfg: Config, run: Run, data: dict[str, Any], rows: dict[str, list[Row]], column: str, classes: Classes
) -> Start:
    stem = Frames(cfg.image.open("image"), frames=cfg.frames, pixels=cfg.pixels, project=cfg.project)
    cache = FeatureCache(cache_folder() / "features")
    encode_columns(rows, data, [column], stem, cache, refused=run.quarantine)
    for row in [row for part in rows.values() for row in part]:
        row["video"] = row.pop(column)
    said = {split: list(part[cfg.captions]) for split, part in data.items()}
    reader = cfg.text.open("text")
    text = Branch(reader, Head(reader.width, cfg.width, cfg.text.head)).requires_grad_(False)
    if text.head.needs_rows:
        text.head.prepare(read(reader, sorted({*said["train"], *classes.names})))
    shown = next((row["video"] for row in rows["train"] if row["video"] is not None), None)
    if shown is None:
        raise UserError(f"x_clip: none of the {len(rows['train'])} training videos could be read: see quarantine.jsonl")
    tower = VideoTower(
        Features(stem.width, signal="video"), cells=len(shown) // cfg.frames, frames=cfg.frames, width=cfg.inner,
        out=cfg.width, layers=cfg.layers, heads=cfg.heads, cross=False, integrate=0, activation="gelu",
    )  # fmt: skip
    stills = Stills(tower, cfg.temperature)
    numbers = {one: at for at, one in enumerate(sorted({*said["train"], *said["dev"]}))}
    vectors = vectors_of(text, list(numbers))[:, None]
    of = {
        split: [row | {"caption": vectors[numbers[one]], "caption_number": numbers[one]}
                for row, one in zip(rows[split], said[split], strict=True)]
        for split in ("train", "dev")
    }  # fmt: skip
    collate = Collate(
        {"video": tower.stem, "caption": Features(cfg.width, signal="text")}, keep=("caption_number",),
        augment={"video": one_frame(tower.cells)}, seed=run.seed,
    )  # fmt: skip
    fit(stills, of["train"], cfg.start, _start_run(cfg, run), collate=collate)
    dev = [row | {INDEX: at} for at, row in enumerate(of["dev"])]
    views = views_of(stills, dev, collate)
    found = answers(views["still"], views["caption"], views["label"], views["label"])
    measures = {f"start/dev/{name}": found[name] for name in ("R@10", "chance R@10")}
    return Start(tower, text, stem, stills.scale.temperature, None, measures)


def _start_run(cfg: Config, run: Run) -> Run:
    """The start's own run, the same for all arms: only what it depends on is in its name."""
    names = ("data", "classes", "captions", "image", "text", "frames", "pixels", "project", "inner", "layers", "heads",
             "width", "temperature", "start")  # fmt: skip
    same = Config(**{name: getattr(cfg, name) for name in names})
    return Run.of("x_clip_start", same, seed=run.seed, root=run.folder.parent)


@torch.inference_mode()
def _keep_picture(
    cfg: Config, run: Run, learner: XClip, data: Any, rows: list[Row], collate: Collate, classes: Classes
) -> None:
    """Two films of the test split and their reverses, and the four prompts that are most like each."""
    films = []
    there = [at for at, row in enumerate(rows) if row["video"] is not None and row["class"] in classes.reverse]
    for at in there[:: max(1, len(there) // 2)][:2]:
        frames = decode_video(data[at][cfg.data.columns[0]], cfg.frames)
        batch = collate([rows[at]])
        items: Padded = batch["video"]
        back = items.values.reshape(1, cfg.frames, -1).flip(1).reshape(items.values.shape)
        for film, values in ((frames, items.values), (frames.flip(0), back)):
            learner.eval()
            views = learner.embed({"video": Padded(values, items.lengths), "class": batch["class"]})
            shares = learner.scale(learner.cosines(views, torch.arange(len(classes.names))))[0].softmax(0)
            best = shares.topk(min(4, len(shares)))
            films.append(
                (film, [(classes.names[k], share) for share, k in zip(*map(Tensor.tolist, best), strict=True)])
            )
    if films:
        caption = "Two films of the test split, each as it is and backwards, and the prompts that are most like them."
        run.picture("films", film_picture(films), caption)


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


_WHOLE, _PLAIN = Arm(), Arm(prompts=0)
_MESSAGES, _MEAN = Arm(prompts=0, integrate=0), Arm(prompts=0, integrate=0, cross=False)
_FEW = {"shots": 4, "train__steps": 100}
_REAL = {"data__source": "actions", "data__split_by": "recording", "captions": "text", "held_out": 0.0,
         "text__head__map": "learned"}  # fmt: skip


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"test/{floor}")


# Every arm on the same rows starts from the same start and takes as many steps.
CLAIMS = [
    _claim("X-CLIP beats the mean of frames at recognising seen classes in new videos.",
           _WHOLE, _MEAN, "top-1", "chance"),
    _claim(
        "Blocks over time tell a motion from its reverse, messages between frames alone cannot.",
        _PLAIN, _MESSAGES, "order", "order/chance",
    ),
    _claim(
        "Messages between frames beat the mean of frames alone at recognising seen classes.",
        _MESSAGES, _MEAN, "top-1", "chance",
    ),
    _claim(
        "Texts that see the video beat plain ones at classes that were held out (zero-shot).",
        _WHOLE, _PLAIN, "unseen/top-1", "unseen/chance",
    ),
    _claim(
        "With four videos of a class X-CLIP beats the mean of frames (few-shot).",
        Arm(**_FEW), Arm(_MEAN, **_FEW), "top-1", "chance",
    ),
    _claim(
        "On real video X-CLIP beats the mean of frames at telling standing up from sitting down.",
        Arm(**_REAL), Arm(_MEAN, **_REAL), "order/balanced", "order/chance",
    ),
]  # fmt: skip
