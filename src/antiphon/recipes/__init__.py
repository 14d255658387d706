"""One readable file for each published method; a recipe is found by listing this folder.

A recipe has four names: `PAPER`, `Config`, `run(cfg, run) -> Measures`, `CLAIMS`; and three presets: `tiny()`,
`laptop()`, `paper()`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from antiphon.errors import UserError

WANTED = ("PAPER", "Config", "run", "CLAIMS", "tiny", "laptop", "paper")


def names() -> list[str]:
    """Every recipe's name, sorted; imports none of them."""
    return sorted(module.name for module in iter_modules(__path__))


def get(name: str) -> ModuleType:
    """A recipe's module.

    Raises:
        UserError: no such recipe, or one that lacks a name that every recipe has.
    """
    if name not in names():
        raise UserError(f"no recipe {name!r}: there are {', '.join(names())}")
    module = import_module(f"antiphon.recipes.{name}")
    lacking = [wanted for wanted in WANTED if not hasattr(module, wanted)]
    if lacking:
        raise UserError(f"recipe {name} lacks {', '.join(lacking)}: see CONTRIBUTING.md")
    return module
