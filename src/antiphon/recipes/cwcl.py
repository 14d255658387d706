"""CWCL: one tower learns to copy the geometry of a frozen one, by continuously weighted targets (arXiv 2309.14580).

The trained signal's views u, the frozen tower's v, both of unit length, and r the frozen encoder's own vectors:

    w_ij = <r_i, r_j> / 2 + 1 / 2                             weights, no gradient (eq. 3)
    L(u -> v) = contrast(scale * u @ v.T, w / sum_j w)        continuously weighted
    L(v -> u) = contrast(scale * v @ u.T)                     ordinary: the similarities of u are not trusted

On rows of one's own:

    antiphon train cwcl data.source=folder data.options.folder=my/files data.columns=[image,text] classes=null

The baseline is the same file with `weighting=identity` (CLIP, LiT) or `weighting=label` (SupCon by equal captions: the
baseline without false negatives). No official code was found; the formulas agree in two independent public ones.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate
from antiphon.data.opening import opened
from antiphon.data.pairs import Pairs, columns_there, expand, signal_of, splits
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower, Towers, encode_columns, prepare_heads
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.evaluation.geometry import similarity_correlation
from antiphon.evaluation.report.figures import histogram
from antiphon.evaluation.zeroshot import class_vectors, zero_shot
from antiphon.objectives.contrast import Scale, contrast
from antiphon.objectives.targets import by_similarity, same_label
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views

PAPER = Paper(
    "2309.14580",
    "CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss",
    ("speech", "image", "text"),
)

TEMPLATES = ("{}.", "A {}.", "A picture of a {}.", "Something of the kind {}.", "This is about {}.")
"""Five prompts for a class, the same for all arms: a single one moves the accuracy by more than the loss does."""


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="stamps", columns=("speech", "text"))
    frozen: str = "text"
    """The signal whose tower is frozen, and whose similarities are the targets; the other one learns."""
    weighting: Literal["continuous", "sharp", "identity", "label"] = "continuous"
    """continuous: the paper's; sharp: exp((cos - 1) / 0.1), for spaces where all cosines are alike (users of the loss
    found it necessary); identity: one-hot; label: evenly over the rows with the same label."""
    centred: bool = False  # not in the paper: for frozen features that are never negative
    """Take the training rows' mean off the frozen vectors before they are compared."""
    locked: bool = True
    """The learning signal's encoder is frozen too and only its head learns; False trains the whole tower."""
    towers: Towers = Towers()
    width: PositiveInt = 256
    temperature: PositiveFloat = 0.07
    noise: Share = 0.0
    """Share of the training rows whose captions are dealt out anew among them: how far the method bears wrong pairs."""
    classes: str | None = "top"
    """A column of class names for zero-shot classification by prompts; None where there is none."""
    train: Train = Train()


