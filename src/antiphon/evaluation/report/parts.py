"""What a report shows, as plain data. Shares are in [0, 1]; texts are shown as they are, whatever they hold."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["picture", "caption", "recording"]


@dataclass(frozen=True)
class Media:
    """A small picture or recording that the page carries in itself.

    Args:
        mime: as `image/jpeg` or `audio/ogg`.
        content: the bytes of the file.
    """

    mime: str
    content: bytes

    @property
    def uri(self) -> str:
        """The file as a `data:` address."""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode('ascii')}"


@dataclass(frozen=True)
class Figure:
    """A key number: a share, and what chance gives."""

    name: str
    value: float
    chance: float


@dataclass(frozen=True)
class Curve:
    """A measure over training steps; both lists have one length."""

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class Panel:
    """Curves that share their axes."""

    title: str
    curves: list[Curve]


@dataclass(frozen=True)
class Direction:
    """How well queries of one column find the right keys of another.

    Args:
        name: as `speech → text`.
        recall: k to the share of queries whose right key is among the first k, rising with k.
        chance: the same for a random order.
        median_rank: from 1 to `keys`.
        queries: how many.
        keys: how many.
    """

    name: str
    recall: dict[int, float]
    chance: dict[int, float]
    median_rank: float
    queries: int
    keys: int


@dataclass(frozen=True)
class Group:
    """Directions that stand under one heading."""

    title: str
    directions: list[Direction]


@dataclass(frozen=True)
class Grid:
    """A measure for every pair of a row and a column; None where the two are the same or were not measured."""

    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    note: str


@dataclass(frozen=True)
class Classes:
    """Classification without labels, and the floors to read it by."""

    name: str
    accuracy: float
    balanced: float
    chance: float
    majority: float
    queries: int


@dataclass(frozen=True)
class Mark:
    """An item on the map, at (x, y) in any unit; pictures show themselves where `picture` is given."""

    x: float
    y: float
    kind: Kind
    group: str
    title: str
    picture: Media | None = None


@dataclass(frozen=True)
class Plane:
    """The map; `note` says how it was made and what was left out."""

    marks: list[Mark]
    note: str


@dataclass(frozen=True)
class Item:
    """One thing to look at, read or hear.

    Args:
        text: a caption, or what the picture or recording is of.
        picture: shown above the text.
        sound: a player.
        note: a small line, as the language or what is missing.
    """

    text: str
    picture: Media | None = None
    sound: Media | None = None
    note: str = ""


@dataclass(frozen=True)
class Answer:
    """A key at its rank, from 1, with its score; `right` if it belongs to the query."""

    item: Item
    rank: int
    score: float
    right: bool


@dataclass(frozen=True)
class Query:
    """A query and its first answers.

    Args:
        title: as `text → image`.
        asked: what was asked with.
        answers: the first ones, best first.
        rank: of the best right answer.
        keys: how many there were to choose from.
        missed: the best right answer, where it is not among the first.
    """

    title: str
    asked: Item
    answers: list[Answer]
    rank: int
    keys: int
    missed: Answer | None = None


@dataclass(frozen=True)
class Fact:
    """A line of small print."""

    name: str
    value: str


@dataclass(frozen=True)
class Report:
    """All of a page, in its order. An empty part is left out of the page."""

    title: str
    summary: list[str]
    figures: list[Figure] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    reverse: list[Group] = field(default_factory=list)
    grid: Grid | None = None
    classes: list[Classes] = field(default_factory=list)
    plane: Plane | None = None
    gallery: list[Query] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    settings: str = ""
    credits: str = ""
