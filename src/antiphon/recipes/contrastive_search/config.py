"""Settings of the contrastive-search recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs
from antiphon.generation.decoding import Decoding, Method
from antiphon.training.fit import Train


class Scratch(Settings):
    """A small model with tokens of its own, for `model=scratch`."""

    vocabulary: PositiveInt = 2048
    layers: PositiveInt = 4
    width: PositiveInt = 192
    heads: PositiveInt = 4


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="prose", columns=("text",), split_by="id")
    model: str = "scratch"
    """scratch: a new one as below; or any hub id, folder, or name that `generation.models` knows."""
    scratch: Scratch = Scratch()
    rho: Annotated[float, Field(ge=0, le=2)] = 0.5
    """SimCTG's margin; 0 is plain training."""
    window: Annotated[int, Field(ge=2)] = 64
    """Tokens of a training row."""
    start: Train | None = None
    """Plain training that all arms and seeds go on from; None: they go on from the model as it is opened."""
    tuned: PositiveInt | None = None
    """`train` moves so many last layers, and nothing else; None: everything."""
    train: Train | None = Train()
    """Training with rho; None: the model is measured as it is."""
    decoding: Decoding = Decoding(method="contrastive", candidates=5, penalty=0.6, max_tokens=48)
    compared: tuple[Method, ...] = ()
    """Other ways to continue that are measured beside, at the same settings."""
    typical: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The mass of typical sampling, in the place of `decoding.mass`: at 0.95 it is nucleus sampling but for a hair."""
    prefix: PositiveInt = 24
    """Words of a beginning."""
    passages: Annotated[int, Field(ge=2)] = 16
    """How many beginnings, drawn by the seed."""
    joined: bool = False
    """Held-out texts are read one behind the other too, where each of them is too short for a passage."""
    judge: str | None = None
    """What measures coherence, by name; None: the model itself, which favours its own likeliest texts."""
    embedder: str | None = None
    """A text encoder for mauve-lite, by name."""
    split: Annotated[str, Field(pattern="^(dev|test)$")] = "test"
    """What is measured on: dev to look around, test to claim."""
    languages: tuple[str, ...] = ()
    """Codes of the source `tatoeba`: on 24 sentences of each, isotropy is measured too."""
