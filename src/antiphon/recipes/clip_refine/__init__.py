"""CLIP-Refine: a short stage after pre-training that closes the gap between two signals (arXiv 2504.12717).

Features u, w of a pair in the space (D wide, not of unit length), teacher features u', w' of the frozen start:

    L_RaFA = mean_i (|u_i - z_i|^2 + |w_i - z_i|^2) / 2,  z_i ~ N(0, sigma^2): one draw for both, anew each step
    L_HyCD = contrast(s, a * 1 + (1 - a) * softmax(s')) both ways,  s, s' the scores of student and teacher
    L      = L_RaFA + L_HyCD

`alpha` is a: 1 is plain contrastive training, 0 distils from the teacher alone. `align` picks the first term: `random`
(RaFA), `zero` (its control without randomness, z = 0), `pairs` (pulls the two of a pair together), or `none`.
Taking each signal's mean away closes the gap too, for nothing: `start/centred/...` are the measures of the start so.

On rows of one's own, of two kinds; with `pretrained`, a CLIP checkpoint, `before` is only measured:

    antiphon train clip_refine before.source=folder before.options.folder=my/files \\
        data.source=folder data.options.folder=my/files classes=null

differs: HyCD compares unit vectors at the start's temperature; the official code takes raw inner products at 1.
differs: RaFA is a mean over D, as in the official code, not the paper's sum.
differs: sigma is such that z is as long as the start's features; the paper's is 1.
The paper's tables were read in a secondary source only.
"""

from __future__ import annotations

import math
import time
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate
from antiphon.data.opening import Rows, opened
from antiphon.data.pairs import Pairs, columns_there, expand, signal_of, splits
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.pretrained import clip_space
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower, Towers, encode_columns, prepare_heads
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.objectives.contrast import Scale, contrast
from antiphon.objectives.targets import same_label, softened
from antiphon.recipes.clip_refine.claims import CLAIMS
from antiphon.recipes.clip_refine.config import Config
from antiphon.recipes.clip_refine.measures import draw_gap, measured
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views

