"""Settings of the TeminAL recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Tower
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="events", columns=("audio",), split_by="fold")
    """Clips of single events; `split_by` keeps takes of one recording together."""
    classes: str = "kind"
    """The column that says what a clip is: captions are made of it."""
    text: Tower = Tower(encoder="all-MiniLM-L6-v2")
    """Frozen; read token by token, for a sentence's own vector forgets which kind comes first."""
    checkpoint: str | None = None
    """A CLAP checkpoint, by hub id or folder, whose two towers are post-trained; None trains a start here."""
    stages: Literal["none", "singles", "a", "b", "ab", "joint"] = "ab"
    """What follows the start: `singles` goes on with the start's own loss, `joint` takes A's and B's in every step."""
    alpha_same: NonNegativeFloat = 1.0  # 1 in the source's code, as alpha_cross and beta
    alpha_cross: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 1.0
    gamma: NonNegativeFloat = 1.0
    held_out: Share = 0.2
    """Share of the pairs of kinds that no training sentence joins."""
    made: PositiveInt = 400
    """How many pairs of clips are drawn for training."""
    asked: PositiveInt = 80
    """How many pairs of clips the ZSTE questions are asked about."""
    seconds: PositiveFloat = 3.0
    """Of each event in a recording of two."""
    chunk: PositiveFloat = 1.0
    """Seconds of sound in one token."""
    inner: PositiveInt = 192
    width: PositiveInt = 128
    temperature: PositiveFloat = 0.07
    start: Train = Train()
    """How the start is trained."""
    train: Train = Train()
    """How it is post-trained; of `steps`, A has the first third where both stages follow each other."""
