"""Settings of the X-CLIP recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.training.fit import Train

Share = Annotated[float, Field(ge=0, lt=1)]


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="moving", columns=("video",), split_by="picture")
    classes: str = "text"
    """The column of class names: they are the prompts."""
    reverse: str | None = "reverse"
    """The column of the class that the film would be backwards; it may be None in a row, or not be there."""
    captions: str = "name"
    """The column of what single frames show, for the start; that of the classes where there is no other: the start then
    sees the videos that training sees, and no others."""
    pretrained: str | None = None
    """A CLIP or X-CLIP checkpoint, by hub id or folder, trained whole; None trains a start over a frozen encoder."""
    image: Tower = Tower(encoder="efficientnet-lite0")
    """Frozen, of a frame; it has nothing to do where the column of videos holds vectors of frames."""
    text: Tower = Tower(encoder="all-MiniLM-L6-v2", head=HeadConfig(norm="none", map="pca"))
    """Frozen, head and all: principal components of the captions and class names; where these are fewer than `width`,
    `text.head.map=learned` is a random map that stays as it is."""
    frames: PositiveInt = 6
    pixels: PositiveInt = 96
    project: NonNegativeInt = 192
    """Numbers that are kept of each cell of the frozen encoder; 0 keeps all."""
    inner: PositiveInt = 128
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    width: PositiveInt = 128
    cross: bool = True
    integrate: NonNegativeInt = 1
    """Blocks over time; 0 is the mean of the frames."""
    prompts: NonNegativeInt = 2
    """Layers of the video-specific prompts; 0 leaves the texts as they are."""
    alpha: PositiveFloat = 0.1  # the official `load()`; the constructor's 1e-4 is not used there
    faster: PositiveFloat = 10.0
    """How many times the rate new parts have."""
    smoothing: Share = 0.1
    temperature: PositiveFloat = 0.02
    held_out: Share = 0.2
    """Share of the classes that no training video shows, of those whose every word others have."""
    novel: str | None = None
    """A column that says of each row whether its class is `base` or `novel`: the latter are held out, and no others."""
    shots: PositiveInt | None = None
    """Training videos of a class; None takes all."""
    one_frame: bool = False
    """One frame of each video is looked at, drawn by chance (in training anew each time)."""
    classifier: Literal["texts", "regression"] = "texts"
    """`regression` is no X-CLIP, but a reference: logistic regression on the mean of the frozen encoder's vectors."""
    start: Train = Train()
    """How the start is trained."""
    train: Train = Train()
