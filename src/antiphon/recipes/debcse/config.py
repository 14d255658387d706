"""Settings of the DebCSE recipe."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.evaluation.sts import scored_pairs
from antiphon.recipes.debcse.sampling import Rule
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="sentences", columns=("text",), limit=4000)
    dev: tuple[Pairs, ...] = (scored_pairs("stsb", "dev"),)
    """Scored pairs to choose settings by."""
    asked: tuple[Pairs, ...] = (
        scored_pairs("sts2012", "test"),
        scored_pairs("sts2013", "test"),
        scored_pairs("sts2014", "test"),
        scored_pairs("sickr", "train"),
    )
    """Scored pairs to be measured on; nothing is trained on them."""
    intents: Pairs | None = Pairs(source="intents", columns=("text",), limit=2000)
    """Texts with the column `intent`, on which false negatives are counted."""
    text: Tower = Tower(encoder="scratch-small-words", head=HeadConfig(norm="none", dropout=0.1))
    """Of its head only the dropout is taken: the vectors are the encoder's own."""
    locked: bool = False
    """Train a map alone, on vectors that are computed once; False trains the encoder."""
    guide: str | None = "smollm2-135m-instruct"
    """g: a causal language model, as `generation.models` opens them; None: the encoder itself, after SimCSE."""
    layers: PositiveInt = 12
    """Of the guide, so many are read."""
    rule: Rule = "weighted"
    """Whom each text draws (`sampling.draws_of`); dropout is SimCSE, which knows no guard."""
    guard: bool = True
    """Leave out of the comparison what the guide finds as near as a positive."""
    near: PositiveInt = 16
    """Candidates of each kind."""
    hard: NonNegativeInt = 1
    """Hard negatives of a text, where the rule has any."""
    alpha: Share = 0.995
    """The guide's cosine that a positive has at least, as a quantile of random pairs'."""
    beta: Share = 0.9
    """That which a hard negative has at most."""
    least: PositiveFloat = 0.05
    """Of a propensity."""
    temperature: PositiveFloat = 0.05
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    start: Train = Train()
    """How the guide is trained, where it is to be."""
    train: Train = Train()