PAPER = Paper(
    "2504.12717",
    "Post-pre-training for Modality Alignment in Vision-Language Foundation Models",
    ("image", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Config", "Refine", "laptop", "paper", "run", "tiny"]


class Refine(ContrastiveLearner):
    """Two branches, and once it refines a frozen copy of both.

    Args:
        branches: by signal.
        temperature: where the scale starts.
    """

    sigma: Tensor

    def __init__(self, branches: dict[str, Branch], temperature: float) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.scale = Scale(temperature)
        self.register_buffer("sigma", torch.ones(()))
        self.align, self.alpha = "none", 1.0
        self.teacher: nn.ModuleDict | None = None

    def refine(self, cfg: Config, views: Views) -> None:
        """From now on: the present state is the teacher, and the loss is the second stage's.

        Args:
            cfg: which terms.
            views: of the rows to refine on, as the present state gives them: z becomes as long as they are.
        """
        self.align, self.alpha = cfg.align, cfg.alpha
        self.teacher = deepcopy(self.branches).requires_grad_(False)
        if cfg.warmth != 1.0:
            temperature = self.scale.temperature * cfg.warmth
            self.scale = Scale(temperature, min_temperature=min(0.01, temperature))
        self.scale.requires_grad_(False)  # it stays as it is
        lengths = torch.cat([views[name][views[f"has_{name}"]].norm(dim=1) for name in self.branches])
        self.sigma.copy_(lengths.mean() / math.sqrt(views[next(iter(self.branches))].shape[1]))

    def train(self, mode: bool = True) -> Refine:
        """As ever, but the teacher stays in eval mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def embed(self, batch: Batch) -> Views:
        """Features of both signals, the teacher's unit vectors, whether the row has them, and its draw of z."""
        views: Views = {"label": batch["label"]}
        for signal, branch in branches_of(self.branches).items():
            items: Padded = batch[signal]
            views[signal] = branch.head(branch.encoder(items))
            views[f"has_{signal}"] = items.present
            if self.teacher is not None:
                with torch.no_grad():
                    views[f"{signal}_before"] = branches_of(self.teacher)[signal](items)
        if "z" in batch:
            views["z"] = batch["z"].values[:, 0]
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The loss of the stage, over the rows that have both signals."""
        first, second = self.branches
        both = views[f"has_{first}"] & views[f"has_{second}"]
        views = {name: view[both] for name, view in views.items()}
        u, w = views[first], views[second]
        scores = self.scale(normalize(u, dim=1) @ normalize(w, dim=1).T)
        one_hot = same_label(views["label"])
        ahead = back = one_hot
        if self.teacher is not None and self.alpha < 1:
            taught = views[f"{first}_before"] @ views[f"{second}_before"].T
            ahead, back = (
                self.alpha * one_hot + (1 - self.alpha) * softened(one, temperature=self.scale.temperature)
                for one in (taught, taught.T)
            )
        losses = {"contrast": (contrast(scores, ahead) + contrast(scores.T, back)) / 2}
        if self.align == "pairs":
            losses["align"] = (normalize(u, dim=1) - normalize(w, dim=1)).square().sum(1).mean()
        elif self.align != "none":
            z = views["z"] * self.sigma if self.align == "random" else torch.zeros_like(u)
            losses["align"] = (mse_loss(u, z) + mse_loss(w, z)) / 2
        return losses


def run(cfg: Config, run: Run) -> Measures:
    """Open or train the start, refine it, save the space; measure both kinds of rows before and after."""
    started = time.perf_counter()
    run.seed_all()
    old, new = (splits(pairs, run.seed) for pairs in (cfg.before, cfg.data))
    signals = [signal_of(column) for column in cfg.data.columns]
    if len(signals) != 2 or sorted(cfg.before.columns) != sorted(cfg.data.columns):
        raise UserError(
            f"clip_refine wants the same two columns twice: before has {cfg.before.columns}, data {cfg.data.columns}"
        )
    for rows in (old, new):
        columns_there(rows["train"].column_names, classes=cfg.classes)
    begin = _trained_start if cfg.pretrained is None else _pretrained_start
    learner, old_rows, new_rows, towers = begin(cfg, run, old, new, signals)
    inputs: dict[str, Encoder] = {name: branch.encoder for name, branch in branches_of(learner.branches).items()}
    plain, pair = Collate(inputs, keep=("label",)), tuple(learner.branches)
    kinds = {"old": (old, old_rows), "new": (new, new_rows)}
    before = measured(learner, pair, plain, _space(learner, towers), kinds, cfg.classes)
    measures = {f"start/{name}": value for name, value in before.items()}
    views = views_of(learner, new_rows["train"], plain)
    means = {signal: normalize(views[signal][views[f"has_{signal}"]], dim=1).mean(0) for signal in signals}
    centred = measured(learner, pair, plain, None, {"new": kinds["new"]}, None, means)
    measures |= {f"start/centred/{name}": value for name, value in centred.items()}
    sights = {"before": views_of(learner, new_rows["test"], plain)}
    learner.refine(cfg, views)
    width = views[signals[0]].shape[1]
    drawing = Collate(
        {**inputs, "z": Features(width, signal="noise")},
        keep=("label",),
        of={"z": "id"},
        augment={"z": lambda _, generator: torch.randn(1, width, generator=generator)},
        seed=run.seed,
    )
    fit(learner, new_rows["train"], cfg.train, run, collate=drawing)
    space = _space(learner, towers)
    space.save(run.folder / "space")
    measures |= measured(learner, pair, plain, space, kinds, cfg.classes)
    draw_gap(run, sights | {"after": views_of(learner, new_rows["test"], plain)}, signals)
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


Started = tuple[Refine, Rows, Rows, dict[str, Encoder]]
"""A start, both kinds of rows as it reads them, and the encoders that the saved space has."""


def _pretrained_start(cfg: Config, run: Run, old: Any, new: Any, signals: list[str]) -> Started:
    space, temperature = clip_space(str(cfg.pretrained))
    if sorted(signals) != sorted(space.branches):
        raise UserError(f"{cfg.pretrained} reads {', '.join(sorted(space.branches))}, data.columns holds {signals}")
    branches = branches_of(space.branches)
    rows = [opened(data, signals, run) for data in (old, new)]
    return Refine(branches, temperature), rows[0], rows[1], {name: each.encoder for name, each in branches.items()}


_OF_THE_START = ("before", "data", "towers", "width", "temperature", "start")


def _trained_start(cfg: Config, run: Run, old: Any, new: Any, signals: list[str]) -> Started:
    towers = {signal: cfg.towers.of(signal).open(signal) for signal in signals}
    old_rows, new_rows = (_encoded(cfg, data, towers, run) for data in (old, new))
    inputs = {name: Features(tower.width, signal=name) for name, tower in towers.items()}
    heads = {name: Head(encoder.width, cfg.width, cfg.towers.of(name).head) for name, encoder in inputs.items()}
    learner = Refine({name: Branch(inputs[name], heads[name]) for name in inputs}, cfg.temperature)
    prepare_heads(branches_of(learner.branches), old_rows["train"], {signal: signal for signal in signals})
    collate = Collate(inputs, keep=("label",))
    fit(learner, old_rows["train"], cfg.start, run.part("start", cfg.only(*_OF_THE_START)), collate=collate)
    return learner, old_rows, new_rows, towers


def _space(learner: Refine, towers: dict[str, Encoder]) -> Space:
    """What a user keeps: the branches as they are now, on encoders that read files."""
    return Space(
        {name: Branch(towers[name], branch.head) for name, branch in branches_of(learner.branches).items()}
    ).eval()


def _encoded(cfg: Config, data: dict[str, Any], towers: dict[str, Encoder], run: Run) -> Rows:
    rows: Rows = {name: list(part.select_columns(["id", "label"])) for name, part in data.items()}
    cache = FeatureCache(cache_folder() / "features")
    for signal, encoder in towers.items():
        columns = expand((signal,), data["train"].column_names)
        encode_columns(rows, data, columns, encoder, cache, keep=cfg.towers.of(signal).keep, refused=run.quarantine)
    return rows


def tiny() -> Config:
    """Seconds: generated shapes and their names before, the same under other noise after."""
    scratch = Tower(encoder="scratch-tiny", keep=1)
    return Config(
        before=Pairs(source="made", columns=("image", "text"), limit=96),
        data=Pairs(source="made", columns=("image", "text"), options={"rows": 96, "seed": 1, "noise": 0.1}),
        towers=Towers(image=scratch, text=scratch),
        width=32,
        classes="colour",
        start=Train(steps=4, batch_size=32, lr=1e-3, log_every=4),
        train=Train(steps=20, batch_size=32, lr=1e-3, save_every=5, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: a start on Open Clip Art, refined on stamps; frozen towers, heads with a hidden layer."""
    head = HeadConfig(norm="standard", hidden=256)
    image, text = (Tower(encoder=name, keep=1, head=head) for name in ("efficientnet-lite0", "all-MiniLM-L6-v2"))
    return Config(
        before=Pairs(source="clipart", columns=("image", "text"), options={"most": 3}),
        towers=Towers(image=image, text=text),
        start=Train(steps=600, batch_size=256, lr=1e-3),
        train=Train(
            steps=60, batch_size=256, lr=1e-3, weight_decay=0.1
        ),  # chosen on dev: so that forgetting is possible
    )


def paper() -> Config:
    """The published setting (section 4.1): OpenAI's ViT-B/32 on image-text shards (COCO's); not run here."""
    pairs = Pairs(source="shards", columns=("image", "text"))
    return Config(
        before=pairs,
        data=pairs,
        pretrained="openai/clip-vit-base-patch32",
        train=Train(steps=231, batch_size=512, lr=1e-6, weight_decay=0.1),  # one epoch of 118 k pairs
    )
