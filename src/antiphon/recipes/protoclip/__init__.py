"""ProtoCLIP: contrast of pairs, and of each row with clusters of what it is paired with (arXiv 2206.10996).

z are a CLIP's views, made unit of vectors x; h = unit(g(x)) are those of further heads. An episode draws rows
and clusters their h by k-means: cluster y_i of row i, centroid C_k. Then, on the image side:

    C^{T->I}_k = mean of h^I_i over { i : y^T_i = k }              prototype back-translation (PBT)
    p_i = softmax_k(s_p <h^I_i, C^{T->I}_k>)                       the student's guess at its text's cluster
    q_i = softmax_k(<C^T_{y^T_i}, C^T_k> / tau_y)                  soft targets; one-hot at tau_y = 0
    L   = L_CLIP + (CE(q^T, p^I) + CE(q^I, p^T)) / 2 + L_ext       L_ext: clusters of an external teacher, one-hot

`prototypes` picks the second term: `translated` (the paper's), `own` (centroids as they are: no PBT) or `none` (CLIP,
its further heads idle). The first episode is contrast alone; so are the last ones, in which the image side rests.

On rows of one's own:

    antiphon train protoclip data.source=folder data.options.folder=my/files classes=null

differs: layer norm in the further heads, not batch norm, so that a row is embedded alone.
differs: rows are drawn without replacement, and empty clusters are masked; the official code does neither.
differs: rows of one caption are positives of each other in L_CLIP.
differs: the last stage has a warm-up and a fall of the rate of its own.
differs: a frozen tower's head with a hidden layer is the encoder that is trained and probed, where towers are locked.
differs: a locked tower's training picture is itself or one of a few changed looks, which are cached.
differs: in laptop() the teacher is the frozen model that the text tower stands on, not another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from antiphon.data.collate import EPOCH, Collate
from antiphon.data.pairs import Pairs, columns_there, splits
from antiphon.encoders import Encoder
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower, Towers, prepare_heads
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.recipes.protoclip import measures
from antiphon.recipes.protoclip.claims import CLAIMS
from antiphon.recipes.protoclip.config import Config
from antiphon.recipes.protoclip.episodes import Episodes, Groups
from antiphon.recipes.protoclip.pictures import changed, keep_prototypes
from antiphon.recipes.protoclip.rows import masked, taught_by, training_rows
from antiphon.recipes.protoclip.start import checkpoint, opened, two_signals
from antiphon.runs import Measures, Run
from antiphon.training.fit import Every, Moment, Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views

PAPER = Paper(
    "2206.10996",
    "ProtoCLIP: Prototypical Contrastive Language Image Pretraining",
    ("image", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Config", "ProtoClip", "laptop", "paper", "run", "tiny"]


class ProtoClip(ContrastiveLearner):
    """Two branches, a further head on each, and the clusters of the present episode.

    Args:
        cfg: as above.
        branches: by signal, the image side first.
        rows: of an episode.
        temperature: where the scale starts.
    """

    clustered: Tensor

    def __init__(self, cfg: Config, branches: dict[str, Branch], rows: int, temperature: float) -> None:
        super().__init__()
        self.cfg, self.names = cfg, tuple(branches)
        self.branches = nn.ModuleDict(branches)
        out = next(iter(branches.values())).head.out
        head = nn.Sequential(
            nn.Linear(out, cfg.hidden), nn.LayerNorm(cfg.hidden), nn.ReLU(), nn.Linear(cfg.hidden, cfg.inner)
        )
        self.further = nn.ModuleDict({name: deepcopy(head) for name in branches})  # one start, as in the official code
        self.scale, self.proto_scale = Scale(temperature), Scale(0.07)
        count, both = max(2, rows // cfg.cluster), dict.fromkeys(branches, cfg.inner)
        widths = both | ({"teacher": cfg.teacher_width} if cfg.teacher else {})
        self.groups = nn.ModuleDict({name: Groups(rows, count, width, both) for name, width in widths.items()})
        self.active = cfg.prototypes != "none" or cfg.teacher is not None
        self.register_buffer("clustered", torch.zeros((), dtype=torch.bool))
        self.found: dict[str, float] = {}
        if not self.active:
            self.further.requires_grad_(False)
            self.proto_scale.requires_grad_(False)

    def embed(self, batch: Batch) -> Views:
        """Vectors x of both signals, the unit vectors of the further heads, and the clusters of the rows."""
        views: Views = {"label": batch["label"]}
        for name, branch in branches_of(self.branches).items():
            items: Padded = batch[name]
            views[name] = branch.head(branch.encoder(items))
            views[f"has_{name}"] = items.present
            views[f"further_{name}"] = normalize(self.further[name](views[name]), dim=1)
        if "row" in batch:
            views |= {f"{name}_group": cast(Groups, group).labels[batch["row"]] for name, group in self.groups.items()}
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """L_CLIP, and once rows are clustered L_proto and L_ext, over the rows that have both signals."""
        first, second = self.names
        both = views[f"has_{first}"] & views[f"has_{second}"]
        views = {name: view[both] for name, view in views.items()}
        scores = self.scale(normalize(views[first], dim=1) @ normalize(views[second], dim=1).T)
        losses = {"contrast": symmetric_contrast(scores, same_label(views["label"]))}
        if not self.active:
            return losses
        if not self.clustered:  # zero, so that every process has a gradient for every parameter
            idle = torch.stack([views[f"further_{name}"].sum() for name in self.names]).sum()
            return losses | {"prototypes": 0 * idle * self.proto_scale.scale}
        softness = self.cfg.softness
        if self.cfg.prototypes != "none":
            losses["prototypes"] = self._guess(views, {first: second, second: first}, softness)
        if self.cfg.teacher:
            losses["teacher"] = self._guess(views, dict.fromkeys(self.names, "teacher"), 0.0)
        return losses

    def rest(self) -> None:
        """From now on: contrast alone, and the image side stays as it is."""
        self.active = False
        for module in (self.branches[self.names[0]], self.further, self.proto_scale):
            module.requires_grad_(False)

    @torch.no_grad()
    def regroup(self, rows: list[dict[str, Any]], collate: Callable[[list[Any]], Batch], taught: Tensor | None) -> None:
        """Cluster an episode's rows, as the present state sees them.

        Args:
            rows: of the episode, in the order of their places.
            collate: rows to a batch.
            taught: the teacher's vectors of these rows.
        """
        views = views_of(self, rows, collate)
        first, second = self.names
        there = views[f"has_{first}"] & views[f"has_{second}"]
        students = {name: views[f"further_{name}"] for name in self.names}
        for name, module in self.groups.items():
            group, vectors = cast(Groups, module), taught if name == "teacher" else students[name]
            assert vectors is not None
            group.cluster(
                vectors, there, students,
                seed=rows[0][EPOCH], iterations=self.cfg.iterations, translated=self.cfg.prototypes != "own",
            )  # fmt: skip
        self.clustered.fill_(True)

    def levels(self) -> dict[str, float]:
        """Temperatures, and how often a student's best prototype is the right one."""
        return {
            "temperature": self.scale.temperature,
            "temperature/prototypes": self.proto_scale.temperature,
        } | self.found

    def _guess(self, views: Views, sources: dict[str, str], softness: float) -> Tensor:
        """Half the sum of both students' losses, each against the clusters of its source."""
        losses = []
        for student, source in sources.items():
            group = cast(Groups, self.groups[source])
            loss, right = group.loss(
                student, self.proto_scale, views[f"further_{student}"], views[f"{source}_group"], softness
            )
            losses.append(loss)
            self.found[f"right/{student} of {source}"] = right
        return torch.stack(losses).sum() / 2