class Cwcl(ContrastiveLearner):
    """Two branches, of which one is frozen, head and all.

    Args:
        cfg: as above.
        encoders: by signal; encoders whose items are encoded already stand here as `Features`.
    """

    centre: Tensor

    def __init__(self, cfg: Config, encoders: dict[str, Encoder]) -> None:
        super().__init__()
        (self.learning,) = set(encoders) - {cfg.frozen}
        self.frozen, self.weighting = cfg.frozen, cfg.weighting
        heads = {name: Head(encoder.width, cfg.width, cfg.towers.of(name).head) for name, encoder in encoders.items()}
        self.branches = nn.ModuleDict({name: Branch(encoder, heads[name]) for name, encoder in encoders.items()})
        self.branches[cfg.frozen].requires_grad_(False)
        self.scale = Scale(cfg.temperature)
        self.register_buffer("centre", torch.zeros(encoders[cfg.frozen].width))

    def embed(self, batch: Batch) -> Views:
        """A unit view of every column, whether the row has it, and the frozen encoder's own vector."""
        views: Views = {"label": batch["label"]}
        for column, items in batch.items():
            if isinstance(items, Padded):
                views[column] = self.branches[signal_of(column)](items)
                views[f"has_{column}"] = items.present
                if column == self.frozen:
                    views["own"] = self.own(items)
        return views

    @torch.no_grad()
    def own(self, items: Padded) -> Tensor:
        """Unit vectors of the frozen encoder, before any head."""
        return normalize(branches_of(self.branches)[self.frozen].encoder(items).pooled - self.centre, dim=1)

    @torch.no_grad()
    def measure_centre(self, items: list[Any]) -> None:
        """Take the mean vector of these items of the frozen signal off, from now on."""
        encoder = branches_of(self.branches)[self.frozen].encoder
        batch = encoder.collate(items)
        self.centre.copy_(encoder(batch[batch.present]).pooled.mean(0))

    def targets(self, views: Views) -> Tensor | None:
        """How much each frozen view is the answer to each learning one (eq. 3); None is one-hot."""
        if self.weighting == "label":
            return same_label(views["label"])
        if self.weighting == "identity":
            return None
        if self.weighting == "sharp":
            return by_similarity(views["own"], weight=lambda cosines: ((cosines - 1) / 0.1).exp())
        return by_similarity(views["own"])

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The two directions, over the rows that have both signals; their sum, as the paper writes it."""
        both = views[f"has_{self.learning}"] & views[f"has_{self.frozen}"]
        views = {name: view[both] for name, view in views.items()}
        scores = self.scale(views[self.learning] @ views[self.frozen].T)
        back = same_label(views["label"]) if self.weighting == "label" else None
        return {
            f"{self.learning}-{self.frozen}": contrast(scores, self.targets(views)),
            f"{self.frozen}-{self.learning}": contrast(scores.T, back),
        }

    def levels(self) -> dict[str, float]:
        """The temperature."""
        return {"temperature": self.scale.temperature}


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space, and measure retrieval, the copied geometry and zero-shot accuracy on dev and test."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    columns_there(data["train"].column_names, classes=cfg.classes)
    columns = {column: signal_of(column) for column in expand(cfg.data.columns, data["train"].column_names)}
    signals = sorted(set(columns.values()))
    if cfg.frozen not in signals or len(signals) != 2:
        raise UserError(
            f"cwcl pairs frozen={cfg.frozen} with one other signal, data.columns holds {', '.join(signals)}"
        )
    towers = {signal: cfg.towers.of(signal).open(signal) for signal in signals}
    still = signals if cfg.locked else [cfg.frozen]
    rows = opened(data, [column for column, signal in columns.items() if signal not in still], run)
    for signal in still:
        own, cache = (
            [column for column in columns if columns[column] == signal],
            FeatureCache(cache_folder() / "features"),
        )
        encode_columns(rows, data, own, towers[signal], cache, keep=cfg.towers.of(signal).keep, refused=run.quarantine)
    inputs = {name: Features(tower.width, signal=name) if name in still else tower for name, tower in towers.items()}
    learner = Cwcl(cfg, inputs)
    prepare_heads(branches_of(learner.branches), rows["train"], columns)
    if cfg.centred:
        learner.measure_centre([row[cfg.frozen] for row in rows["train"]])
    _mislead(rows["train"], cfg.frozen, cfg.noise, run.seed)
    of = {signal: tuple(column for column in columns if columns[column] == signal) for signal in signals}
    fit(learner, rows["train"], cfg.train, run, collate=Collate(inputs, keep=("label",), of=of, seed=run.seed))
    branches = {name: Branch(towers[name], branch.head) for name, branch in branches_of(learner.branches).items()}
    space = Space(branches).eval()
    space.save(run.folder / "space")
    measures: Measures = {"seconds/total": time.perf_counter() - started}
    collate = Collate({column: inputs[signal] for column, signal in columns.items()}, keep=("label",))
    for split in ("dev", "test"):
        views = views_of(learner, rows[split], collate)
        names = list(data[split][cfg.classes]) if cfg.classes else None
        heard = [_measure(cfg, space, views, column, names) for column in of[learner.learning]]
        for name in heard[0]:
            measures[f"{split}/{name}"] = sum(found[name] for found in heard) / len(heard)
    _draw_weights(run, views["own"][views[f"has_{cfg.frozen}"]])
    return run.finish(measures)


def _draw_weights(run: Run, own: Tensor) -> None:
    """How much unlike rows of the test split count under each weighting."""
    cosines = (own @ own.T)[~same_label(torch.arange(len(own))).bool()].double()
    weights = {"continuous": cosines / 2 + 0.5, "sharp": ((cosines - 1) / 0.1).exp()}
    drawn = histogram({name: weight.tolist() for name, weight in weights.items()}, x="weight of another row's answer")
    run.picture(
        "weights",
        drawn,
        "What the frozen tower's similarities make other rows of the test split count; the own counts 1.",
    )


def _mislead(rows: Any, column: str, share: float, seed: int) -> None:
    """Deal the captions (and their labels) of a random share of the rows out anew, none to its own row."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[: round(share * len(rows))].tolist()
    moved = [(rows[at][column], rows[at]["label"]) for at in chosen]
    for at, (item, label) in zip(chosen, moved[1:] + moved[:1], strict=True):
        rows[at][column], rows[at]["label"] = item, label


