"""One file, one source: each has `load(...)` and gives a Hugging Face `Dataset` of rows, sorted by `id`.

A source is found by listing this folder. Its module says what it is (`DESCRIPTION`) and may be used for
(`LICENCE`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.errors import UserError


def names() -> list[str]:
    """The sources there are, sorted."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def load(name: str, **options: Any) -> Dataset:
    """The rows of a source.

    Args:
        name: one of `names()`.
        options: what that source's own `load` takes.

    Raises:
        UserError: no such source, or an option that it does not have.
    """
    if name not in names():
        raise UserError(f"no source {name!r}: there are {', '.join(names())}")
    loader = import_module(f"antiphon.data.sources.{name}").load
    known = inspect.signature(loader).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"source {name} has no option {', '.join(unknown)}: it has {', '.join(known)}")
    key = f"{name} {json.dumps(options, sort_keys=True, default=str)}"
    if _kept is not None and key in _kept:
        return _kept[key]
    rows: Dataset = loader(**options)
    if _kept is not None:
        _kept[key] = rows
    return rows


_kept: dict[str, Dataset] | None = None


@contextmanager
def kept() -> Iterator[None]:
    """Within, a source is read once for the same options, for work that asks for the same rows again and again."""
    global _kept
    before, _kept = _kept, {} if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before
