"""Settings of the audio-captioning recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Tower
from antiphon.generation.decoding import Decoding
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="events", columns=("audio", "text"), split_by="fold")
    """Sounds: those of training make the space, the others are captioned."""
    paired: Pairs = Pairs(source="captions", columns=("text",))
    """Captions that sounds of the same kind are paired with when the space is made."""
    captions: Pairs = Pairs(source="captions", columns=("text",))
    """Texts that the captioner is trained on, without any sound."""
    references: Pairs | None = Pairs(source="captions", columns=("text",), options={"sets": ["audiocaps_val"]})
    """Captions, by kind, that generated ones are compared with; None compares with each row's own text."""
    classes: str | None = "kind"
    """A column of all these rows; None where every sound has a text of its own in `data`, and pairs need no kinds."""
    checkpoint: str | None = None
    """A CLAP checkpoint by hub id or folder, whose space it is; None trains one, of `sound` and `text`."""
    sound: Tower | None = None
    """None: statistics of log-mel bands, a second each."""
    text: Tower = Tower(encoder="all-MiniLM-L6-v2", keep=1)
    width: PositiveInt = 384
    temperature: PositiveFloat = 0.07
    model: str = "smollm2-135m-instruct"
    layers: PositiveInt | None = None
    """Of the language model, from the first one on; None takes all."""
    soft: PositiveInt = 4
    augment: Literal["none", "noise", "replace", "mixed"] = "mixed"
    variance: NonNegativeFloat = 0.003  # dev; WSAC's .001 and CapDec's .016 are of spaces with another gap
    replace: Share = 0.5  # rho; unverified
    near: PositiveInt = 5
    """How many neighbours of a caption may stand in for it."""
    names: NonNegativeInt = 0
    """How many names the hard prompt holds; 0: no hard prompt."""
    spoiled: Share = 0.3
    """How often a name of a training prompt is another one."""
    learn_from: Literal["text", "sound"] = "text"
    """sound: a captioner with supervision, from vectors of training sounds and captions of their kind."""
    decoding: Decoding = Decoding(max_tokens=20)
    space: Train = Train()
    """How the space is trained."""
    start: Train | None = Train()
    """How the captioner is trained before the arms part; None: they part from the beginning."""
    train: Train = Train()
