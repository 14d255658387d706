"""Settings of the CLIP-Refine recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Towers
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe: the rows and steps of both stages, and the two terms of the second."""

    before: Pairs = Pairs(source="clipart", columns=("image", "text"))
    """Rows that the start is trained on; what it knows of them is what refining may forget."""
    data: Pairs = Pairs(source="stamps", columns=("image", "text"))
    """Rows that it is refined on: few, and of another kind."""
    pretrained: str | None = None
    """A CLIP checkpoint to refine, by hub id or folder, both towers whole; None trains a start on `before`, of frozen
    towers and heads."""
    towers: Towers = Towers()
    width: PositiveInt = 128
    temperature: PositiveFloat = 0.07
    align: Literal["random", "zero", "pairs", "none"] = "random"
    alpha: Share = 0.5  # section 4.1 of the paper
    """Share of the one-hot label in the target; the rest is the teacher's."""
    warmth: PositiveFloat = 1.0
    """The temperature of refining, in units of the start's: what plain contrastive training forgets hangs on it."""
    classes: str | None = "top"
    """A column of class names for zero-shot classification by prompts; None where the rows have none."""
    start: Train = Train()
    """How the start is trained."""
    train: Train = Train()
    """How it is refined."""
