"""Gen2Embed and SaHa: a generative model as an embedder, and the hard negatives it mines (arXiv 2508.00955).

A language model reads a rule ("describe the text in one word") at the level of the system and again at that of the
user; its last hidden state before the answer is the vector (`encoders.prompted`, `prompts.py`). Nothing is trained.

Then a short training. The untrained model mines clusters of 1 + K pairs (`saha.py`), a row is a whole cluster, and
each query of a batch is compared with the documents of all pairs, and no document with queries; f = cosine /
temperature:

    L = mean_i -log e^{f(q_i, d_i)} / sum_j e^{f(q_i, d_j)}

without documents that are the same text as d_i, or answers to the same query. Prompts and clusters are as our
specification has them from the official code; the paper's tables were not readable.

    antiphon train mllm_embedder data.source=folder data.options.folder=my.csv \\
        data.columns=[text,document] dev=[] test=[] intents=null

Where a column holds pictures, a model that reads text alone is shown them by a connector that learned captions
(`pictures.py`): `data.columns=[image,text]` measures and trains pictures and captions, both ways. A model of texts and
images (`text.encoder=Qwen/Qwen2-VL-2B-Instruct`) needs none: it reads both itself (`encoders.prompted`).

differs: SmolLM2 with 135 M parameters, 4 bits a weight, where the paper has Qwen2-VL with 2 B or 7 B; it is shown
  images as four soft tokens, by a connector that some 650 captions taught, after a start by ridge regression from the
  picture to the words of its caption (`encoders.connected`).
differs: the claims' runs hold those weights in bfloat16 (`half`), as the paper's mining does; all arms alike.
differs: the training's claims train a map behind the frozen model's vectors; low-rank maps inside it, as in the paper,
  are there (`rank=8 locked=false`, with `dora` as the released code has it) but too slow on two cores, and learn from
  texts alone: with pictures the model stays frozen.
differs: documents are read in the same prompt as queries; the paper's have no closing line.
differs: owners are sorted in sets with classes too (intents, pictures of a concept), whose documents are no names of
  classes; the released code keeps the order of retrieval in labelled sets, as `labelled=true` does.
differs: a few hundred pairs of sentences, and titles and keywords of drawings, where the paper has MMEB's 36 sets.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor, nn

from antiphon.data.cache import cache_folder
from antiphon.data.pairs import Pairs
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.heads import Head, HeadConfig, identity_head
from antiphon.encoders.items import Items
from antiphon.encoders.lora import merge_low_rank
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.towers import Tower
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.floors import named
from antiphon.evaluation.sts import Embed
from antiphon.objectives.contrast import contrast
from antiphon.recipes.mllm_embedder.claims import CLAIMS
from antiphon.recipes.mllm_embedder.config import Config
from antiphon.recipes.mllm_embedder.readers import opened
from antiphon.recipes.mllm_embedder.rows import Twins, Whole, joined, twins_of_classes
from antiphon.recipes.mllm_embedder.saha import Rule, clusters_of, purity
from antiphon.recipes.mllm_embedder.trial import Trial, clusters_drawn, floors, measured
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper(
    "2508.00955",
    "From Generator to Embedder: Building Zero-Shot Discriminative Embedding Model",
    ("image", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Config", "Gen2Embed", "laptop", "paper", "run", "tiny"]

RULES: tuple[Rule, ...] = ("batch", "top", "skip", "unsorted", "saha")


class Gen2Embed(ContrastiveLearner):
    """One encoder of queries and documents, and its head.

    Args:
        cfg: as above.
        branch: the encoder, or `Features` in its place, and the head.
    """

    def __init__(self, cfg: Config, branch: Branch) -> None:
        super().__init__()
        self.cfg, self.branch = cfg, branch

    def embed(self, batch: Batch) -> Views:
        """Unit vectors of queries and documents, and the numbers of their texts."""
        views: Views = {name: batch[name] for name in ("query_id", "document_id")}
        return views | {name: self.branch(batch[name]) for name in ("query", "document")}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """L, from queries to documents."""
        own = torch.eye(len(views["query"]), dtype=torch.bool, device=views["query"].device)
        same = [views[name][:, None] == views[name] for name in ("query_id", "document_id")]
        scores = views["query"] @ views["document"].T / self.cfg.temperature
        return {"contrast": contrast(scores, mask=own | ~(same[0] | same[1]))}


def run(cfg: Config, run: Run) -> Measures:
    """Measure the model as it is, by its floors; mine, train and measure again; save the space."""
    started = time.perf_counter()
    run.seed_all()
    trial = Trial.of(
        cfg.dev,
        cfg.test,
        cfg.intents,
        classes=cfg.classes,
        each=cfg.each,
        most=cfg.scored,
        drawn=run.seed if cfg.drawn else None,
    )
    readers = opened(cfg, run)
    encoder, image, pairs = readers.encoder, readers.image, readers.pairs
    if image is not None:
        run.seed_all()
    if cfg.negatives == "off":
        pairs.pop("train", None)
    asked = [text for twins in pairs.values() for text in twins.texts()]
    texts = [*trial.texts(), *(text for text in asked if text not in readers.read)]
    items = Items(encoder, texts, FeatureCache(cache_folder() / "features") if cfg.locked else None)
    items.of = {**items.of, **readers.vectors(asked)}
    branch = Branch(items.stand_in(), identity_head(encoder.width))
    untrained = partial(items.vectors, branch)
    drawn = run.seed if cfg.drawn and image is not None else None
    measures = measured(untrained, trial, pairs, drawn) | trial.floors()
    measures |= floors(trial, texts, {} if image is not None else pairs, cfg.reference)
    measures |= {
        f"chance/{split}/{name}": value
        for split in (("dev", "test") if image is not None else ())
        for name, value in pairs[split].chance(untrained).items()
    }
    if cfg.negatives != "off":
        if trial.intents is not None:  # before training: with locked=false it moves the encoder that mines
            measures |= named("intents", _purities(cfg, twins_of_classes(trial.intents, "intent"), untrained, run.seed))
        branch, mined = _trained(cfg, run, items, pairs["train"], untrained)
        measures |= mined | named("tuned", measured(partial(items.vectors, branch), trial, pairs, drawn))
    if cfg.kept:
        if cfg.rank is not None and not cfg.locked:
            merge_low_rank(encoder)
        kept = {"text": Branch(encoder, branch.head)}
        if image is not None:
            kept["image"] = image if isinstance(image, Branch) else Branch(image, branch.head)
        Space(kept).eval().save(run.folder / "space")
    return run.finish(measures | {"seconds/total": time.perf_counter() - started})


def _trained(cfg: Config, run: Run, items: Items, train: Twins, untrained: Embed) -> tuple[Branch, Measures]:
    """The branch after training on clusters, and how pure those are; of pictures and captions, both ways."""
    sets = [train] if train.classes is None else [train, train.turned()]
    found = [one.mined(untrained) for one in sets]
    of_each = [
        clusters_of(one, _rule(cfg), hard=cfg.hard, pool=cfg.pool, seed=run.seed, labelled=cfg.labelled)
        for one in found
    ]
    train, pairs, clusters = joined(sets, found, of_each)
    mined = {f"clusters/{name}": value for name, value in purity(clusters, pairs, train.alike).items()}
    mined["clusters/count"] = len(clusters)
    run.picture("clusters", clusters_drawn(train, [one for one in clusters if one.dropped] or clusters), _CAPTION)
    branch = Branch(items.stand_in(), _head(cfg, items.encoder.width))
    if branch.head.needs_rows:
        _prepare(branch, items, train.texts())
    learner = Gen2Embed(cfg, branch)
    whole = Whole(train, pairs, items, clusters)
    fit(learner.train(), whole.rows(), cfg.train, run, collate=whole)
    return branch, mined


def _head(cfg: Config, width: int) -> Head:
    """A map that starts as no change, behind the head's norm."""
    head = Head(width, width, cfg.text.head)
    nn.init.eye_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    return head


