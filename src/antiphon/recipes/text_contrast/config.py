"""Settings of the text-contrast recipe: the cell of the taxonomy, and what it is studied on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from antiphon.config import Config as Settings
from antiphon.config import Share
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.evaluation.sts import scored_pairs
from antiphon.training.fit import Train

View = Literal["none", "deletion", "span", "reorder", "repetition", "crop", "typos", "synonyms"]


class Config(Settings):
    """Settings of the recipe."""

    study: Literal["classes", "tail", "keys", "views", "spans"] = "classes"
    """What the run is about: classes that training never saw; labels of a long tail, many to a text; how many keys a
    loss gains from; what views do to sentences; or spans of long documents."""
    data: Pairs = Pairs(source="intents", columns=("text",), split_by="intent")
    classes: str | None = "words"
    """The column with each row's class as a phrase, for `class`, `label` and the measures; None where there is none."""
    text: Tower = Tower(encoder="scratch-small-words", head=HeadConfig(pooling="attention", norm="none"))
    pairing: Literal["texts", "pair", "class", "label", "words", "tokens", "none"] = "words"
    """none: nothing is trained, the random encoder is measured."""
    view: View = "deletion"
    """What is done to each text anew whenever it is read; `none` leaves dropout alone to make two views differ.
    `synonyms` are WordNet's (the Debian package wordnet-base)."""
    rate: Share = 0.2
    """How far: the chance or share of words. Under pairing=words deletion hides the word that is asked for as often."""
    negatives: Literal["batch", "hard", "queue", "drawn"] = "batch"
    hard: PositiveInt = 8
    """How many keys of the batch each text is compared with under negatives=hard: those that score highest."""
    queue: PositiveInt = 1024
    """How many keys of earlier batches there are under negatives=queue."""
    drawn: PositiveInt = 64
    """K: how many keys of the batch, by chance, each text is compared with under negatives=drawn."""
    loss: Literal["ranking", "binary", "triplet"] = "ranking"
    corrected: bool = False
    """Take log(K p) off the scores, p being how often the key is one among all (pairings label and words); under
    pairing=tokens the logarithm of the odds that a word is noise (ELECTRIC)."""
    labels: PositiveInt = 3
    """Under pairing=words: how many of its words a text is asked for at once."""
    common: NonNegativeInt = 50
    """So many of the most frequent words are never asked for: they tell nothing."""
    replaced: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the words that pairing=tokens replaces, by words drawn as often as they occur."""
    answers: Literal["words", "numbers"] = "words"
    """study=tail: a label is its words, read by the encoder as a text is; or a number, an output of its own."""
    least: PositiveInt = 3
    """study=tail: labels that fewer training texts have are left out."""
    start: NonNegativeInt = 0
    """study=tail: so many steps of pairing=words on the training texts come first; train.steps follow."""
    counts: tuple[PositiveInt, ...] = (1, 4, 16, 64, 255)
    """study=keys: the K that are tried, from the least to the most."""
    rates: tuple[Share, ...] = (0.05, 0.2, 0.4)
    """study=views: how far each view is taken; `view` and `rate` name the one that the run tells of."""
    swept: tuple[View, ...] = ("deletion", "span", "reorder", "repetition", "crop", "typos")
    """study=views: the views that are tried."""
    opposed: bool = False
    """study=views: count words with an antonym too, by WordNet (the Debian package wordnet-base)."""
    dev: tuple[Pairs, ...] = (scored_pairs("stsb", "dev"),)
    """study=views: scored pairs to choose settings by."""
    asked: tuple[Pairs, ...] = (scored_pairs("sickr", "train", 1500), scored_pairs("sts2013", "test"))
    """study=views: scored pairs to be measured on; no sentence of theirs is trained on."""
    looked_at: PositiveInt = 60
    """study=views: so many sentences of the scored pairs are changed, and compared by the reference."""
    near: Literal["own", "other", "none"] = "own"
    """study=spans: whether an anchor's positives come from its own document, or from another, by chance (a control);
    none: nothing is trained."""
    anchors: PositiveInt = 2
    """study=spans: A, anchors of a document."""
    positives: PositiveInt = 2
    """study=spans: P, positives of an anchor."""
    shortest: PositiveInt = 8
    longest: PositiveInt = 48
    """study=spans: words of the shortest and the longest span; documents of fewer than 2 A longest are left out."""
    mlm: NonNegativeFloat = 0.0
    """study=spans: the weight of the masked words of anchors."""
    masked: Share = 0.15
    """study=spans: the share of an anchor's words that are masked, where mlm is not 0."""
    vocabulary: PositiveInt = 2000
    """study=spans: so many of the most frequent words are asked for where they are masked."""
    probes: tuple[Pairs, Pairs] | None = (
        Pairs(source="intents", columns=("text",), options={"sets": ["clinc150"], "split": "val"}),
        Pairs(source="intents", columns=("text",), options={"sets": ["banking77"]}),
    )
    """study=spans: texts with classes, of which a few examples are given: of dev, and of test; or None."""
    probed: str = "intent"
    """study=spans: their column of classes."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    width: PositiveInt = 128
    temperature: PositiveFloat = 0.07
    train: Train = Train()

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Config:
        if self.pairing == "tokens":
            self._only("pairing=tokens has a loss of its own", "negatives", "loss")
        elif self.pairing not in ("label", "words"):
            self._only(f"pairing={self.pairing} does not know how often a key comes", "corrected")
        if self.study == "tail":
            self._only("study=tail compares a text with all labels", "pairing", "negatives", "corrected")
        if self.study == "spans":
            self._only("study=spans has a loss of its own", "pairing", "negatives", "loss", "corrected")
        return self

    def _only(self, why: str, *fields: str) -> None:
        for field in fields:
            value, usual = getattr(self, field), type(self).model_fields[field].default
            if value != usual:
                raise ValueError(f"{why}: leave {field}={value} out")
