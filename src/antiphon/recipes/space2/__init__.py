"""SPACE-2: turns of dialogs contrasted by how much of their semantic trees they share (arXiv 2209.06638).

A turn's tree (domain > intent > slot > value) is seen from ten views v: nodes D, I, S, V, edges DI, IS, SV, paths DIS,
ISV, DISV. With z^v a turn's unit vector in v's projection, two copies of each of N turns by dropout, T = 0.07:

    r_ij^v = Jaccard(set_i^v, set_j^v), r_ii = 1, and 0 where both are empty
    p_ij^v = e^{z_i.z_j / T} / sum_{k != i} e^{z_i.z_k / T}
    L^v    = (1 / 2N) sum_i -[ sum_{j != i} r_ij^v log p_ij^v ] / sum_{j != i} r_ij^v
    loss   = (mean_v L^v + 0.1 L_mlm) of labelled turns + (the same with r = identity) of as many unlabelled turns

z^v = unit(tanh(W^v h)): h is what the saved space gives, the projections are for training alone. `scores` is the one
field that arms differ by: `views` (SPACE-2), `combined` (one score, the mean of the views), `exact` (1 for equal
trees), `none` (no labels: SimCLR on everything), `shuffled` (`views`, the trees dealt out anew between turns, a
control), `labelled` (`views` without unlabelled turns), `mlm`, and `random` (nothing is trained).

On texts of one's own, here a CSV with columns `text`, `topic`, `kind`:

    antiphon train space2 data.source=folder data.options='{folder: my.csv}' data.split_by=id tree=null previous=null \\
        levels='{domain: topic, intent: kind}' more=null unlabelled=null asked='[]'

The trees of views, the loss, the temperature, the weight of masked words and which words are masked are the published
code's; 80/10/10 on values too is reconstructed.

differs: a convolution over hashed words, trained here from nothing, in the place of a dialog BERT of 110M; it masks
    words, not word pieces, and asks for the most frequent ones only.
differs: the turn before is read as words of its own, ahead of the turn, in the place of role, turn and position
    embeddings.
differs: 12,000 labelled turns of five sets and up to as many unlabelled ones, not 3 and 19 million; no evaluation
    set is among them (the paper's are), and all sets are mixed in a batch, where the code takes one set at a time.
differs: frozen vectors are what the claims are about; fine-tuning (`tune`, R-Drop) is without masked words and without
    the paper's step of contrast by intents before it, and from another start.
differs: Banking77 is tested on a fifth of its training file and CLINC150 on its validation file; HWU64, TOP and
    MultiWOZ are not here, and spans (REST8K, DSTC8) are not measured.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, pad

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs, expand, load, signal_of, splits
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.objectives.contrast import contrast
from antiphon.objectives.targets import normalise_rows
from antiphon.recipes.space2.claims import CLAIMS
from antiphon.recipes.space2.floors import floors, own_vectors
from antiphon.recipes.space2.measures import Asked, intent_scores, means, read_intents, read_turns, tree_scores
from antiphon.recipes.space2.pictures import draw
from antiphon.recipes.space2.rows import Row, TurnBatches, drawn, frequent_words, turns, with_words
from antiphon.recipes.space2.trees import VIEWS, TreeCodes, pair_scores
from antiphon.recipes.space2.tuning import tuned
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Encoded, Padded, Views

PAPER = Paper(
    "2209.06638",
    "SPACE-2: Tree-Structured Semi-Supervised Contrastive Pre-training for Task-Oriented Dialog Understanding",
)

__all__ = ["CLAIMS", "PAPER", "Asked", "Config", "Space2", "laptop", "paper", "run", "tiny", "view_contrast"]

Share = Annotated[float, Field(ge=0, le=1)]


def _dialogs(*sets: str, split_by: str | None = None) -> Pairs:
    return Pairs(source="dialogs", options={"sets": list(sets)}, columns=("text",), split_by=split_by)


def _intents(name: str, split: str = "train") -> Pairs:
    return Pairs(source="intents", options={"sets": [name], "split": split}, columns=("text",))


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = _dialogs("sgd", split_by="domain")
    """Labelled turns; with split_by=domain those of a field of life are in one split, so dev and test are unseen."""
    more: Pairs | None = _dialogs("snips", "atis", "woz2", "simm")
    """More labelled turns, for training alone; of them, none of a domain that dev or test has, if split_by=domain."""
    unlabelled: Pairs | None = _dialogs("restaurant8k", "dstc8", "simr")
    """Turns without labels, chosen in the same way."""
    tree: str | None = "tree"
    """The column with trees as JSON: [[domain, intent, slot, value], ...], null for none."""
    levels: dict[str, str] = {}
    """Columns of single names in place of trees: {"domain": "topic", "intent": "kind"}."""
    previous: str | None = "previous"
    """The column with the turn before."""
    at_most: PositiveInt | None = None
    """So many labelled turns, and so many unlabelled ones, drawn by the run's seed; None takes all."""
    before: NonNegativeInt = 6
    """How many of its last words are read."""
    most: PositiveInt = 18
    """How many words of the turn itself are read."""
    text: Tower = Tower(encoder="scratch-small-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2))
    scores: Literal["views", "combined", "exact", "none", "shuffled", "labelled", "mlm", "random"] = "views"
    together: PositiveInt = 1
    """How many turns of one domain and slot come together in a batch; a step has batch_size times as many turns."""
    width: PositiveInt = 192
    projected: PositiveInt = 64
    """Width of each of the ten projections."""
    temperature: PositiveFloat = 0.07
    mlm: NonNegativeFloat = 0.1
    """Weight of the masked words' loss; 0 leaves them out."""
    masked: Share = 0.15
    """Share of the words that are masked in turns without values."""
    vocabulary: PositiveInt = 2000
    """Masked words are asked for where they are among so many most frequent ones."""
    asked: tuple[Asked, ...] = (
        Asked(name="banking77", data=_intents("banking77")),
        Asked(name="clinc150", data=_intents("clinc150"), test=_intents("clinc150", "val")),
    )
    """Utterances with intents, never seen in training."""
    shots: tuple[PositiveInt, ...] = (5, 10)
    l2: PositiveFloat | None = 1e-4
    """Penalty of the logistic probe on the most of `shots`; None leaves it out."""
    turns: PositiveInt = 500
    """So many held-out turns of each split are compared with each other."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    tune: Train | None = None
    """How the encoder is fine-tuned with all examples of each asked set; None leaves it out."""
    agreement: NonNegativeFloat = 5.0
    """R-Drop: weight of the divergence of two passes in fine-tuning."""
    train: Train = Train()


class Space2(ContrastiveLearner):
    """The encoder, ten projections, and what guesses masked words.

    Args:
        cfg: as above.
        encoder: of turns.
        starts: of the labelled rows' trees, as `TreeCodes` gives it.
        vocabulary: ids of the words that are asked for.
    """

    starts: Tensor
    vocabulary: Tensor
    places: Tensor

    def __init__(
        self, cfg: Config, encoder: WordCnn, starts: Int[Tensor, " bounds"], vocabulary: Int[Tensor, " v"]
    ) -> None:
        super().__init__()
        self.cfg, self.encoder_width = cfg, encoder.width
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))})
        self.projections = nn.Linear(cfg.width, len(VIEWS) * cfg.projected)
        self.guess = nn.Sequential(nn.Linear(encoder.width, encoder.width), nn.GELU(), nn.LayerNorm(encoder.width))
        self.bias = nn.Parameter(torch.zeros(len(vocabulary)))
        self.register_buffer("starts", starts)
        self.register_buffer("vocabulary", vocabulary)
        places = torch.full((encoder.buckets + 1,), -1)
        places[vocabulary] = torch.arange(len(vocabulary))
        self.register_buffer("places", places)
        if cfg.mlm == 0:
            self.guess.requires_grad_(False)
            self.bias.requires_grad_(False)
        if cfg.scores == "mlm":
            self.projections.requires_grad_(False)
            branches_of(self.branches)["text"].head.requires_grad_(False)

    def embed(self, batch: Batch) -> Views:
        """Two copies of each turn in the ten projections, the numbers of its tree, and its masked words' losses."""
        views: Views = {"codes": batch["codes"].values}
        names = ["text", "other"] if "other" in batch and self.cfg.scores != "labelled" else ["text"]
        inputs: dict[str, Padded] = {}
        for name in names:
            if self.cfg.scores != "mlm":
                inputs |= {f"{name}_1": batch[name], f"{name}_2": batch[name]}
            if self.cfg.mlm:
                inputs[f"{name}_lost"] = batch[f"{name}_masked"]
        # all at once: the gradient of the word vectors, a large table, is then made once
        encoded = branches_of(self.branches)["text"].encoder(_joined(list(inputs.values())))
        for at, name in enumerate(inputs):
            own = encoded[at * len(views["codes"]) : (at + 1) * len(views["codes"])]
            if name.endswith("_lost"):
                views[name], views[name.replace("_lost", "_asked")] = self._guessed(own, inputs[name].values[:, :, 1])
            else:
                views[name] = self._projected(own)
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Of labelled and unlabelled turns, and of masked words."""
        losses = {}
        for name, label in (("text", "supervised"), ("other", "unsupervised")):
            if f"{name}_1" in views:
                kind = "views" if self.cfg.scores in ("labelled", "shuffled") else self.cfg.scores
                kind = kind if name == "text" and kind in ("views", "combined", "exact") else "none"
                shared = pair_scores(kind, views["codes"], self.starts)
                losses[label] = view_contrast(
                    views[f"{name}_1"], views[f"{name}_2"], shared, temperature=self.cfg.temperature
                )
            if f"{name}_lost" in views:
                lost, asked = views[f"{name}_lost"].sum(), views[f"{name}_asked"].sum()
                losses[f"{label}_mlm"] = self.cfg.mlm * lost / asked.clamp(min=1)
        return losses

    def projected(self, turns: Padded) -> Float[Tensor, "b v p"]:
        """Unit vectors of turns in the ten projections."""
        return self._projected(branches_of(self.branches)["text"].encoder(turns))

    def _projected(self, turns: Encoded) -> Tensor:
        head = branches_of(self.branches)["text"].head
        return normalize(self.projections(head(turns)).tanh().unflatten(1, (len(VIEWS), -1)), dim=2)

    def _guessed(self, seen: Encoded, asked: Tensor) -> tuple[Tensor, Tensor]:
        """For each turn the sum of its masked words' losses, and how many were asked for."""
        encoder: Any = branches_of(self.branches)["text"].encoder
        wanted = self.places[asked]
        rows, columns = (wanted >= 0).nonzero(as_tuple=True)
        logits = self.guess(seen.tokens[rows, columns]) @ encoder.embedding.weight[self.vocabulary].T + self.bias
        lost = cross_entropy(logits, wanted[rows, columns], reduction="none")
        none = torch.zeros(len(seen), device=asked.device)
        return none.index_add(0, rows, lost), none.index_add(0, rows, torch.ones_like(lost))


def _joined(parts: list[Padded]) -> Padded:
    """Batches of ids one behind the other; of masked ones, what is seen."""
    longest = max(part.values.shape[1] for part in parts)
    values = [part.values[:, :, 0] if part.values.dim() == 3 else part.values for part in parts]
    return Padded(
        torch.cat([pad(each, (0, longest - each.shape[1])) for each in values]), torch.cat([p.lengths for p in parts])
    )


def view_contrast(
    first_NVP: Float[Tensor, "n v p"],
    second_NVP: Float[Tensor, "n v p"],
    shared_SNN: Float[Tensor, "s n n"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Soft SupCon over two copies of N turns in each of V projections; the mean over projections and 2N anchors.

    Args:
        first_NVP: unit vectors of one copy.
        second_NVP: of the other.
        shared_SNN: r, a matrix for each projection or one for all, its diagonal 1: a turn's copy answers it fully.
        temperature: the cosines are divided by it.
    """
    both_VMP = torch.cat([first_NVP, second_NVP]).transpose(0, 1)
    scores_VMM = both_VMP @ both_VMP.transpose(1, 2) / temperature
    others_MM = ~torch.eye(scores_VMM.shape[1], dtype=torch.bool, device=scores_VMM.device)
    shared_VMM = (shared_SNN.repeat(1, 2, 2) * others_MM).expand_as(scores_VMM)
    targets = normalise_rows(shared_VMM.flatten(0, 1))
    return contrast(scores_VMM.flatten(0, 1), targets, mask=others_MM.repeat(len(scores_VMM), 1))


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space, and measure it: held-out trees, and intents from few examples, beside the floors."""
    started = time.perf_counter()
    run.seed_all()
    rows, others = _rows(cfg, run)
    encoder = cfg.text.open("text")
    if not isinstance(encoder, WordCnn):
        raise UserError(f"space2 wants an encoder of whole words, as scratch-small-words, not {cfg.text.encoder}")
    labelled, unlabelled = (with_words(drawn(each, cfg.at_most, run.seed), encoder) for each in (rows["train"], others))
    if cfg.scores == "shuffled":
        trees = [row["tree"] for row in labelled]
        random.Random(run.seed).shuffle(trees)
        labelled = [row | {"tree": tree} for row, tree in zip(labelled, trees, strict=True)]
    codes = TreeCodes([row["tree"] for row in labelled])
    learner = Space2(cfg, encoder, codes.starts, frequent_words([*labelled, *unlabelled], cfg.vocabulary))
    space = Space(branches_of(learner.branches)).eval()
    held = {side: read_turns(rows[side], cfg.turns, run.seed) for side in ("dev", "test")}
    asked = {each.name: read_intents(each) for each in cfg.asked}
    own = Run.of("space2_floors", _same(cfg), seed=run.seed, root=run.folder.parent)
    measures = dict(floors(own, space, held, asked, shots=cfg.shots, l2=cfg.l2, reference=cfg.reference))
    at_start = space.embed(text=held["test"].texts)
    if cfg.scores != "random":
        collate = TurnBatches(
            labelled, unlabelled, codes, share=cfg.masked, together=cfg.together, seed=run.seed
        )  # fmt: skip
        run.seed_all()
        fit(learner.train(), collate.rows, cfg.train, run, collate=collate)
    space.eval().save(run.folder / "space")
    for side, turns_of_side in held.items():
        vectors = space.embed(text=turns_of_side.texts)
        found = tree_scores(vectors.numpy(), turns_of_side)
        measures |= {f"{side}/tree/{name}": value for name, value in found.items()}
    embed = partial(own_vectors, space)
    measures |= means(
        {name: intent_scores(embed, each, shots=cfg.shots, seed=run.seed, l2=cfg.l2) for name, each in asked.items()}
    )
    if cfg.tune is not None:
        branch = branches_of(learner.branches)["text"]
        measures |= means(
            {name: tuned(cfg, cfg.tune, cfg.agreement, run, name, branch, each) for name, each in asked.items()}
        )
    with torch.inference_mode():
        projections = learner.eval().projected(encoder.collate(held["test"].texts))
    draw(run, measures, held["test"], at_start.numpy(), vectors.numpy(), projections, cfg.reference)
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


def _same(cfg: Config) -> Config:
    """What the floors depend on; the rest by default."""
    names = (
        "data", "tree", "levels", "previous", "before", "most", "text", "width", "asked", "shots", "l2", "turns",
        "reference",
    )  # fmt: skip
    return Config(**{name: getattr(cfg, name) for name in names})


def _rows(cfg: Config, run: Run) -> tuple[dict[str, list[Row]], list[Row]]:
    """Labelled rows by split, and unlabelled ones."""

    def read(data: Any) -> list[Row]:
        columns = expand(cfg.data.columns, data.column_names)
        if [signal_of(column) for column in columns] != ["text"]:
            raise UserError(f"space2 wants one column of texts, data.columns gives {', '.join(columns)}")
        return turns(
            data, columns[0], run, previous=cfg.previous, most=(cfg.before, cfg.most), tree=cfg.tree, levels=cfg.levels
        )  # fmt: skip

    rows = {side: read(part) for side, part in splits(cfg.data, run.seed).items()}
    hidden = {row["domain"] for side in ("dev", "test") for row in rows[side]} if cfg.data.split_by == "domain" else {}
    beside = [
        [row for row in read(load(each)) if row["domain"] is None or row["domain"] not in hidden] if each else []
        for each in (cfg.more, cfg.unlabelled)
    ]
    rows["train"] += beside[0]
    return rows, beside[1]


def tiny() -> Config:
    """Seconds: names of generated shapes, the shape in the place of a domain and the colour of an intent."""
    made = Pairs(source="made", columns=("text",), limit=480)
    return Config(
        data=made,
        more=None,
        unlabelled=made,
        levels={"domain": "shape", "intent": "colour"},
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=32,
        projected=8,
        vocabulary=50,
        asked=(Asked(name="made", data=made, classes="shape"),),
        l2=1e-2,
        turns=60,
        tune=Train(steps=4, batch_size=32, lr=1e-2),
        train=Train(steps=40, batch_size=16, lr=1e-2, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: fields of life of SGD that training never sees, and intents of Banking77 and CLINC150."""
    return Config(
        at_most=12_000,
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=128,
        reference="all-MiniLM-L6-v2",
        train=Train(steps=200, batch_size=64, lr=2e-3),
    )


def paper() -> Config:
    """The published numbers, as near as the encoder allows; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        more=None,
        unlabelled=Pairs(source="shards", columns=("text",)),
        text=Tower(encoder="scratch-base-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=768,
        projected=768,
        before=128,
        most=128,
        vocabulary=30_000,
        # batches, rate, warm-up and decay of the published script; 60 epochs of 3M turns
        train=Train(steps=1_400_000, batch_size=128, lr=1e-5, warmup=0.1, schedule="linear"),
        tune=Train(steps=7000, batch_size=128, lr=1e-4),
    )
