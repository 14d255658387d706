"""`Train`: how parameters move, as settings of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from antiphon.config import Config
from antiphon.training.schedule import Shape

Decay = Annotated[float, Field(gt=0, lt=1)]


class Train(Config):
    """How parameters move."""

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 128
    """Rows of a step, over all processes."""
    bucket: NonNegativeInt = 50
    """Where the rows' sizes are known: so many batches' worth of shuffled rows are sorted by size before they are cut,
    which saves padding; 0 leaves them as they are."""
    microbatch: PositiveInt | None = None
    """Rows embedded at a time, with GradCache; None embeds the batch at once."""
    lr: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.01
    """On matrices only: not on biases, norms and scalars."""
    warmup: float = 0.05
    """Share of the steps."""
    schedule: Shape = "cosine"
    clip_norm: PositiveFloat | None = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    workers: NonNegativeInt = 0
    log_every: PositiveInt = 10
    save_every: PositiveInt = 500
    keep: PositiveInt = 2
    """Newest checkpoints kept; the best-scored one is kept beside them."""
    patience: PositiveInt = 5
    """Steps in a row whose gradient is not finite (each is skipped and reported) before the run stops."""
    quarantine_share: float = 0.05
    """The run stops when more than this share of the items seen could not be decoded."""
    worker_timeout: NonNegativeFloat = 600
    """Seconds that a data worker may take for a batch before the run stops; 0 waits for ever."""
    ema: Decay | None = None
    """Decay of an exponential moving average of the trained parameters, such as 0.999; None keeps none."""
    score_every: PositiveInt = 500
    """Steps between scores, where `fit` is given one; the end is scored too."""
