"""ALIP: noisy pairs beside machine captions, each row weighted by how its three parts agree (arXiv 2308.08428).

Unit views of a picture x, its raw text t and its caption c; t and c by one encoder. S_tc = <t, c>, S_xt and S_xc
likewise, without gradient; H is the moving mean of each over batches, H <- m H + (1 - m) mean(S), moved first. Then

    W_s = exp(gamma_s (S_tc - H_tc)) where S_tc <= H_tc, else 1       language consistency gate (LCG)
    W_t = exp(gamma_p (S_xt - H_xt)) where W_s < 1, else 1            description consistency gate (DCG)
    W_c = exp(gamma_p (S_xc - H_xc)) where W_s < 1, else 1
    L   = mean_i W_s W_t l_i(x, t) + mean_i W_s W_c l_i(x, c)         l_i: symmetric InfoNCE of row i

Not divided by the sum of the weights, as in the official code; a text of little weight is still everyone's negative.
`paths` leaves one of the two terms out, `gates.which` picks among the weights, and `gates.shuffled` deals them out anew
within the batch: the same weights, without what they know.

On pairs of one's own, with a column of tags (or `caption=COLUMN`, of captions):

    antiphon train alip data.source=folder data.options.folder=my.csv tags=kind noise=0 transfer=null

differs: H starts at the first batch's mean; from 1, as in the official code, it takes hundreds of steps to come down.
differs: rows of equal texts (or captions) are positives of each other.
differs: captions are three tags by a tagger trained on other rows, not OFA's; `caption` names a column of better ones.
differs: frozen towers and heads with a hidden layer, where towers are locked; the paper trains from scratch.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate
from antiphon.data.opening import Rows, opened
from antiphon.data.pairs import Pairs, splits
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.pretrained import clip_space
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower, Towers, encode_columns, prepare_heads
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.report.figures import curves, histogram
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.recipes.alip.captions import captioned, check_column, mislead, told_apart
from antiphon.recipes.alip.claims import CLAIMS
from antiphon.recipes.alip.config import SIGNALS, Config
from antiphon.recipes.alip.gates import Gates, Gating
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views

PAPER = Paper(
    "2308.08428",
    "ALIP: Adaptive Language-Image Pre-training with Synthetic Caption",
    ("image", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Alip", "Config", "laptop", "paper", "run", "tiny"]


class Alip(ContrastiveLearner):
    """A branch for pictures, one for both texts, a learned temperature, and the gates.

    Args:
        cfg: as above.
        branches: `image` and `text`.
        temperature: where the scale starts.
    """

    told: Tensor
    batches: Tensor

    def __init__(self, cfg: Config, branches: dict[str, Branch], temperature: float) -> None:
        super().__init__()
        self.paths = ("text", "caption") if cfg.paths == "both" else (cfg.paths,)
        self.branches = nn.ModuleDict(branches)
        self.scale = Scale(temperature)
        self.gates = Gates(cfg.gates)
        self.steps = cfg.train.steps
        self.register_buffer("told", torch.zeros(3, 3))
        self.register_buffer("batches", torch.zeros(3))
        self.found: dict[str, float] = {}

    def embed(self, batch: Batch) -> Views:
        """Unit views of the picture and of what is said of it, and whether the row has them."""
        views: Views = {name: batch[name] for name in ("label", "caption_label", "moved") if name in batch}
        for name, items in batch.items():
            if isinstance(items, Padded):
                views[name] = self.branches["image" if name == "image" else "text"](items)
                views[f"has_{name}"] = items.present
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """The two terms; a row that lacks one of the three weighs 1."""
        three = views["has_image"] & views["has_text"] & views["has_caption"]
        weights = torch.ones(2, len(three), device=three.device)
        if three.any():
            similarities = similarities_of(views)[:, three]
            if self.training:
                self.gates.move(similarities)
            weights[:, three] = self.gates.applied(similarities)
            self._note(self.gates(similarities), weights[0, three], views["moved"][three] == 1)
        labels = {"text": views["label"], "caption": views["caption_label"]}
        losses = {}
        for path, weight in zip(("text", "caption"), weights, strict=True):
            both = views["has_image"] & views[f"has_{path}"]
            if path in self.paths:
                scores = self.scale(views["image"][both] @ views[path][both].T)
                loss = symmetric_contrast(scores, same_label(labels[path][both]), weights=weight[both])
                losses[path] = loss * weight[both].mean()  # `contrast` divides by the weights' sum, the paper does not
        return losses

    def levels(self) -> dict[str, float]:
        """The temperature, the moving means, and weights of the last batch."""
        means = dict(zip(("H/tc", "H/xt", "H/xc"), self.gates.history.tolist(), strict=True))
        return {"temperature": self.scale.temperature} | means | self.found

    def quality(self) -> dict[str, float]:
        """In each third of the training the mean over batches of how well weights tell a row's own text from another's.

        W_s and W_t as they are, and what pairs of picture and text did weigh; nothing where no text is another's.
        """
        if not self.batches.all():
            return {}
        areas = (self.told / self.batches[:, None]).tolist()
        names = ("language", "description", "applied")
        return {
            f"gates/{third} third/{name}": area
            for third, row in zip(("first", "second", "last"), areas, strict=True)
            for name, area in zip(names, row, strict=True)
        }

    @torch.no_grad()
    def _note(self, gates_3B: Tensor, weights_B: Tensor, moved_B: Tensor) -> None:
        self.found = {"weight/highest": weights_B.max().item()}
        for name, of in (("own text", ~moved_B), ("another's text", moved_B)):
            if of.any():
                self.found[f"weight/{name}"] = weights_B[of].mean().item()
        if self.training and 0 < int(moved_B.sum()) < len(moved_B):
            third = min(2, 3 * (int(self.gates.steps) - 1) // self.steps)
            found = [told_apart(each, ~moved_B) for each in (gates_3B[0], gates_3B[1], weights_B)]
            self.told[third] += torch.tensor(found, device=self.told.device)
            self.batches[third] += 1


@torch.no_grad()
def similarities_of(views: Views) -> Float[Tensor, "3 b"]:
    """S_tc, S_xt and S_xc of each row."""
    x, t, c = views["image"], views["text"], views["caption"]
    return torch.stack([(t * c).sum(1), (x * t).sum(1), (x * c).sum(1)])


def run(cfg: Config, run: Run) -> Measures:
    """Caption, train, save the space; measure the gates on training rows, retrieval on dev, test and other rows."""
    started = time.perf_counter()
    run.seed_all()
    if sorted(cfg.data.columns) != sorted(SIGNALS):
        raise UserError(f"alip reads the columns image and text, data.columns holds {', '.join(cfg.data.columns)}")
    data = splits(cfg.data, run.seed)
    if cfg.caption:
        check_column(data["train"], cfg.caption, "captions")
        captions, right = list(data["train"][cfg.caption]), 1.0
    else:
        check_column(data["train"], cfg.tags, "the tagger")
        data["train"], captions, right = captioned(data["train"], cfg.tags, cfg.tagger, run, taught=cfg.taught)
    branches, towers, temperature = _opened(cfg)
    rows = _rows(cfg, data, towers, run, captions)
    mislead(rows["train"], cfg.noise, run.seed)
    for row in rows["train"] if cfg.oracle else ():
        row["text"] = None if row["moved"] else row["text"]
    inputs: dict[str, Encoder] = {name: branch.encoder for name, branch in branches.items()}
    prepare_heads(branches, rows["train"], {"image": "image", "text": "text", "caption": "text"})
    learner = Alip(cfg, branches, temperature)
    collate = Collate(inputs | {"caption": inputs["text"]}, keep=("label", "caption_label", "moved"), seed=run.seed)
    fit(learner, rows["train"], cfg.train, run, collate=collate)
    whole = {name: Branch(towers[name], branch.head) for name, branch in branches_of(learner.branches).items()}
    Space(whole).eval().save(run.folder / "space")
    measures: Measures = {"seconds/total": time.perf_counter() - started, "captions/right": right}
    measures |= learner.quality()
    plain = Collate(inputs, keep=("label",))
    for split in ("dev", "test"):
        measures |= {f"{split}/{name}": value for name, value in _retrieved(learner, rows[split], plain).items()}
    if cfg.transfer is not None:
        other = _rows(cfg, splits(cfg.transfer, run.seed), towers, run)
        for split, parts in {"dev": other["dev"], "test": [*other["train"], *other["test"]]}.items():
            found = _retrieved(learner, parts, plain)
            measures |= {f"{split}/transfer/{name}": value for name, value in found.items()}
    _draw(cfg, run, learner, rows["train"], collate)
    return run.finish(measures | {"gates/chance": 0.5})


def _opened(cfg: Config) -> tuple[dict[str, Branch], dict[str, Encoder], float]:
    """Branches as they are trained, the encoders that the saved space has, and the temperature at the start."""
    if cfg.pretrained is not None:
        if cfg.locked:
            raise UserError(f"{cfg.pretrained} is trained whole: give locked=false with pretrained")
        space, temperature = clip_space(cfg.pretrained)
        branches = {name: space.branch(name) for name in SIGNALS}
        return branches, {name: branch.encoder for name, branch in branches.items()}, temperature
    towers = {name: cfg.towers.of(name).open(name) for name in SIGNALS}
    inputs = {name: Features(one.width, signal=name) if cfg.locked else one for name, one in towers.items()}
    heads = {name: Head(one.width, cfg.width, cfg.towers.of(name).head) for name, one in towers.items()}
    return {name: Branch(inputs[name], heads[name]) for name in SIGNALS}, towers, cfg.temperature


def _rows(
    cfg: Config, data: dict[str, Any], towers: dict[str, Encoder], run: Run, captions: list[str | None] | None = None
) -> Rows:
    """Rows as the branches read them; those of training with their captions, numbered so that equal ones are known."""
    rows = opened(data, [] if cfg.locked else SIGNALS, run)
    cache = FeatureCache(cache_folder() / "features")
    for name in SIGNALS if cfg.locked else ():
        keep = cfg.towers.of(name).keep
        encode_columns(rows, data, [name], towers[name], cache, keep=keep, refused=run.quarantine)
    if captions is not None:
        numbers = {text: number for number, text in enumerate(sorted({one or "" for one in captions}))}
        for row, text in zip(rows["train"], captions, strict=True):
            row["caption"], row["caption_label"] = text, numbers[text or ""]
        if cfg.locked:
            made, keep = {"train": {"caption": captions}}, cfg.towers.text.keep
            encode_columns(rows, made, ["caption"], towers["text"], cache, keep=keep, refused=run.quarantine)
    return rows


def _retrieved(learner: Alip, rows: Any, collate: Collate) -> Measures:
    """Retrieval between pictures and texts, the mean of both directions."""
    views = views_of(learner, rows, collate)
    both = views["has_image"] & views["has_text"]
    image, text, labels = views["image"][both], views["text"][both], views["label"][both]
    ahead, back = answers(normalize(image, dim=1), text, labels, labels), answers(text, image, labels, labels)
    return {name: (value + back[name]) / 2 for name, value in ahead.items()}


def _draw(cfg: Config, run: Run, learner: Alip, rows: Any, collate: Collate) -> None:
    """Pictures of what pairs weigh, where some texts are another's."""
    views = views_of(learner, rows, collate)
    three = views["has_image"] & views["has_text"] & views["has_caption"]
    similarities, moved = similarities_of(views)[:, three], views["moved"][three] == 1
    if cfg.gates.which == "none" or not 0 < moved.sum() < len(moved):
        return
    gates = Gates(cfg.gates.but(start=None))  # not the training's: without dropout all similarities are higher
    gates.move(similarities)
    weights = gates.applied(similarities)[0]
    kinds = {"own text": ~moved, "another's text": moved}
    drawn = histogram({name: weights[of].tolist() for name, of in kinds.items()}, x="weight of the pair")
    run.picture(
        "weights", drawn, "What pairs of picture and text weigh at the end, by whether the text is the picture's."
    )
    lines = run.metrics()
    points = {
        name: [(line["step"], line[f"weight/{name}"]) for line in lines if f"weight/{name}" in line] for name in kinds
    }
    if all(points.values()):
        run.picture(
            "training", curves(points, x="step", y="mean weight"), "The mean weight of both kinds while it trains."
        )


