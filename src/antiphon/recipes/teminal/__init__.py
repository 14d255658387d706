"""TeminAL: post-training that teaches a space of sound and text to hear time (arXiv 2408.09269).

The start is a pair of towers trained on single events. z is a recording's view, u a text's, (a, b) two kinds of event:

    A     symmetric InfoNCE over single events and recordings of two: is it one sound or two?
    B     forward  z = f([a; b]),  u = g("a before b") or g("b after a")      r  reversed  z^r = f([b; a]),  u^r
          o  at once  z^o = f(a + b),  u^o = g("a while b") or g("b while a")
          TNCE(z, u)_i = -log e^{z_i.u_i/T} / (sum_j e^{z_i.u_j/T} + C_i)
          C_i = alpha_same e^{z_i.u_i^r/T} + alpha_cross sum_{j != i} e^{z_i.u_j^r/T}, and the same two terms with u^o
          L_B = L_f + beta L_r + gamma L_o,  each TNCE(z, u) + TNCE(u, z) with those views as anchors

The form of B is that of its source (TestOfTime, arXiv 2301.02074); TeminAL's own alpha, beta, gamma, rates and lengths
are unverified. With `alpha_same`, `alpha_cross`, `beta` and `gamma` at 0, B is plain InfoNCE over forward pairs.

On clips of one's own, each of a kind:

    antiphon train teminal data.source=folder data.options.folder=my.csv data.columns=[audio] classes=kind

differs: captions of one meaning in a batch are positives of each other; there are few kinds, so such are frequent.
differs: an alpha of 0 leaves the terms out, where the source adds log(1e-8), and its weights begin half a batch early.
differs: a quarter of the rows of B also bring a single event, against forgetting.
differs: the claims' start is trained here, small, on the same clips; the paper post-trains a CLAP model (`checkpoint`).
differs: the towers are GRUs, over log-mel statistics and over the tokens of a frozen text model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from antiphon.data.collate import Collate
from antiphon.data.pairs import Pairs, expand, signal_of, splits
from antiphon.encoders import Encoder
from antiphon.encoders.sequence import MelChunks, Recurrent
from antiphon.encoders.space import Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.report.figures import histogram
from antiphon.evaluation.zste import order_margins, zste
from antiphon.objectives.contrast import Scale, contrast, symmetric_contrast
from antiphon.objectives.targets import normalise_rows, same_label
from antiphon.recipes.teminal.claims import CLAIMS
from antiphon.recipes.teminal.config import Config
from antiphon.recipes.teminal.rows import CAPTIONS, DOUBLE, clips_of, embedding, held_out, made_rows
from antiphon.recipes.teminal.start import Start, checkpoint, grown
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Padded, Views

PAPER = Paper(
    "2408.09269",
    "Enhancing Audio-Language Models through Self-Supervised Post-Training with Text-Audio Pairs",
    ("audio", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Config", "TeminAL", "laptop", "paper", "run", "tiny"]


class TeminAL(ContrastiveLearner):
    """A branch for sound and one for text, and the loss of the present stage.

    Args:
        cfg: as above.
        sound: the sound branch's name.
        start: what is trained.
    """

    def __init__(self, cfg: Config, sound: str, start: Start) -> None:
        super().__init__()
        self.cfg, self.sound = cfg, sound
        self.stage: Literal["singles", "a", "b", "joint"] = "singles"
        self.branches = nn.ModuleDict(start.branches)
        self.scale = Scale(start.temperature)

    def embed(self, batch: Batch) -> Views:
        """Unit views of every recording and caption, and what the captions are numbered by."""
        views: Views = {name: batch[name] for name in ("first", "second", "at_once")}
        branches = branches_of(self.branches)
        for entry, items in batch.items():
            if isinstance(items, Padded):
                views[entry] = branches["text" if entry.endswith("_text") else self.sound](items)
                views[f"has_{entry}"] = items.present
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The loss of the stage."""
        meanings = meanings_of(views["first"], views["second"])
        if self.stage == "singles":
            return {"singles": self._plain(views, meanings, "single")}
        losses = {}
        if self.stage in ("a", "joint"):
            both = torch.where(views["at_once"] > 0, meanings["overlay"], meanings["forward"])
            losses["a"] = self._plain(views, meanings | {"dual": both}, "single", "dual")
        if self.stage in ("b", "joint"):
            z, u = (torch.cat([views[name + side] for name in DOUBLE]) for side in ("", "_text"))
            scores, meaning = self.scale(z @ u.T), torch.cat([meanings[name] for name in DOUBLE])
            cfg = self.cfg
            alphas, weights = (cfg.alpha_same, cfg.alpha_cross), (1.0, cfg.beta, cfg.gamma)
            losses["b"] = tnce(scores, meaning, alphas, weights) + tnce(scores.T, meaning, alphas, weights)
        if self.stage == "b" and views["has_single"].any():
            losses["singles"] = self._plain(views, meanings, "single")
        return losses

    def levels(self) -> dict[str, float]:
        """The temperature."""
        return {"temperature": self.scale.temperature}

    def _plain(self, views: Views, meanings: dict[str, Tensor], *names: str) -> Tensor:
        """Symmetric InfoNCE over these recordings together, captions of one meaning being one."""
        there = torch.cat([views[f"has_{name}"] for name in names])
        z, u = (torch.cat([views[name + side] for name in names])[there] for side in ("", "_text"))
        meaning = torch.cat([meanings[name] for name in names])[there]
        return symmetric_contrast(self.scale(z @ u.T), same_label(meaning))