def run(cfg: Config, run: Run) -> Measures:
    """Train by episodes, save the space, keep a picture of prototypes; measure on dev and test."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    columns_there(data["train"].column_names, classes=cfg.classes)
    if cfg.masked:
        data = masked(data, cfg.classes)
    signals = two_signals(cfg.data.columns, teacher=cfg.teacher, prototypes=cfg.prototypes)
    if cfg.pretrained is None:
        branches, towers, temperature = *opened(cfg.towers, signals, cfg.locked, cfg.width), cfg.temperature
    else:
        branches, towers, temperature = checkpoint(cfg.pretrained, signals, cfg.locked)
    rows, looks = training_rows(
        data, towers, cfg.towers, run, locked=cfg.locked, changed=changed if cfg.augment else None
    )
    inputs: dict[str, Encoder] = {name: branch.encoder for name, branch in branches.items()}
    prepare_heads(branches, rows["train"], {name: name for name in branches})
    on_the_fly = {"image": changed} if cfg.augment and "image" in branches and "image" not in cfg.locked else {}
    drawing = Collate(inputs, keep=("label",), of=looks, augment=on_the_fly, seed=run.seed)
    episodes = Episodes(rows["train"], cfg.episode or len(rows["train"]), run.seed, drawing)
    learner = ProtoClip(cfg, branches, episodes.size, temperature)
    taught = taught_by(cfg.teacher, list(data["train"]["text"]), cfg.teacher_width) if cfg.teacher else None
    _train(cfg, run, learner, episodes, taught)
    whole = {name: Branch(towers[name], branch.head) for name, branch in branches_of(learner.branches).items()}
    space = Space(whole).eval()
    space.save(run.folder / "space")
    result: Measures = {"seconds/total": time.perf_counter() - started}
    plain = Collate(inputs, keep=("label",))
    seen = {split: views_of(learner, rows[split], plain) for split in ("train", "dev", "test")}
    for split in ("dev", "test"):
        result |= {f"{split}/{name}": value for name, value in measures.pairs(seen[split], *learner.names).items()}
    if cfg.classes:
        kinds = {split: list(data[split][cfg.classes]) for split in seen}
        result |= measures.classes(seen, kinds, learner.names[0], space, least=cfg.least)
    if set(learner.names) == {"image", "text"}:
        _regroup(learner, episodes, 0, taught)
        views = views_of(learner, episodes.of(0), episodes.collate)
        keep_prototypes(run, cast(Groups, learner.groups["text"]), views, data["train"].select(episodes.drawn(0)))
    return run.finish(result)


def _train(cfg: Config, run: Run, learner: ProtoClip, episodes: Episodes, taught: Tensor | None) -> None:
    """All episodes, those at the end in a run of their own."""
    length = max(1, episodes.size // min(cfg.train.batch_size, episodes.size))
    steps = cfg.train.steps - cfg.finish * length
    if steps <= cfg.warm * length:
        raise UserError(
            f"train.steps={cfg.train.steps} are {cfg.train.steps / length:.1f} episodes of {length} steps: wanted more "
            f"than warm={cfg.warm} and finish={cfg.finish} take"
        )

    def regroup(moment: Moment) -> None:
        number = moment.step // length
        if learner.active and number >= cfg.warm and moment.step < steps:
            _regroup(learner, episodes, number, taught)

    if learner.active and cfg.warm == 0:
        _regroup(learner, episodes, 0, taught)
    fit(
        learner, episodes.places, cfg.train.but(steps=steps), run, collate=episodes, every=[Every(length, regroup)]
    )  # fmt: skip
    if cfg.finish:
        learner.rest()
        last = run.part("finish", cfg)
        fit(learner, episodes.places, cfg.train.but(steps=cfg.finish * length), last, collate=episodes)


def _regroup(learner: ProtoClip, episodes: Episodes, number: int, taught: Tensor | None) -> None:
    drawn = None if taught is None else taught[episodes.drawn(number)]
    learner.regroup(episodes.of(number), episodes.collate, drawn)


def tiny() -> Config:
    """Seconds: generated shapes and their names, towers from scratch; clusters from the first step."""
    return Config(
        data=Pairs(source="made", columns=("image", "text"), limit=96),
        towers=Towers(image=Tower(encoder="scratch-tiny"), text=Tower(encoder="scratch-tiny")),
        locked=(),
        augment=False,
        width=32,
        hidden=32,
        inner=16,
        warm=0,
        finish=1,
        classes="shape",
        least=4,
        train=Train(steps=22, batch_size=32, lr=1e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: Open Clip Art; frozen towers, and heads with a hidden layer that are trained and probed."""
    image = HeadConfig(norm="standard", hidden=256, dropout=0.5)  # without dropout all arms learn the rows by heart
    text = HeadConfig(norm="standard", hidden=256, dropout=0.3)
    return Config(
        towers=Towers(
            image=Tower(encoder="efficientnet-lite0", keep=1, views=1, head=image),
            text=Tower(encoder="all-MiniLM-L6-v2", keep=1, head=text),
        ),
        episode=1024,
        train=Train(steps=480, batch_size=64, lr=1e-3, weight_decay=0.1, clip_norm=10.0),
    )


def paper() -> Config:
    """The published setting (README of the official code), on a user's own image-text shards; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("image", "text")),
        towers=Towers(image=Tower(encoder="scratch-base"), text=Tower(encoder="scratch-base")),
        locked=(),
        width=1024,
        hidden=2048,
        inner=128,
        teacher="FacebookAI/roberta-large",
        episode=200_000,
        iterations=20,
        classes=None,
        train=Train(steps=156_250, batch_size=512, lr=5e-4, weight_decay=0.5, clip_norm=10.0, warmup=0.1),
    )
