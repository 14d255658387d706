"""Rows made ready for towers that train: pictures decoded once, recordings measured by their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from antiphon.data.pairs import signal_of
from antiphon.decode import BadInput, decode_image
from antiphon.decode.probing import cached_seconds
from antiphon.progress import bar
from antiphon.runs import Run

Rows = dict[str, Sequence[dict[str, Any]]]
"""Rows of every split, as lists of dicts that can be changed."""

PIXELS = 256
"""Longer side of pictures that are kept decoded."""


def opened(data: Mapping[str, Dataset], columns: Sequence[str], run: Run) -> Rows:
    """The rows with their pictures decoded, to `PIXELS` a side at most; other items are read when they are used.

    A picture that cannot be used becomes None, and is noted in the run's quarantine list.

    Args:
        data: rows by split, each with `id` and `label`.
        columns: those to keep.
        run: where the quarantine list is.
    """
    rows: Rows = {name: list(part.select_columns(["id", "label", *columns])) for name, part in data.items()}
    pictures = [column for column in columns if signal_of(column) == "image"]
    with bar("opening pictures", sum(map(len, rows.values())) * len(pictures)) as advance:
        for row, column in [(row, column) for part in rows.values() for row in part for column in pictures]:
            try:
                row[column] = row[column] and decode_image(row[column], size=PIXELS)
            except BadInput as error:
                run.quarantine(column, row["id"], str(error))
                row[column] = None
            advance(1)
    return rows


def seconds(rows: Dataset, columns: Sequence[str], run: Run) -> list[float] | None:
    """How long each row's longest recording lasts, by its header; None where no column holds recordings.

    Args:
        rows: each with `id`.
        columns: those to look at.
        run: where a recording that cannot be read is noted (it counts as no time).
    """
    heard = [column for column in columns if signal_of(column) in ("speech", "audio")]
    longest = [0.0] * len(rows)
    for column in heard:
        for at, item in enumerate(rows[column]):
            try:
                longest[at] = max(longest[at], 0.0 if item is None else cached_seconds(item))
            except BadInput as error:
                run.quarantine(column, rows[at]["id"], str(error))
    return longest if heard else None
