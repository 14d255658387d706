"""Which rows a recipe trains on: a source, its columns, and the key that no two splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from datasets import Dataset

from antiphon.config import Config
from antiphon.data import sources
from antiphon.data.splits import split_by
from antiphon.errors import UserError


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
    split_by: str | None = None
    """Rows that agree in this column are in one split and are positives of each other: else copies leak from train to
    test. None takes the first of `concept`, `text`, `id` that the source has."""
    limit: int | None = None
    """At most this many rows, for a quick look."""
    anew: ClassVar[Mapping[str, tuple[str, ...]]] = {"source": ("options", "split_by", "limit")}


def load(cfg: Pairs) -> Dataset:
    """All rows of the source.

    Raises:
        UserError: a column that the source has not, or no rows.
    """
    rows = sources.load(cfg.source, **cfg.options)
    expand(cfg.columns, rows.column_names)
    return rows if cfg.limit is None else rows.select(range(min(cfg.limit, len(rows))))


def splits(cfg: Pairs, seed: int) -> dict[str, Dataset]:
    """The source's rows in train, dev and test, by the run's seed, with an integer column `label`.

    Rows that agree in the column `cfg.split_by` have the same label.

    Raises:
        UserError: a column that the source has not.
    """
    rows = load(cfg)
    key = cfg.split_by or next((name for name in ("concept", "text", "id") if name in rows.column_names), "")
    if key not in rows.column_names:
        raise UserError(f"data.split_by={cfg.split_by}: {cfg.source} has columns {', '.join(rows.column_names)}")
    return split_by(_labelled(rows, key), key, seed=seed)


def columns_there(names: Sequence[str], **fields: str | None) -> None:
    """Look whether columns that settings name are there: `columns_there(rows.column_names, classes=cfg.classes)`.

    Raises:
        UserError: one is not; None is no column, and right.
    """
    for field, column in fields.items():
        if column is not None and column not in names:
            raise UserError(f"{field}={column}: no such column, the rows have {', '.join(names)}")


def directions(columns: list[str]) -> list[tuple[str, str]]:
    """Every ordered pair of columns."""
    return [(source, target) for source in columns for target in columns if source != target]


def expand(columns: tuple[str, ...], present: list[str]) -> list[str]:
    """The source's own names for the wanted columns: "speech" stands for every `speech_xx`.

    Raises:
        UserError: nothing of a wanted name.
    """
    names = []
    for column in columns:
        found = [column] if column in present else [name for name in present if name.startswith(f"{column}_")]
        if not found:
            raise UserError(f"no column {column!r} in these rows: they have {', '.join(present)}")
        names += found
    return names


def signal_of(column: str) -> str:
    """The signal that a column holds: `speech_fr` holds speech; `sound` is an audio column."""
    signal = column.split("_", 1)[0]
    return {"sound": "audio"}.get(signal, signal)


def _labelled(rows: Dataset, key: str) -> Dataset:
    values = list(rows[key])
    numbers = {value: number for number, value in enumerate(sorted(set(values)))}
    rows = rows.remove_columns("label") if "label" in rows.column_names else rows
    return rows.add_column("label", [numbers[value] for value in values])