@torch.no_grad()
def _prepare(branch: Branch, items: Items, texts: list[str]) -> None:
    """Let the head measure the texts of training."""
    parts = [[items.of[text] for text in texts[at : at + 64]] for at in range(0, len(texts), 64)]
    encoder = branch.encoder.eval()
    branch.head.prepare(torch.cat([branch.head.pool(encoder(encoder.collate(part))) for part in parts]))


def _rule(cfg: Config) -> Rule:
    return next(rule for rule in RULES if rule == cfg.negatives)


def _purities(cfg: Config, twins: Twins, embed: Embed, seed: int) -> Measures:
    """How pure clusters of pairs with known classes are."""
    pairs = twins.mined(embed)
    clusters = clusters_of(pairs, _rule(cfg), hard=cfg.hard, pool=cfg.pool, seed=seed)
    return purity(clusters, pairs, twins.alike)


_CAPTION = (
    "Clusters as they were mined: a query and its document; the documents it is to be told from, each with the query "
    "that owns it; and those whose owners were too near to the query, which are likely answers to it."
)


def tiny() -> Config:
    """Seconds: pictures of coloured shapes and their names, by two random layers without a chat template."""
    made = Pairs(source="sts", options={"task": "made", "split": "dev"}, columns=("text_1", "text_2"))
    return Config(
        data=Pairs(source="made", options={"rows": 96}, columns=("image", "text")),
        dev=(made,),
        test=(made.but(options={"task": "made", "split": "test"}),),
        intents=Pairs(source="made", options={"rows": 24}, columns=("text",)),
        classes="shape",
        each=4,
        text=Tower(encoder="scratch-tiny", head=HeadConfig(norm="standard", dropout=0.1)),
        chat=False,
        hard=2,
        image=Tower(encoder="scratch-tiny"),
        hidden=16,
        start=Train(steps=8, batch_size=8, lr=3e-3, log_every=4),
        train=Train(steps=40, batch_size=4, lr=3e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: SmolLM2 in bfloat16, small sets, and spaces of half a gigabyte not kept."""
    return Config(
        most=800,
        dev=(),
        scored=100,
        half=True,
        reference="all-MiniLM-L6-v2",
        kept=False,
        train=Train(steps=100, batch_size=4, lr=3e-4, save_every=1000),
    )


def paper() -> Config:
    """As the released code has it, but for images and MMEB's sets; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text_query", "text_document")),
        most=None,
        text=Tower(encoder="Qwen/Qwen2-VL-2B-Instruct", head=HeadConfig(norm="none")),
        hard=15,
        temperature=0.02,
        locked=False,
        rank=8,
        dora=True,
        train=Train(steps=1500, batch_size=128, lr=5e-5, warmup=100 / 1500, schedule="linear"),
    )
