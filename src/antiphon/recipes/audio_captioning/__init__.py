"""Zero-shot audio captioning by soft and hard prompts: trained on text alone, asked about sound (arXiv 2406.06295).

In a space of sound and text with unit vectors, E_t of texts and E_a of sounds, a caption y is rebuilt from its own
vector, and at test a sound's vector takes its place:

    e   = norm(E_t(y') + noise),  noise ~ N(0, sigma^2 I),  y' = y, or with probability rho one of y's neighbours
    P_s = M(e): vectors before the text (soft prompt)      P_h = "Sounds: dog barking, rain falling." (hard prompt)
    L   = -sum_t log p(y_t | P_s, P_h, y_<t)

P_h names the events nearest to e, of 259: in training with some of them spoiled, since those of a text's own vector are
nearly always right and those of a sound's are not. `augment` picks none, `noise`, `replace` or `mixed` (both).
On sounds and captions of one's own, each sound with a caption:

    antiphon train audio_captioning data.source=folder data.options.folder=my.csv data.columns=[audio,text] \\
        captions.source=folder captions.options.folder=my.csv classes=null references=null

No official code was found; sigma, rho, the number of names, sizes and rates are unverified.

differs: the claims' space is trained here, small, against a frozen text model; the paper takes CLAP (`checkpoint`).
differs: the language model is cut to its first layers and the captions' words; it is tuned as a whole.
differs: arms go on from one start, trained on each corpus without augmentation, with names half of the time; or they
  part from the beginning (`start=null`: the cross-domain claim), with a smaller model.
differs: no sounds with captions of people are at hand: a clip's captions are those that mention its kind alone.
differs: the metrics are event hits, CIDEr-D, BLEU and ROUGE-L; METEOR and SPICE want Java.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from antiphon.data.pairs import Pairs, expand, load, signal_of, splits
from antiphon.decode import BadInput
from antiphon.encoders import Encoder
from antiphon.encoders.features import Features
from antiphon.encoders.pretrained import clap_space
from antiphon.encoders.sequence import MelChunks
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.generation.caption import Captioner, cut, tokens_of
from antiphon.generation.decoding import Decoding
from antiphon.generation.models import open_language_model
from antiphon.recipes.audio_captioning.claims import CLAIMS
from antiphon.recipes.audio_captioning.config import Config
from antiphon.recipes.audio_captioning.measuring import asked, compared, drawn
from antiphon.recipes.audio_captioning.names import KINDS, NAMES
from antiphon.recipes.audio_captioning.pairing import Pairing, paired_rows
from antiphon.recipes.audio_captioning.rows import (
    Heard,
    collate_of,
    in_place_of_texts,
    neighbours,
    references_of,
    vectors_of,
)
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper(
    "2406.06295",
    "Zero-Shot Audio Captioning Using Soft and Hard Prompts",
    ("audio", "text"),
)

__all__ = ["CLAIMS", "PAPER", "Captioning", "Config", "laptop", "paper", "run", "tiny"]


class Captioning(ContrastiveLearner):
    """The captioner's loss. A row's is its own; they are gathered so that several processes log one mean."""

    def __init__(self, captioner: Captioner, *, names: int, spoiled: float, often: float = 1.0) -> None:
        super().__init__()
        self.captioner, self.names, self.spoiled, self.often = captioner, names, spoiled, often

    def embed(self, batch: Batch) -> Views:
        """-log p of every caption, in nats."""
        vectors = batch["vector"].values[:, 0]
        tags = self.tags(vectors, batch["chance"].values[:, 0]) if self.names else None
        return {"nats": self.captioner.losses(vectors, batch["ids"], tags)}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Their mean."""
        return {"caption": views["nats"].mean()}

    def tags(self, vectors: Tensor, chance: Tensor) -> list[list[str]]:
        """Names of each hard prompt: the nearest, some of them exchanged for any; none where there is to be none."""
        names, found = self.captioner.names, []
        for near, draws in zip(self.captioner.nearest(vectors, self.names).tolist(), chance.tolist(), strict=True):
            first, other = draws[: self.names], draws[self.names : -1]
            kept = [
                names[int(o * len(names))] if f < self.spoiled else names[at]
                for at, f, o in zip(near, first, other, strict=True)
            ]
            found.append(kept if draws[-1] < self.often else [])
        return found


