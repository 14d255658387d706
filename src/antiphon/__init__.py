"""antiphon: encoders of different signals, trained to answer each other in one shared space.

Importing this package imports no torch: each public name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.config import Config as Config
    from antiphon.runs import Run as Run

__version__ = "0.1.0"

_HOMES = {
    "Config": "antiphon.config",
    "Run": "antiphon.runs",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
