"""Settings of the ProtoCLIP recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Towers
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe; the first column is the image side of the paper, the second the text side."""

    data: Pairs = Pairs(source="clipart", columns=("image", "text"), options={"most": 3})
    pretrained: str | None = None
    """A CLIP checkpoint to start from, by hub id or folder, both towers whole; None takes `towers`."""
    towers: Towers = Towers()
    locked: tuple[str, ...] = ("image", "text")
    """Signals whose towers are frozen and their features computed once; the others are trained whole."""
    augment: bool = True
    """Train on changed pictures: of a locked tower on `views` cached looks beside the picture itself."""
    width: PositiveInt = 128
    hidden: PositiveInt = 256  # the paper's further heads: 2048, and 128 wide
    inner: PositiveInt = 64
    prototypes: Literal["translated", "own", "none"] = "translated"
    softness: NonNegativeFloat = 0.01
    """tau_y; 0 is one-hot."""
    teacher: str | None = None
    """A text encoder whose frozen vectors are clustered too (`L_ext`); None: no teacher."""
    teacher_width: PositiveInt = 64
    episode: PositiveInt | None = None
    """Rows of an episode; None takes all. The paper's: 200,000 of 2.5 million."""
    cluster: PositiveInt = 10
    """Rows a cluster has on average."""
    iterations: PositiveInt = 10  # the paper's k-means: 20, and 3 restarts
    warm: NonNegativeInt = 1
    """Episodes of contrast alone before the first clustering."""
    finish: NonNegativeInt = 2
    """Episodes at the end of contrast alone, the first column's branch at rest; counted in `train.steps`."""
    temperature: PositiveFloat = 0.07
    classes: str | None = "top"
    """A column of classes for the linear probe, the clusters' agreement and zero-shot names; None: none of these."""
    masked: bool = False
    """Words of the classes' names are taken out of all captions: many of the drawings' keywords name their folder."""
    least: PositiveInt = 20
    """Training rows that a class has at least; others are left out of these measures."""
    train: Train = Train()