def tiny() -> Config:
    """Seconds: generated shapes, three in ten names dealt out anew; a tagger of colours."""
    scratch = Tower(encoder="scratch-tiny")
    return Config(
        data=Pairs(source="made", columns=SIGNALS, limit=144),
        tags="colour",
        tagger=Tower(encoder="scratch-tiny", keep=1),
        noise=0.3,
        towers=Towers(image=scratch, text=scratch),
        locked=False,
        width=32,
        gates=Gating(momentum=0.9),
        transfer=Pairs(source="made", columns=SIGNALS, limit=48),
        train=Train(steps=20, batch_size=32, lr=1e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: Open Clip Art, half of the texts dealt out anew; frozen towers, trained heads."""
    image = HeadConfig(norm="standard", hidden=256, dropout=0.5)
    text = HeadConfig(norm="standard", hidden=256, dropout=0.3)
    return Config(
        noise=0.5,
        towers=Towers(
            image=Tower(encoder="efficientnet-lite0", keep=1, head=image),
            text=Tower(encoder="all-MiniLM-L6-v2", keep=1, head=text),
        ),
        gates=Gating(momentum=0.95),
        train=Train(steps=300, batch_size=128, lr=1e-3, weight_decay=0.2),
    )


def paper() -> Config:
    """The published setting (ViT-B/32 on YFCC15M), on a user's own shards with captions; not run here."""
    return Config(
        data=Pairs(source="shards", columns=SIGNALS),
        caption="caption",
        towers=Towers(image=Tower(encoder="scratch-base-vit"), text=Tower(encoder="scratch-base")),
        locked=False,
        width=512,
        gates=Gating(start=1.0),
        transfer=None,
        train=Train(steps=117_668, batch_size=4096, microbatch=256, lr=1e-3, weight_decay=0.2, warmup=0.1),
    )