def meanings_of(first: Int[Tensor, " b"], second: Int[Tensor, " b"]) -> dict[str, Tensor]:
    """A number for what a caption says, the same for "a before b" and "b after a", and for both orders of "while"."""
    many = 1 << 20
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return {
        "single": first,
        "forward": many * (1 + first) + second,
        "reverse": many * (1 + second) + first,
        "overlay": -(many * (1 + low) + high),
    }


def tnce(
    scores: Float[Tensor, "q q"],
    meaning: Int[Tensor, " q"],
    alphas: tuple[float, float],
    weights: tuple[float, float, float],
) -> Float[Tensor, ""]:
    """The weighted sum, over forward, reversed and at-once anchors, of the mean TNCE of queries in rows.

    Args:
        scores: of three equal blocks against the same three, divided by the temperature.
        meaning: of each query, and of each key: alike ones in one block are positives of each other, alike ones of
            other blocks are left out.
        alphas: of the same row in another block, and of the other rows there.
        weights: of the three blocks of anchors.
    """
    rows = len(scores) // 3
    place = torch.arange(len(scores), device=scores.device)
    within = place[:, None] // rows == place[None, :] // rows
    alike = meaning[:, None] == meaning[None, :]
    alpha = torch.where(
        place[:, None] % rows == place[None, :] % rows, scores.new_tensor(alphas[0]), scores.new_tensor(alphas[1])
    )
    allowed = within | (~alike & (alpha > 0))
    scores = torch.where(within, scores, scores + alpha.clamp(min=torch.finfo(scores.dtype).tiny).log())
    targets = normalise_rows((alike & within).to(scores.dtype))
    blocks = [slice(at * rows, (at + 1) * rows) for at in range(3)]
    parts = [
        weight * contrast(scores[block], targets[block], mask=allowed[block])
        for block, weight in zip(blocks, weights, strict=True)
        if weight
    ]
    return torch.stack(parts).sum()