def _measure(cfg: Config, space: Space, views: Views, column: str, names: list[str] | None) -> Measures:
    """One learning column against the frozen one."""
    there = views[f"has_{column}"] & views[f"has_{cfg.frozen}"]
    learned, frozen, labels = views[column][there], views[cfg.frozen][there], views["label"][there]
    found = {f"retrieval/{name}": value for name, value in answers(learned, frozen, labels, labels).items()}
    found["structure"] = similarity_correlation(learned, views["own"][there])
    shuffled = torch.randperm(len(learned), generator=torch.Generator().manual_seed(0))
    found["structure of shuffled rows"] = similarity_correlation(learned[shuffled], views["own"][there])
    if names is not None and "text" in (cfg.frozen, signal_of(column)):
        classes = sorted(set(names))
        prompts = class_vectors(lambda texts: space.embed(text=texts), classes, TEMPLATES)
        right = torch.tensor([classes.index(name) for name in names])[there]
        asked = learned if cfg.frozen == "text" else frozen
        found |= {f"zero_shot/{name}": value for name, value in zero_shot(asked, prompts, right).as_dict().items()}
    return found


def tiny() -> Config:
    """Seconds: generated shapes and their names; a frozen random text tower, a picture tower from scratch."""
    return Config(
        data=Pairs(source="made", columns=("image", "text"), options={"rows": 96}),
        towers=Towers(image=Tower(encoder="scratch-tiny"), text=Tower(encoder="scratch-tiny")),
        locked=False,
        width=32,
        classes="colour",
        train=Train(steps=20, batch_size=32, lr=1e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: captions spoken in seven languages and the written English ones; only a head learns."""
    speech = HeadConfig(pooling="segments", norm="standard", dropout=0.3)
    text = HeadConfig(norm="none", map="pca")
    return Config(
        towers=Towers(
            speech=Tower(encoder="whisper-tiny.en", layers=4, trim=True, keep=4, head=speech),
            text=Tower(encoder="all-MiniLM-L6-v2", keep=1, head=text),
        ),
        train=Train(steps=150, batch_size=512, lr=2e-3, weight_decay=0.05, warmup=0.1, clip_norm=None),
    )


def paper() -> Config:
    """Speech to text as published: a pretrained speech tower trained whole against a frozen RoBERTa; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("speech", "text")),
        towers=Towers(speech=Tower(encoder="openai/whisper-base"), text=Tower(encoder="FacebookAI/roberta-base")),
        locked=False,
        width=768,
        classes=None,
        train=Train(steps=100_000, batch_size=1024, microbatch=64, lr=1e-4),  # sizes and rates unverified: not in reach
    )


# Neither pilots nor dev saw a gain of the paper's weights on clean pairs: with cosines between 0 and 0.3 they are
# nearly even, a heavy label smoothing. So each claim is measured and published with its sign.
_PAPERS, _ONE_HOT = Arm(weighting="continuous"), Arm(weighting="identity")

# The paper's regime, as near as it is here: thousands of pictures and texts a batch, wrong captions, near-twins.
_LARGE = {
    "data__source": "clipart",
    "data__options": {"most": 3},
    "data__columns": ("image", "text"),
    "frozen": "image",
    "centred": True,
    "noise": 0.3,
    "towers__image__head__norm": "standard",
    "towers__image__head__map": "pca",
    "towers__text__head__map": "learned",
    "towers__text__head__hidden": 256,
    "towers__text__head__dropout": 0.2,
    "train__batch_size": 2048,
    "train__steps": 100,
}

_LARGE_PAPERS, _LARGE_ONE_HOT = Arm(_LARGE | _PAPERS), Arm(_LARGE | _ONE_HOT)


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"test/{floor}")


CLAIMS = [
    _claim(
        "Continuous targets beat one-hot targets at zero-shot classification (the paper's claim).",
        _PAPERS, _ONE_HOT, "zero_shot/accuracy", "zero_shot/chance",
    ),
    _claim(
        "Continuous targets copy the frozen space's geometry better than one-hot targets.",
        _PAPERS, _ONE_HOT, "structure", "structure of shuffled rows",
    ),
    _claim(
        "Sharpened continuous targets copy the frozen space's geometry better than one-hot targets (not the paper's).",
        Arm(weighting="sharp"), _ONE_HOT, "structure", "structure of shuffled rows",
    ),
    _claim(
        "With 30 % of the captions dealt out anew, continuous targets beat one-hot targets at retrieval.",
        Arm(_PAPERS, noise=0.3), Arm(_ONE_HOT, noise=0.3), "retrieval/R@10", "retrieval/chance R@10",
    ),
    _claim(
        "Of 2,048 drawings a batch, 30 % with captions dealt out anew, continuous targets beat one-hot at retrieval.",
        _LARGE_PAPERS, _LARGE_ONE_HOT, "retrieval/R@10", "retrieval/chance R@10",
    ),
    _claim(
        "There they beat them at zero-shot classification too.",
        _LARGE_PAPERS, _LARGE_ONE_HOT, "zero_shot/accuracy", "zero_shot/chance",
    ),
]  # fmt: skip
