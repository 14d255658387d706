"""antiphon: encoders of different signals, trained to answer each other in one shared space.

Importing this package imports no torch: each public name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.config import Config as Config
    from antiphon.encoders import Encoder as Encoder
    from antiphon.encoders.heads import Head as Head
    from antiphon.encoders.open import open_encoder as open_encoder
    from antiphon.encoders.space import Branch as Branch
    from antiphon.encoders.space import Space as Space
    from antiphon.evaluation.claims import Arm as Arm
    from antiphon.evaluation.claims import Claim as Claim
    from antiphon.objectives.contrast import Scale as Scale
    from antiphon.objectives.contrast import contrast as contrast
    from antiphon.objectives.contrast import symmetric_contrast as symmetric_contrast
    from antiphon.runs import Run as Run
    from antiphon.search.index import Index as Index
    from antiphon.training.fit import Train as Train
    from antiphon.training.fit import fit as fit
    from antiphon.training.learner import ContrastiveLearner as ContrastiveLearner
    from antiphon.training.learner import Learner as Learner
    from antiphon.types import Encoded as Encoded
    from antiphon.types import Padded as Padded

__version__ = "0.1.0"

_HOMES = {
    "Arm": "evaluation.claims",
    "Branch": "encoders.space",
    "Claim": "evaluation.claims",
    "Config": "config",
    "ContrastiveLearner": "training.learner",
    "Encoded": "types",
    "Encoder": "encoders",
    "Head": "encoders.heads",
    "Index": "search.index",
    "Learner": "training.learner",
    "Padded": "types",
    "Run": "runs",
    "Scale": "objectives.contrast",
    "Space": "encoders.space",
    "Train": "training.fit",
    "contrast": "objectives.contrast",
    "fit": "training.fit",
    "open_encoder": "encoders.open",
    "symmetric_contrast": "objectives.contrast",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    return getattr(import_module(f"antiphon.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