def run(cfg: Config, run: Run) -> Measures:
    """Make the space, train the captioner on text, save both, and caption the sounds of dev and test."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    sound, towers, branches = _space(cfg, run, data)
    space = Space({name: Branch(towers[name], branch.head) for name, branch in branches.items()}).eval()
    space.save(run.folder / "space")
    corpus = load(cfg.captions)
    texts = list(corpus["text"])
    read = vectors_of(branches["text"], towers["text"], texts, cfg.text.keep)
    captioner = _captioner(cfg, texts, branches["text"], towers["text"])
    if cfg.start is not None:
        _start(cfg, cfg.start, run, captioner, read, texts)
    heard = {split: _heard(cfg, run, part, branches[sound], towers[sound]) for split, part in data.items()}
    given, said = (read, texts) if cfg.learn_from == "text" else _supervised(cfg, run, corpus, heard["train"])
    learner = Captioning(captioner, names=cfg.names, spoiled=cfg.spoiled)
    collate = collate_of(
        cfg.width,
        replace=cfg.replace if cfg.augment in ("replace", "mixed") else 0.0,
        variance=cfg.variance if cfg.augment in ("noise", "mixed") else 0.0,
        tags=cfg.names,
        seed=run.seed,
    )
    fit(learner, _rows(captioner, given, said, cfg.near), cfg.train, run, collate=collate)
    captioner.eval().save(run.folder / "captioner")
    measures: Measures = {"seconds/total": time.perf_counter() - started}
    for split in ("dev", "test"):
        found, shown = asked(captioner, space, heard[split], read, texts, cfg.decoding, cfg.names)
        measures |= {f"{split}/{name}": value for name, value in found.items()}
    run.picture("captions", *drawn(heard["test"], shown))
    run.picture("ways", *compared(found))
    return run.finish(measures)


def _space(cfg: Config, run: Run, data: dict[str, Dataset]) -> tuple[str, dict[str, Encoder], dict[str, Branch]]:
    """The sounds' signal, the frozen encoders, and the branches over what they encoded; arms share the training."""
    signals = sorted(signal_of(column) for column in expand(cfg.data.columns, data["train"].column_names))
    if len(signals) != 2 or "text" not in signals or not set(signals) & {"audio", "speech"}:
        raise UserError(
            f"audio_captioning wants one column of sounds and one of texts, data.columns has {', '.join(signals)}"
        )
    sound = next(signal for signal in signals if signal != "text")
    if cfg.checkpoint is not None:
        return sound, *_given(cfg, sound)
    towers = {
        sound: cfg.sound.open(sound) if cfg.sound else MelChunks(1.0, signal=sound),
        "text": cfg.text.open("text"),
    }
    pairs = load(cfg.paired) if cfg.classes is not None else data["train"]
    inputs = {name: Features(one.width, signal=name) for name, one in towers.items()}
    pairing = Pairing(inputs, cfg.width, cfg.temperature)
    rows, collate = paired_rows(
        pairing, data["train"], pairs, towers, classes=cfg.classes,
        keep={sound: cfg.sound.keep if cfg.sound else 1, "text": cfg.text.keep}, run=run,
    )  # fmt: skip
    fit(pairing, rows, cfg.space, run.part("space", cfg.only(*_OF_THE_SPACE)), collate=collate)
    return sound, towers, branches_of(pairing.eval().branches)


def _given(cfg: Config, sound: str) -> tuple[dict[str, Encoder], dict[str, Branch]]:
    """The checkpoint's towers, and its branches over what they encoded."""
    space, _ = clap_space(str(cfg.checkpoint))
    given = branches_of(space.eval().branches)
    if sound not in given or space.width != cfg.width:
        raise UserError(
            f"{cfg.checkpoint} has towers for {', '.join(given)} and width {space.width}; the rows have {sound}, "
            f"and width={cfg.width}"
        )
    towers = {name: branch.encoder for name, branch in given.items()}
    over = {name: Branch(Features(one.width, signal=name), given[name].head) for name, one in towers.items()}
    return towers, over


def _supervised(cfg: Config, run: Run, corpus: Dataset, heard: Heard) -> tuple[Tensor, list[str]]:
    """Vectors of training sounds, and what is said of them: captions of their kind, or their own."""
    if cfg.classes is None:
        return heard.vectors, [told[0] for told in heard.references]
    given, places = in_place_of_texts(heard.vectors, heard.kinds, list(corpus[cfg.classes]), run.seed)
    return given, [corpus["text"][at] for at in places]


_OF_THE_SPACE = ("data", "paired", "classes", "sound", "text", "width", "temperature", "space")
_OF_THE_START = (
    "paired",
    "captions",
    "classes",
    "checkpoint",
    "text",
    "width",
    "model",
    "layers",
    "soft",
    "spoiled",
    "start",
)


