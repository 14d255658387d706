"""Settings of CCP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.recipes.ccp.guards import Norm
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="documents", columns=("text",))
    """`split_by` may be left out: rows are split by `document`, and another column must keep documents whole too."""
    document: str = "document"
    """The column that names each row's document; its rows stand in the order of the text."""
    language: str | None = "language"
    """The column of languages; None where there is one only."""
    line: str | None = "line"
    """The column whose values translations share; for the measures alone. None where there are no translations."""
    pivot: str = "eng"
    """The language that translations are measured to and from."""
    outside: Pairs | None = Pairs(
        source="tatoeba", options={"languages": ["fra", "spa", "deu", "ukr"]}, columns=("text",)
    )
    """Translated sentences of another kind, in columns `text_xxx`, to be measured on; None for none."""
    disjoint: bool = True
    """Each document of training in one language only: no bilingual data, not even comparable texts."""
    order: Literal["document", "shuffled"] = "document"
    """shuffled: the control; a language's sentences change places with each other, and context tells nothing."""
    window: PositiveInt = 2
    """w: how many places away, to either side, the other sentence of a pair may stand."""
    text: Tower = Tower(encoder="scratch-small-ngrams", head=HeadConfig(norm="layer", hidden=256))
    width: PositiveInt = 256
    norm: Norm = "asymmetric"
    """Of the projection: asymmetric, symmetric (queries and keys by their own batch), layer, or none."""
    bank: Literal["language", "shared", "batch"] = "language"
    """Negatives: a bank for each language, one bank for all, or the batch's other keys of the query's language."""
    bank_size: PositiveInt = 512
    """Keys that a bank holds of each language; best fewer than it has sentences, so that none is there twice."""
    together: bool = False
    """Batches of few documents with many pairs of each, which is where leakage shows; see train.bucket."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Of the key encoder, a slow copy of the query encoder, so that a bank's keys are of one kind; 0: keys come from
    the query encoder itself, with gradients."""
    temperature: PositiveFloat = 0.07
    mlm: NonNegativeFloat = 0.0
    """Weight of the masked words' loss: for encoders of `transformers` that know a masked word (BERT, XLM-R)."""
    masked: Share = 0.15
    """Of a sentence's tokens, how many are hidden."""
    balance: Annotated[NonNegativeFloat, Field(le=1)] = 0.5
    """a: languages are drawn by n^a, n being their sentences."""
    calibration: Literal["none", "centre", "scale", "whiten", "rotate"] = "none"
    """Under which translations are measured; every kind is told beside it."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    train: Train = Train()
