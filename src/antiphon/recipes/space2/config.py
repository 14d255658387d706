"""Settings of the SPACE-2 recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.recipes.space2.measures import Asked
from antiphon.training.fit import Train


def dialogs(*sets: str, split_by: str | None = None) -> Pairs:
    """Turns of the source `dialogs`."""
    return Pairs(source="dialogs", options={"sets": list(sets)}, columns=("text",), split_by=split_by)


def intents(name: str, split: str = "train") -> Pairs:
    """Utterances of the source `intents`."""
    return Pairs(source="intents", options={"sets": [name], "split": split}, columns=("text",))


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = dialogs("sgd", split_by="domain")
    """Labelled turns. With split_by=domain, dev and test have domains and dialogs that training never sees; None takes
    `dialog`, where the rows have it."""
    more: tuple[Pairs, ...] = ()
    """More labelled turns, for training alone; of them, none of a domain that dev or test has, if split_by=domain."""
    unlabelled: tuple[Pairs, ...] = ()
    """Turns without labels, chosen in the same way."""
    domains: dict[str, tuple[str, ...]] = {}
    """Of intents, the domains that they may be of, for turns without one; if split_by=domain, turns with neither are
    left out."""
    tree: str | None = "tree"
    """The column with trees as JSON: [[domain, intent, slot, value], ...], null for none."""
    levels: dict[str, str] = {}
    """Columns of single names in place of trees: {"domain": "topic", "intent": "kind"}."""
    previous: str | None = "previous"
    """The column with the turn before."""
    at_most: PositiveInt | None = None
    """So many labelled turns, and so many unlabelled ones, drawn by the run's seed; None takes all."""
    before: NonNegativeInt = 6
    """How many of its last words are read."""
    most: PositiveInt = 18
    """How many words of the turn itself are read."""
    text: Tower = Tower(encoder="scratch-small-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2))
    dropout: Share = 0.2
    """On the vectors of words."""
    scores: Literal["views", "combined", "exact", "none", "shuffled", "labelled", "mlm", "random"] = "views"
    together: PositiveInt = 1
    """How many turns of one domain and slot come together in a batch; a step has batch_size times as many turns."""
    width: PositiveInt = 192
    projected: PositiveInt = 64
    """Width of each of the ten projections."""
    temperature: PositiveFloat = 0.07
    view_weights: dict[str, NonNegativeFloat] = {}
    """Of the views' losses, by view, 1 for those that are not named: {"I": 0} leaves out what "thank you" answers."""
    mlm: NonNegativeFloat = 0.1
    """Weight of the masked words' loss; 0 leaves them out."""
    masked: Share = 0.15
    """Share of the words that are masked in turns without values."""
    vocabulary: PositiveInt = 2000
    """Masked words are asked for where they are among so many most frequent ones."""
    asked: tuple[Asked, ...] = ()
    """Utterances with intents, never seen in training."""
    shots: tuple[PositiveInt, ...] = (5, 10)
    l2: PositiveFloat | None = 1e-4
    """Penalty of the logistic probe on the most of `shots`; None leaves it out."""
    turns: PositiveInt = 500
    """So many held-out turns of each split are compared with each other."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    tune: bool = False
    """Fine-tune the encoder with examples of each asked set, too."""
    examples: tuple[PositiveInt | Literal["all"], ...] = ("all",)
    """With how many of each intent, drawn by the run's seed; each number is a fine-tuning of its own."""
    tuning: Train = Train(steps=600, batch_size=128, lr=1e-3)
    """How."""
    agreement: NonNegativeFloat = 5.0
    """R-Drop: weight of the divergence of two passes in fine-tuning."""
    train: Train = Train()
