"""Tar shards (webdataset) as rows to split and shuffle; `antiphon.data.shards` streams them instead."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset

from antiphon.data.cache import DataError
from antiphon.data.shards import read_shard, shard_files
from antiphon.data.table import table
from antiphon.decode import BadInput

DESCRIPTION = "tar shards, as webdataset and `antiphon.data.shards` write them"
LICENCE = "that of the data"


def load(folder: str | Path, *, verify: bool = True) -> Dataset:
    """All rows of the shards, files as bytes in memory; `id` is the member's key where the rows have none.

    Args:
        folder: a folder, one tar file or a pattern.
        verify: compare each shard with the sha256 of its index, where there is one.

    Raises:
        DataError: no shards, or a broken one.
    """
    try:
        rows = [row for file in shard_files(folder) for row in read_shard(file, verify=verify)]
    except BadInput as error:
        raise DataError(str(error)) from None
    for row in rows:
        row["id"] = str(row.get("id", row["__key__"]))
    columns = dict.fromkeys(key for row in rows for key in row if not key.startswith("__"))
    kinds = {"id": "text"} | {
        key: _kind(key, [row[key] for row in rows if key in row]) for key in columns if key != "id"
    }
    return table(rows, kinds, description=f"{len(rows)} rows of {Path(folder).name}", licence=LICENCE)


def _kind(column: str, values: list[object]) -> str:
    if all(isinstance(value, dict) for value in values):
        return next((kind for kind in ("image", "video") if column.startswith(kind)), "sound")
    if all(isinstance(value, int) for value in values):
        return "number"
    if all(isinstance(value, str) for value in values):
        return "text"
    kinds = ", ".join(sorted({type(value).__name__ for value in values}))
    raise DataError(f"column {column!r} of the shards mixes or holds {kinds}; wanted text, whole numbers or files")
