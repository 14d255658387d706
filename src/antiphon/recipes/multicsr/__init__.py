"""MultiCSR: a language model writes, and contrastively refines, what sentence vectors learn from (arXiv 2310.10962).

For each unlabelled sentence x a language model writes one that says the same, x+, and one that contradicts, x-:

1. written against the opposite instruction's own likelihoods (`generation/contrast.py`: reconstructed);
2. kept or turned round by the model's own scores of (x, x+) and (x, x-) (`triplets.py`: verified);
3. and in the batch, what a frozen encoder g finds to mean the same is no negative (`masking.py`).

With s the cosine of two vectors, t the temperature, and m, m' zero where a pair is masked:

    L_i = -log e^{s(x_i, x_i+) / t} / sum_j (m_ij e^{s(x_i, x_j+) / t} + m'_ij e^{s(x_i, x_j-) / t})

g is unsupervised SimCSE on the same sentences, in evaluation mode and asked once (the released code leaves its dropout
on). `loss="official"` is what that code computes in the place of L.

What is written is kept in the cache folder and shared by all runs that ask the same. To train on sentences of one's
own, one a row:

    antiphon train multicsr data.source=folder data.options.folder=my.csv words=[1,50] dev=[] asked=[]

A server with OpenAI's interface can write in the local model's place, without stage 1:

    antiphon train multicsr written=plain endpoint.url=http://localhost:8000/v1 endpoint.model=NAME endpoint.key=NAME

differs: the encoder is a head on frozen layers of SmolLM2, where the paper trains BERT and RoBERTa; any encoder can be
  trained as a whole (`locked=false`).
differs: SmolLM2 with 135 M parameters writes, where the paper has Flan-T5-XL and ChatGPT; its score is the expected
  digit, and thresholds are quantiles of its scores.
differs: of 804 sentences each seed draws 643, of whose triplets curation keeps some 257, two fifths by arithmetic,
  where the paper has the premises of NLI or a million of Wikipedia; all arms take 200 steps of 64, some 50 times round
  257 triplets and 20 times round 643, where the released code takes three epochs of each.
differs: a row that the mask leaves no negative keeps its farthest one in L (`masked/rescued` tells how many such rows
  there are); under `loss="official"` it keeps none, as in the released code.
differs: a server gives no logits, so with an endpoint, as in `paper()`, what is written lacks stage 1.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from antiphon.data.cache import cache_folder
from antiphon.data.pairs import Pairs
from antiphon.encoders import Encoder
from antiphon.encoders.causal import CausalText
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.heads import HeadConfig, identity_head
from antiphon.encoders.items import Items
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.floors import named
from antiphon.evaluation.sts import Embed, scored_pairs, scored_sets, similarities, word_floors
from antiphon.generation.contrast import LocalWriter
from antiphon.generation.endpoint import Endpoint, RemoteWriter
from antiphon.generation.models import open_language_model
from antiphon.generation.written import Writer, Writing, Written
from antiphon.progress import bar
from antiphon.recipes.multicsr.chance import random_words
from antiphon.recipes.multicsr.claims import CLAIMS
from antiphon.recipes.multicsr.config import Config
from antiphon.recipes.multicsr.corpus import corpus_of, set_aside
from antiphon.recipes.multicsr.learner import MultiCSR, watch
from antiphon.recipes.multicsr.masking import share_masked
from antiphon.recipes.multicsr.rows import alone, collate_of, guided, of_triplets
from antiphon.recipes.multicsr.shown import numbers, table
from antiphon.recipes.multicsr.triplets import (
    Source,
    Triplet,
    at_random,
    bounds_of,
    curated,
    described,
    mixed,
    score,
    swapped,
    write,
)
from antiphon.runs import Measures, Run
from antiphon.training.fit import Every, Train, fit

PAPER = Paper(
    "2310.10962",
    "LLMs can Contrastively Refine their Generation for Better Sentence Representation Learning",
    ("text",),
)

__all__ = ["CLAIMS", "PAPER", "Config", "MultiCSR", "laptop", "paper", "run", "tiny"]


def run(cfg: Config, run: Run) -> Measures:
    """Write, curate, train g (once for all arms), train by its mask, save the space, and measure it by its floors."""
    started = time.perf_counter()
    run.seed_all()
    scored = scored_sets(cfg.dev, cfg.asked)
    corpus, left_out = corpus_of(cfg, scored)
    set_aside(cfg, run, left_out)
    drawn = set(random.Random(f"{run.seed}/drawn").sample(corpus, max(2, round(cfg.drawn * len(corpus)))))
    encoder, writer = _models(cfg)
    kept = Written(cache_folder() / "written" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', writer.name)}.jsonl")
    triplets, measures = _triplets(cfg, run, corpus, drawn, writer, kept)
    measures |= {"corpus/taken": len(corpus), "corpus/left_out": len(left_out), "triplets": len(triplets)}
    texts = [text for text in corpus if text in drawn]
    asked = [text for rows in scored.values() for side in ("text_1", "text_2") for text in rows[side]]
    said = [text for one in triplets for text in (one.text, one.same, one.contrary)]
    cache = FeatureCache(cache_folder() / "features")
    items = Items(encoder, [*texts, *said, *asked], cache if cfg.locked else None)
    run.seed_all()
    learner = MultiCSR(cfg, deepcopy(items.stand_in()))
    measures |= named("start", similarities(partial(items.vectors, learner.branch), scored))
    measures |= named("random", similarities(random_words(encoder.width, run.seed), scored))
    guide = _guide(cfg, run, learner, items, texts)
    run.seed_all()
    learner = MultiCSR(cfg, items.stand_in())
    rows, found = _rows(cfg, run, items, guide, texts, triplets)
    fit(learner.train(), rows, cfg.train, run, collate=collate_of(items, rows), every=[Every(10, watch())])
    run.picture("numbers", numbers(measures | found), f"What was written ({cfg.written}), kept and masked, in numbers.")
    Space({"text": Branch(encoder, learner.branch.head)}).eval().save(run.folder / "space")
    measures |= found | similarities(partial(items.vectors, learner.branch), scored) | word_floors(scored)
    if cfg.reference is not None:
        other = Items(open_encoder("text", cfg.reference), asked, cache)
        published = Branch(other.stand_in(), identity_head(other.encoder.width))
        measures |= named(cfg.reference, similarities(partial(other.vectors, published), scored))
    return run.finish(measures | {"seconds/total": time.perf_counter() - started})


def _models(cfg: Config) -> tuple[Encoder, Writer]:
    """The encoder, and who writes: one model in memory where both are the same."""
    opened: dict[str, tuple[Any, Any]] = {}

    def language_model(name: str) -> tuple[Any, Any]:
        if name not in opened:
            opened[name] = open_language_model(name)
        return opened[name]

    encoder: Encoder
    if cfg.layers is None:
        encoder = cfg.text.open("text")
    else:
        encoder = CausalText(*language_model(cfg.text.encoder), layers=cfg.layers, single=True)
    if cfg.endpoint is not None:
        return encoder, RemoteWriter(cfg.endpoint)
    return encoder, LocalWriter(*language_model(cfg.writer))


def _triplets(
    cfg: Config, run: Run, corpus: Sequence[str], drawn: set[str], writer: Writer, kept: Written
) -> tuple[list[Triplet], Measures]:
    """What is trained on, of the drawn sentences; all of them are written about, so that seeds share the writing."""
    if cfg.written == "none":
        return [], {}
    with bar("writing", 2 * len(corpus)) as advance:
        written = write(corpus, cfg.written, writer, kept, cfg.writing, advance)
    if cfg.curated != "none":
        with bar("scoring", 2 * len(written)) as advance:
            written = score(written, writer, kept, advance)
    chosen = [one for one in written if one.text in drawn]
    measures = described(chosen, len(drawn)) | named("random", described(mixed(chosen), len(drawn)))
    found = chosen
    if cfg.curated != "none":
        turned = swapped(chosen)
        high, low = (3.0, 3.0) if cfg.threshold == "official" else bounds_of(turned, cfg.share)
        found = curated(turned, high, low)
        before = {one.text: one.contrary for one in chosen}
        measures["quality/turned"] = sum(one.same == before[one.text] for one in turned) / max(len(turned), 1)
        if cfg.curated == "random":
            found = at_random(chosen, len(found), run.seed)
    measures["quality/kept"] = len(found) / max(len(chosen), 1)
    if len(found) < 2:
        raise UserError(
            f"{len(found)} triplets of {len(chosen)} are left: lower the thresholds (share={cfg.share:g}, threshold="
            f"{cfg.threshold}), or set curated=none"
        )
    if cfg.most is not None and cfg.most < len(found):
        found = at_random(found, cfg.most, run.seed)
    _draw(cfg, run, corpus, written, found, writer, kept)
    return found, measures


def _draw(
    cfg: Config, run: Run, corpus: Sequence[str], written: Sequence[Triplet], found: Sequence[Triplet],
    writer: Writer, kept: Written,
) -> None:  # fmt: skip
    """A table of some sentences; the other way of writing is asked about them too, where it can be."""
    texts = list(corpus[:16])
    sides = {"contrastive": {one.text: one for one in written}, "plain": {one.text: one for one in written}}
    other: Source = "plain" if cfg.written == "contrastive" else "contrastive"
    can = cfg.endpoint is None
    sides[other] = {one.text: one for one in write(texts, other, writer, kept, cfg.writing)} if can else {}
    drawing = table(texts, sides["plain"], sides["contrastive"], {one.text: one for one in found})
    said = "What a model wrote plainly and against the opposite instruction, and what this seed drew and kept (scores)."
    run.picture("written", drawing, said)


def _guide(cfg: Config, run: Run, learner: MultiCSR, items: Items, texts: Sequence[str]) -> Embed:
    """g: unit vectors by an encoder that SimCSE trained on the same sentences; arms share its run."""
    shared = cfg.only("data", "words", "drawn", "dev", "asked", "text", "layers", "locked", "temperature", "start")
    rows = alone(items, texts)
    asked, learner.cfg = learner.cfg, shared
    fit(learner.train(), rows, cfg.start, run.part("guide", shared), collate=collate_of(items, rows))
    learner.cfg = asked
    return partial(items.vectors, learner.branch)


def _rows(
    cfg: Config, run: Run, items: Items, guide: Embed, texts: Sequence[str], triplets: Sequence[Triplet]
) -> tuple[list[dict[str, Any]], Measures]:
    """Triplets, or each sentence with itself; with g's vectors where pairs are masked."""
    if cfg.written == "none":
        rows, sides = alone(items, texts), {"text": guide(texts)}
    else:
        rows = of_triplets(items, triplets)
        sides = {"text": guide([one.text for one in triplets]), "negative": guide([one.contrary for one in triplets])}
    size = cfg.train.batch_size
    measures = share_masked(sides["text"], sides.get("negative"), cfg.phi, batch_size=size, seed=run.seed)
    return (guided(rows, sides) if cfg.masked else rows), measures


