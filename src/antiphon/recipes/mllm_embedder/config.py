"""Settings of the Gen2Embed recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from antiphon.config import Config as Settings
from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.towers import Tower
from antiphon.evaluation.sts import scored_pairs
from antiphon.recipes.mllm_embedder.pictures import Shown
from antiphon.recipes.mllm_embedder.prompts import WORDINGS, Level
from antiphon.training.fit import Train


class Config(Settings):
    """Settings of the recipe."""

    data: Pairs = Pairs(source="clipart", columns=("title", "keywords"))
    """Pairs of a query and its document, for the training."""
    least: float | None = None
    """Of scored rows: those of a lower score are no pairs."""
    most: PositiveInt | None = 1000
    """At most so many pairs, drawn the same way in every run."""
    dev: tuple[Pairs, ...] = (scored_pairs("stsb", "dev", 300),)
    """Scored pairs to choose settings by."""
    test: tuple[Pairs, ...] = (scored_pairs("sts2013", "test"), scored_pairs("sickr", "train"))
    """Scored pairs to be measured on."""
    intents: Pairs | None = Pairs(source="intents", columns=("text",), limit=2000)
    """Texts with the column `intent`, to find another one of the same, and to count false negatives on."""
    classes: str = "intent"
    """The column of their class."""
    each: PositiveInt = 10
    """So many texts of a class; classes of fewer are left out."""
    scored: PositiveInt | None = None
    """At most so many pairs of a scored set, drawn the same way in every run."""
    drawn: bool = False
    """Scored pairs and queries of intents are drawn with replacement by the run's seed, so that seeds tell how far
    numbers hang on them."""
    text: Tower = Tower(encoder="smollm2-135m-instruct", head=HeadConfig(norm="standard", dropout=0.1))
    """`text.encoder` is a causal language model, or one of texts and images, by a wheel's name, hub id or folder."""
    prompt: Level = "both"
    wording: Annotated[int, Field(ge=0, lt=WORDINGS)] | None = 0
    """Which of three wordings the prompt has; None: the run's seed picks."""
    chat: bool = True
    """By the model's chat template; False is for a model without one."""
    instruction: bool = True
    """Whether the user's level begins with the task, as the paper's do; False leaves the closing line alone."""
    negatives: Literal["off", "batch", "top", "skip", "unsorted", "saha"] = "saha"
    """How clusters are mined (`saha.py`); off: nothing is trained."""
    labelled: bool = False
    """Documents are names of classes: SaHa leaves out its sort, as the released code does for such sets."""
    hard: PositiveInt = 7
    """K: so many pairs beside each anchor (the paper: 15)."""
    pool: PositiveInt = 3
    """M: so many times K owners are looked at."""
    temperature: PositiveFloat = 0.05
    """The paper: 0.02."""
    half: bool = False
    """The model's weights are bfloat16 (locked=true)."""
    locked: bool = True
    """Train a map behind vectors that are computed once; False trains the model too."""
    rank: PositiveInt | None = None
    """With locked=false: low-rank maps in all layers learn in the place of the model; None trains it whole."""
    alpha: PositiveFloat = 64.0
    """Times 1 / rank, the weight of those maps."""
    dora: bool = False
    """Those maps turn weights whose sizes learn apart (DoRA)."""
    image: Tower = Tower(encoder="efficientnet-lite0")
    """With pictures: the frozen encoder whose map the connector reads."""
    side: PositiveInt = 2
    """That map is pooled to so many cells a side, each of which becomes a soft token."""
    hidden: PositiveInt = 512
    """Of the connector's layer between."""
    shown: Shown = "auto"
    """How pictures are read (`pictures.py`): its controls need no connector, or no language model."""
    square: PositiveInt = 448
    """A model that reads pictures itself is shown squares of so many pixels a side."""
    start: Train = Train(steps=40, batch_size=16, lr=3e-4, save_every=1000)
    """How the connector is trained, once for all arms and seeds."""
    reference: str | None = None
    """A published text encoder to measure beside, by name: an upper reference, not a floor."""
    kept: bool = True
    """Save the space; it holds the whole language model."""
    train: Train = Train()
    """`batch_size` counts clusters, each of 1 + `hard` pairs."""
