"""Settings of MultiCSR."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.generation.endpoint import Endpoint
from antiphon.generation.written import Writing
from antiphon.recipes.multicsr.triplets import (
    Curation,
    Source,
)
from antiphon.training.fit import Train

Share = Annotated[float, Field(gt=0, le=1)]


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="sentences", columns=("text",), limit=1000)
    words: tuple[PositiveInt, PositiveInt] = (6, 14)
    """Sentences with so many words are taken, from the least to the most; `quarantine.jsonl` names the others."""
    drawn: Share = 0.8
    """Of the sentences, drawn by the run's seed: so that seeds differ in their data too."""
    dev: tuple[Pairs, ...] = ()
    """Scored pairs to choose settings by."""
    asked: tuple[Pairs, ...] = ()
    """Scored pairs to be measured on; no sentence of theirs is trained on."""
    text: Tower = Tower(encoder="smollm2-135m-instruct", head=HeadConfig(norm="none", dropout=0.1))
    layers: PositiveInt | None = 12
    """`text.encoder` is a causal language model, of which so many layers are read; None: a text encoder, as it is."""
    locked: bool = True
    """Train a head alone, on vectors that are computed once; False trains the encoder too."""
    writer: str = "smollm2-135m-instruct"
    """A local causal language model, that writes and scores where there is no `endpoint`."""
    endpoint: Endpoint | None = None
    """A server in the writer's place."""
    writing: Writing = Writing()
    written: Source = "contrastive"
    """Stage 1: none is SimCSE, a sentence against itself under dropout; plain, by the instruction alone."""
    curated: Curation = "scored"
    """Stage 2; random keeps as many as scored would."""
    threshold: Literal["quantile", "official"] = "quantile"
    """Where scores are high and low enough: by `share`, or 3 and 3 as the released code has it."""
    share: Share = 0.7
    """quantile: of the scores that are high enough, and of those that are low enough; 0.7 and 0.7 leave two fifths."""
    most: Annotated[int, Field(ge=2)] | None = None
    """At most so many triplets, drawn by the seed from those kept: arms with as many differ in what they are alone."""
    masked: bool = True
    """Stage 3."""
    phi: float = 0.95
    """g's cosine above which a pair is masked."""
    loss: Literal["contrast", "official"] = "contrast"
    temperature: PositiveFloat = 0.05
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    start: Train = Train()
    """How g is trained."""
    train: Train = Train()
