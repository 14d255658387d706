"""Settings of the CoLLAP recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Tower
from antiphon.recipes.collap.rows import Scenes
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="events", columns=("audio",), split_by="fold", options={"folds": 5})
    """Clips to compose recordings of; or, without `scenes`, long recordings and their texts."""
    scenes: Scenes | None = Scenes()
    """How recordings are composed; None where the rows have long recordings and texts themselves."""
    classes: str = "kind"
    """The column that says what a clip is: texts are made of it."""
    sound: tuple[Tower, ...] = ()
    """Frozen encoders of a clip, side by side; none is log-mel statistics of its seconds, averaged."""
    text: Tower = Tower(encoder="all-MiniLM-L6-v2")
    """Frozen, of a sentence."""
    seconds: PositiveFloat = 5.0
    """Of a clip."""
    heard: PositiveInt | None = None
    """Only so many clips from the start are heard: the baselines of a short window. The text stays whole."""
    reading: Literal["first", "last"] = "first"
    """How the sentences are joined: RoBERTa's way, or GPT-2's."""
    attention: Literal["none", "text", "both"] = "both"
    fusion: Literal["vector", "score"] = "vector"
    sharpness: PositiveFloat = 0.1  # y at the start; unverified
    temperature: PositiveFloat = 0.07
    hidden: PositiveInt = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On parts' vectors and the hidden layer."""
    width: PositiveInt = 96
    train: Train = Train()