def tiny() -> Config:
    """Seconds: phrases about coloured shapes, with two random layers that write and read bytes."""
    made = Pairs(source="sts", options={"task": "made", "split": "dev"}, columns=("text_1", "text_2"))
    return Config(
        data=Pairs(source="made", columns=("text",)),
        words=(1, 50),
        dev=(made,),
        asked=(made.but(options={"task": "made", "split": "test"}),),
        text=Tower(encoder="scratch-tiny", head=HeadConfig(norm="none", dropout=0.1)),
        layers=2,
        writer="scratch-tiny",
        writing=Writing(weight=1.0, plausible=0.01, max_tokens=8),
        start=Train(steps=4, batch_size=8, lr=1e-3, log_every=4),
        train=Train(steps=40, batch_size=8, lr=3e-3, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: SmolLM2 writes about sentences of Wikipedia; a head on its twelfth layer is trained."""
    train = Train(steps=200, batch_size=64, lr=1e-3, save_every=1000)
    asked = [("sts2012", "test"), ("sts2013", "test"), ("sts2014", "test"), ("sickr", "train")]
    return Config(
        dev=(scored_pairs("stsb", "dev"),),
        asked=tuple(scored_pairs(*one) for one in asked),
        reference="all-MiniLM-L6-v2",
        start=train,
        train=train,
    )


def paper() -> Config:
    """As far as is known: BERT, ChatGPT on the premises of NLI, three epochs at SimCSE's batch; not run here."""
    train = Train(steps=6450, batch_size=128, lr=5e-5)  # three epochs of 275 thousand sentences
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        words=(1, 500),
        drawn=1.0,
        text=Tower(encoder="bert-base-uncased", head=HeadConfig(norm="none", dropout=0.0)),
        layers=None,
        locked=False,
        endpoint=Endpoint(url="https://api.openai.com/v1", model="gpt-3.5-turbo", key="OPENAI_API_KEY"),
        written="plain",  # a server gives no logits of the prompt's opposite, and the released code lacks stage 1
        threshold="official",
        loss="official",
        start=train,
        train=train,
    )
