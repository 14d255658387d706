"""Which rows a recipe trains on: a source, its columns, and the key that no two splits share."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from antiphon.config import Config
from antiphon.data import sources
from antiphon.data.splits import split_by


class Pairs(Config):
    """Rows with columns that belong together.

    A column is named by its signal, or by the signal and a variant: `speech_fr` and `speech_es` are columns of speech.
    `columns=("speech",)` takes every such column that the source has.
    """

    source: str = "stamps"
    """A file of `antiphon.data.sources`: `antiphon data list` shows them."""
    options: dict[str, Any] = {}
    """What that source's `load` takes: `data.options.folder=my/files`."""
    columns: tuple[str, ...] = ("image", "text")
    split_by: str = "text"
    """Rows that agree in this column are in one split: else copies leak from train to test."""
    limit: int | None = None
    """At most this many rows, for a quick look."""


class Splits(dict[str, Dataset]):
    """Datasets by split name: train, dev, test."""


def load(cfg: Pairs) -> Dataset:
    """All rows of the source.

    Raises:
        ValueError: a column that the source has not, or no rows.
    """
    rows = sources.load(cfg.source, **cfg.options)
    if cfg.split_by not in rows.column_names:
        raise ValueError(
            f"data.split_by={cfg.split_by}: {cfg.source} has columns {', '.join(rows.column_names)}"
        )
    expand(cfg.columns, rows.column_names)
    return rows if cfg.limit is None else rows.select(range(min(cfg.limit, len(rows))))


def splits(cfg: Pairs, seed: int) -> Splits:
    """The source's rows in train, dev and test, by the run's seed."""
    return Splits(split_by(load(cfg), cfg.split_by, seed=seed))


def expand(columns: tuple[str, ...], present: list[str]) -> list[str]:
    """The source's own names for the wanted columns: "speech" stands for every `speech_xx`.

    Raises:
        ValueError: nothing of a wanted name.
    """
    names = []
    for column in columns:
        found = [column] if column in present else [name for name in present if name.startswith(f"{column}_")]
        if not found:
            raise ValueError(f"no column {column!r} in these rows: they have {', '.join(present)}")
        names += found
    return names


def signal_of(column: str) -> str:
    """The signal that a column holds: `speech_fr` holds speech; `sound` is an audio column."""
    signal = column.split("_", 1)[0]
    return {"sound": "audio"}.get(signal, signal)
