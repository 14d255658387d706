"""Settings of the ALIP recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Tower, Towers
from antiphon.recipes.alip.gates import Gating
from antiphon.training.fit import Train

SIGNALS = ("image", "text")


class Config(Settings):
    """Settings of the recipe; rows have the columns `image` and `text`."""

    data: Pairs = Pairs(source="clipart", columns=SIGNALS, options={"most": 3})
    caption: str | None = None
    """A column of captions beside `text`; None has a tagger write them."""
    tags: str = "keywords"
    """A column of comma-separated words that the tagger learns."""
    tagger: Tower = Tower(encoder="efficientnet-lite0", keep=1)
    """The frozen encoder that the tagger stands on."""
    taught: Share = 0.3
    """Share of the training rows that the tagger learns from; ALIP does not see them."""
    noise: Share = 0.0
    """Share of the remaining rows whose texts are dealt out anew among them."""
    pretrained: str | None = None
    """A CLIP checkpoint to start from, by hub id or folder, both towers whole; None takes `towers`."""
    towers: Towers = Towers()
    locked: bool = True
    """Towers are frozen and their features computed once; False trains them whole."""
    width: PositiveInt = 128
    paths: Literal["both", "text", "caption"] = "both"
    gates: Gating = Gating()
    oracle: bool = False
    """Leave out the texts that are another row's, as only he can who dealt them: what gates could gain at best."""
    temperature: PositiveFloat = 0.07
    transfer: Pairs | None = Pairs(source="stamps", columns=SIGNALS)
    """Rows of another kind, for retrieval without training on them."""
    train: Train = Train()