def _captioner(cfg: Config, texts: list[str], branch: Branch, tower: Encoder) -> Captioner:
    """A captioner that was not trained yet, its model cut to the words of these texts and of the names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the start is one for all seeds
        model, tokenizer = open_language_model(cfg.model)
        known = [*texts, *(f"Sounds: {name}, {name}." for name in NAMES)]
        words = sorted({word for text in known for word in tokens_of(tokenizer, text)} | {tokenizer.eos_token_id})
        small = cut(model, layers=cfg.layers, words=words)
        captioner = Captioner(
            small, tokenizer, width=cfg.width, words=words, soft=cfg.soft, names=NAMES, tags=cfg.names
        )
    captioner.name_vectors.copy_(vectors_of(branch, tower, list(NAMES), cfg.text.keep))
    return captioner


def _start(cfg: Config, start: Train, run: Run, captioner: Captioner, vectors: Tensor, texts: list[str]) -> None:
    """Train on plain text vectors, with two names half of the time: one start for all arms and seeds of a corpus."""
    learner = Captioning(captioner, names=2, spoiled=cfg.spoiled, often=0.5)
    collate = collate_of(cfg.width, replace=0.0, variance=0.0, tags=2, seed=0)
    rows = _rows(captioner, vectors, texts, cfg.near)
    fit(learner, rows, start, run.part("start", cfg.only(*_OF_THE_START), seed=0), collate=collate)


def _rows(captioner: Captioner, vectors: Tensor, texts: list[str], near: int) -> list[dict[str, Any]]:
    around, ids = neighbours(vectors, near), captioner.ids(texts, end=True)
    return [{"id": str(at), "vector": around[at], "ids": line} for at, line in enumerate(ids)]


def _heard(cfg: Config, run: Run, data: Dataset, branch: Branch, tower: Encoder) -> Heard:
    """Sounds with their vectors and references; left out are those without a reference, or that cannot be read."""
    references = references_of(data, load(cfg.references) if cfg.references else None, cfg.classes)
    column = expand((tower.signal,), data.column_names)[0]
    bad: set[int] = set()

    def refuse(at: int, error: BadInput) -> None:
        run.quarantine(column, data["id"][at], str(error))
        bad.add(at)

    items, keep = list(data[column]), cfg.sound.keep if cfg.sound else 1
    found = vectors_of(branch, tower, items, keep, refused=refuse)
    places = [at for at, item in enumerate(items) if item is not None and references[at] and at not in bad]
    data, vectors = data.select(places), found[places]
    kinds = list(data[cfg.classes]) if cfg.classes else list(data["text"])
    return Heard(list(data["id"]), kinds, vectors, [references[at] for at in places])


def tiny() -> Config:
    """Seconds: generated melodies and the names of coloured shapes; a random text tower and language model."""
    made = Pairs(source="made", columns=("text",), limit=96)
    return Config(
        data=Pairs(source="made", columns=("speech", "text"), split_by="id", limit=96),
        paired=made,
        captions=made,
        references=made,
        classes="shape",
        sound=Tower(encoder="scratch-tiny", keep=1),
        text=Tower(encoder="scratch-tiny", keep=1),
        width=16,
        model="scratch-tiny",
        layers=1,
        soft=2,
        names=2,
        decoding=Decoding(max_tokens=8),
        space=Train(steps=10, batch_size=32, lr=3e-3, log_every=5),
        start=Train(steps=6, batch_size=16, lr=3e-3, log_every=6),
        train=Train(steps=24, batch_size=16, lr=3e-3, save_every=4, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: ESC-10 and animals, 10 clips of a kind in a fold; AudioCaps' captions of these kinds."""
    options = {"kinds": list(KINDS), "each": 200}
    captions = Pairs(source="captions", columns=("text",), options=options)
    return Config(
        data=Pairs(
            source="events",
            columns=("audio", "text"),
            split_by="fold",
            options={"kinds": list(KINDS), "each": 10},
        ),
        paired=captions,
        captions=captions,
        references=Pairs(
            source="captions",
            columns=("text",),
            options={"sets": ["audiocaps_val"], "kinds": list(KINDS), "each": 8},
        ),
        layers=2,
        space=Train(steps=200, batch_size=140, lr=1e-3, precision="bfloat16", save_every=1000),
        start=Train(steps=150, batch_size=64, lr=1e-3, precision="bfloat16", save_every=1000),
        train=Train(steps=20, batch_size=64, lr=1e-3, precision="bfloat16", save_every=1000),
    )


def paper() -> Config:
    """As near as it is known: CLAP, GPT-2, AudioCaps' captions; sizes and rates unverified, and not run here."""
    texts = Pairs(source="captions", columns=("text",))
    return Config(
        data=Pairs(source="shards", columns=("audio", "text"), split_by="id"),
        paired=texts,
        captions=texts,
        references=None,
        classes=None,
        checkpoint="laion/clap-htsat-unfused",
        width=512,
        model="openai-community/gpt2",
        soft=10,
        names=4,
        decoding=Decoding(method="beam", beams=4),
        train=Train(steps=11_700, batch_size=64, lr=1e-5, weight_decay=0.02),  # WSAC's rate, batch and 15 of its epochs
    )