def run(cfg: Config, run: Run) -> Measures:
    """Train the start (once for all arms), post-train it by stages, save the space, and ask the ZSTE questions."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    columns = expand(cfg.data.columns, data["train"].column_names)
    heard = [column for column in columns if signal_of(column) in ("audio", "speech")]
    if len(heard) != 1 or cfg.classes not in data["train"].column_names:
        raise UserError(
            f"teminal wants one column of sounds and the column classes={cfg.classes}: data.columns gives "
            f"{', '.join(heard) or 'no sounds'}, the rows have {', '.join(data['train'].column_names)}"
        )
    sound = signal_of(heard[0])
    clips = {split: clips_of(rows, heard[0], cfg.classes, run) for split, rows in data.items()}
    start = _begun(cfg, sound)
    learner = TeminAL(cfg, sound, start)
    unseen = held_out(clips["train"][1], cfg.held_out, run.seed)
    rows = made_rows(
        *clips["train"], unseen, count=cfg.made, seconds=cfg.seconds, sound=start.encode[sound],
        text=start.encode["text"], seed=run.seed,
    )  # fmt: skip
    for branch, names in ((start.branches[sound], ("single", *DOUBLE)), (start.branches["text"], CAPTIONS)):
        if isinstance(branch.encoder, Recurrent):
            branch.encoder.prepare([row[name] for row in rows for name in names])
    embed = {name: embedding(branch, start.encode[name]) for name, branch in start.branches.items()}
    encoders = {name: branch.encoder for name, branch in start.branches.items()}

    def margins(when: str) -> dict[str, list[float]]:
        ahead, back = order_margins(
            embed[sound], embed["text"], *clips["test"], pairs=cfg.asked, seconds=cfg.seconds, seed=run.seed
        )
        return {f"a then b, {when}": ahead, f"b then a, {when}": back}

    if cfg.checkpoint is None:
        begin = run.part("start", cfg.only(*_OF_THE_START))
        fit(learner, rows, cfg.start, begin, collate=_collate("singles", encoders, sound, run.seed))
    seen = margins("start")
    for stage, train, stage_run in _plan(cfg, run):
        learner.stage = stage
        fit(learner, rows, train, stage_run, collate=_collate(stage, encoders, sound, run.seed))
    Space(start.whole()).eval().save(run.folder / "space")
    measures: Measures = {"seconds/total": time.perf_counter() - started}
    caption = (
        "Test recordings of two events: how much nearer to the sentence in one order than in the other, in cosine."
    )
    run.picture(
        "order", histogram(seen | margins(cfg.stages), x='cosine to "a before b", less that to "b before a"'), caption
    )
    for split in ("dev", "test"):
        found = zste(
            embed[sound], embed["text"], *clips[split], pairs=cfg.asked, seconds=cfg.seconds, seed=run.seed,
            unseen=unseen,
        )  # fmt: skip
        measures |= {f"{split}/{name}": value for name, value in found.items()}
    return run.finish(measures)


def _begun(cfg: Config, sound: str) -> Start:
    """The checkpoint, or towers that are to be trained first."""
    if cfg.checkpoint is None:
        towers = {sound: MelChunks(cfg.chunk, signal=sound), "text": cfg.text.open("text")}
        return grown(towers, inner=cfg.inner, width=cfg.width, temperature=cfg.temperature)
    start = checkpoint(cfg.checkpoint)
    if sound not in start.branches:
        raise UserError(f"{cfg.checkpoint} has towers for {', '.join(start.branches)}, the column of sounds is {sound}")
    return start


_OF_THE_START = (
    "data", "classes", "text", "held_out", "made", "seconds", "chunk", "inner", "width", "temperature", "start",
)  # fmt: skip


def _plan(cfg: Config, run: Run) -> Iterator[tuple[Any, Train, Run]]:
    """Stages behind the start, in order. What comes before the last has a run of its own."""
    if cfg.stages == "ab":
        first = max(1, cfg.train.steps // 3)
        yield "a", cfg.train.but(steps=first), run.part("a", cfg)
        yield "b", cfg.train.but(steps=max(1, cfg.train.steps - first)), run
    elif cfg.stages != "none":
        yield cfg.stages, cfg.train, run


def _collate(stage: str, encoders: dict[str, Encoder], heard: str, seed: int) -> Collate:
    """What the stage looks at; of two wordings of a caption a row gives one by chance, anew each epoch."""
    names = {"singles": (), "a": ("dual",), "b": DOUBLE, "joint": ("dual", *DOUBLE)}[stage]
    sound, text = encoders[heard], encoders["text"]
    columns = {"single": sound, "single_text": text}
    of: dict[str, str | tuple[str, ...]] = {"single_text": "text_single"}
    if stage == "b":
        of["single"] = "sometimes"
    for name in names:
        columns |= {name: sound, f"{name}_text": text}
        of[f"{name}_text"] = (f"text_{name}", f"text_{name}_2")
    return Collate(columns, keep=("first", "second", "at_once"), of=of, seed=seed)


def tiny() -> Config:
    """Seconds: generated melodies, told apart by rhythm; a frozen random text tower."""
    return Config(
        data=Pairs(source="made", columns=("speech",), split_by="id", limit=72),
        classes="shape",
        text=Tower(encoder="scratch-tiny"),
        made=64,
        asked=20,
        seconds=0.5,
        chunk=0.1,
        inner=32,
        width=32,
        start=Train(steps=6, batch_size=32, lr=3e-3, log_every=6),
        train=Train(steps=30, batch_size=16, lr=3e-3, save_every=2, log_every=1),
    )


SIXTEEN = (
    "baby cry", "bird", "cat", "chainsaw", "clock tick", "cow", "dog bark", "fire crackling",
    "frog", "helicopter", "lion", "person sneeze", "rain", "rooster", "sea waves", "sheep",
)  # fmt: skip
"""ESC-10's kinds and six of animals that it has not."""


def laptop() -> Config:
    """The claims' setting: ESC-10 and six kinds of animals, 8 clips of a kind in a fold; two folds for training."""
    events = Pairs(source="events", columns=("audio",), split_by="fold", options={"kinds": list(SIXTEEN), "each": 8})
    return Config(
        data=events,
        start=Train(steps=200, batch_size=96, lr=1e-3),
        train=Train(steps=300, batch_size=32, lr=5e-4),
    )


def paper() -> Config:
    """As near as it is known: CLAP, ESC-50, rates and batch of the loss's source; unverified, and not run here."""
    return Config(
        checkpoint="laion/clap-htsat-unfused",
        data=Pairs(source="folder", columns=("audio",), split_by="fold", options={"folder": "ESC-50/meta/esc50.csv"}),
        classes="category",
        made=100_000,
        width=512,
        held_out=0.0,
        start=Train(steps=100_000, batch_size=96, lr=1e-3),
        train=Train(steps=10_000, batch_size=32, lr=5e-6),
    )
