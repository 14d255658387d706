"""Settings of the DebCSE recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.recipes.debcse.sampling import Negatives, Positives
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="sentences", columns=("text",), limit=5000)
    held: Share = 0.2
    """Share of the texts, the last ones, that biases are read on and nothing is trained on."""
    dev: tuple[Pairs, ...] = ()
    """Scored pairs to choose settings by."""
    asked: tuple[Pairs, ...] = ()
    """Scored pairs to be measured on; texts that they or those of dev have, in the same words, are not trained on."""
    intents: Pairs | None = None
    """Texts with classes, on which it is counted how often negatives and positives are of the text's own class."""
    classes: str = "intent"
    """Their column."""
    text: Tower = Tower(encoder="scratch-small-words", head=HeadConfig(norm="none", dropout=0.1))
    """Of its head only the dropout is taken: the vectors are the encoder's own."""
    dropout: Share = 0.1
    """On the vectors of words, of an encoder of whole words."""
    locked: bool = False
    """Train a map alone, on vectors that are computed once; False trains the encoder."""
    guide: str | None = "smollm2-135m-instruct"
    """g: a causal language model, as `generation.models` opens them; None: the encoder itself, after SimCSE."""
    layers: PositiveInt = 12
    """Of the guide, so many are read."""
    positives: Positives = "weighted"
    """Whom each text draws (`sampling.draws_of`); SimCSE has its copy."""
    negatives: Negatives = "weighted"
    """Which hard negatives it draws besides the batch's; SimCSE has none."""
    guard: bool = True
    """Leave out of the comparison what the guide finds as near as a positive."""
    prior: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Correct the loss for so large a share of negatives of the text's own class (Chuang et al., arXiv 2007.00224)."""
    near: PositiveInt = 16
    """Candidates of each kind."""
    hard: NonNegativeInt = 1
    """Hard negatives of a text."""
    alpha: Share = 0.995
    """The guide's cosine that a positive has at least, as a quantile of random pairs'."""
    beta: Share = 0.9
    """That which a hard negative has at most."""
    least: PositiveFloat = 0.05
    """Of a propensity."""
    cut: Share | None = 0.95
    """The quantile of the weights that the highest are cut at; None leaves them."""
    temperature: PositiveFloat = 0.05
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    watched: PositiveInt = 50
    """Steps between looks at whether training collapses; uniformity, alignment and rank are logged with the loss."""
    collapsed: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The mean cosine of different texts at which training ends with an error."""
    start: Train = Train()
    """How the guide is trained, where it is to be."""
    train: Train = Train()
