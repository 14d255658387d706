"""What DebCSE trains on and is measured by: texts that nobody asks about, the guide, and levels beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from antiphon.data.cache import cache_folder
from antiphon.data.pairs import load
from antiphon.decode import split_words
from antiphon.encoders.causal import CausalText
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.heads import identity_head, unit
from antiphon.encoders.items import Items
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch
from antiphon.errors import UserError
from antiphon.evaluation.sts import Embed, scored_sets
from antiphon.generation.models import open_language_model
from antiphon.recipes.debcse.config import Config
from antiphon.recipes.debcse.learner import DebCSE
from antiphon.recipes.debcse.probes import Trial
from antiphon.recipes.debcse.rows import Drawn
from antiphon.recipes.debcse.sampling import Candidates, Draws, Pool, candidates_of, pool_of
from antiphon.runs import Measures, Run
from antiphon.training.fit import fit

OF_THE_MATERIAL = (
    "data", "held", "dev", "asked", "intents", "classes", "guide", "layers", "near", "reference",
)  # fmt: skip
"""What it depends on."""


OfClasses = tuple[Pool, Candidates, Tensor]
"""Texts with classes as a corpus of their own, nothing made of them; their candidates, and the guide's vectors."""


@dataclass(frozen=True)
class Material:
    """What neither arms nor seeds change: the texts, what is asked, a guide that is not trained, and what it finds."""

    pool: Pool
    trial: Trial
    guide: Embed | None
    levels: Measures
    refused: list[tuple[str, str]]
    of_classes: OfClasses | None


@lru_cache(maxsize=1)  # one process runs all arms and seeds of the claims
def material(settings: str) -> Material:
    """Read all rows, and put their texts through what is frozen.

    Args:
        settings: the config as JSON, of `OF_THE_MATERIAL`.

    Raises:
        UserError: too few texts, or rows of intents without their classes.
    """
    cfg = Config.model_validate_json(settings)
    rows, column, scored = load(cfg.data), cfg.data.columns[0], scored_sets(cfg.dev, cfg.asked)
    texts, refused = usable(zip(rows["id"], rows[column], strict=True), scored)
    corpus = texts[: len(texts) - round(cfg.held * len(texts))]
    held = texts[len(corpus) :]
    if len(corpus) <= cfg.near or len(held) < 2:
        raise UserError(
            f"{len(corpus)} different texts in {cfg.data.source} to train on, {len(held)} held out: wanted more than "
            f"near={cfg.near}, and two by held={cfg.held:g}"
        )
    intents = None if cfg.intents is None else load(cfg.intents)
    if intents is not None and cfg.classes not in intents.column_names:
        raise UserError(f"intents: no column {cfg.classes}, the rows have {', '.join(intents.column_names)}")
    counts = Counter(word for text in corpus for word in split_words(text))
    pool, trial = pool_of(corpus, 0), Trial(scored, intents, held, counts)
    levels = trial.floors()
    if cfg.reference is not None:
        other = Items(open_encoder("text", cfg.reference), trial.texts(), features())
        published = Branch(other.stand_in(), identity_head(other.encoder.width))
        levels |= {f"{cfg.reference}/{key}": value for key, value in trial.measured(other, published).items()}
    guide = None if cfg.guide is None else _model(cfg, pool, trial)
    of_classes = None if guide is None or intents is None else classed(trial, guide, cfg.near)
    return Material(pool, trial, guide, levels, refused, of_classes)


def usable(rows: Iterable[tuple[str, str | None]], scored: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    """Texts with words, each once and none that is scored; and the rows that are left out, each with the reason.

    Texts of the same words in the same order are one, whatever their case and signs: a positive must say it otherwise.
    """
    asked = {tuple(split_words(t)) for pairs in scored.values() for side in ("text_1", "text_2") for t in pairs[side]}
    first, texts, refused = dict[tuple[str, ...], str](), list[str](), list[tuple[str, str]]()
    for row, text in rows:
        words = tuple(split_words(text or ""))
        if not words:
            refused.append((row, "no words"))
        elif words in asked:
            refused.append((row, "a scored set has it"))
        elif first.setdefault(words, row) != row:
            refused.append((row, f"the same words as {first[words]}"))
        else:
            texts.append(str(text))
    return texts, refused


def features() -> FeatureCache:
    """Where frozen encoders' vectors are kept."""
    return FeatureCache(cache_folder() / "features")


def trained_guide(cfg: Config, run: Run, items: Items, pool: Pool) -> Embed:
    """g: unit vectors by a copy of the encoder that SimCSE trained on the same texts; arms share its run."""
    learner = DebCSE(cfg.but(prior=0), deepcopy(items.stand_in()))
    alone = [([at], [1.0]) for at in range(pool.corpus)]
    draws = Draws(alone, [([], [])] * pool.corpus)
    drawn = Drawn(items, pool, draws, torch.ones(len(pool.texts), 1), hard=0, seed=run.seed)
    start = run.part(
        "guide",
        cfg.only("data", "held", "dev", "asked", "text", "dropout", "locked", "temperature", "start", guide=None),
    )
    fit(learner.train(), drawn.rows(), cfg.start, start, collate=drawn)
    return partial(items.vectors, learner.branch)


def classed(trial: Trial, guide: Embed, near: int) -> OfClasses:
    """What may be drawn among the texts with classes."""
    texts = list(trial.intents["text"])
    pool, vectors_ND = Pool(texts, list(range(len(texts)))), guide(texts)
    return pool, candidates_of(pool, vectors_ND, near=near, seed=0), vectors_ND


def _model(cfg: Config, pool: Pool, trial: Trial) -> Embed:
    """g: the mean of a causal language model's layer over a text, less the mean over the corpus."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of scratch-tiny
        model, tokenizer = open_language_model(str(cfg.guide))
    encoder = CausalText(model, tokenizer, layers=cfg.layers, single=True)
    texts = dict.fromkeys([*pool.texts, *([] if trial.intents is None else trial.intents["text"])])
    found = Items(encoder, texts, features())
    mean_D = torch.cat([found.of[text] for text in pool.texts[: pool.corpus]]).float().mean(0)

    def embed(asked: Sequence[str]) -> Tensor:
        return unit(torch.cat([found.of[text] for text in asked]).float() - mean_D)

    return embed
