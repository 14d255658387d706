"""Rows in memory to a Hugging Face `Dataset`, files staying paths or bytes until something decodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
from datasets import Audio, Dataset, DatasetInfo, Features, Image, Value, Video
from datasets.table import InMemoryTable

KINDS = {
    "text": Value("string"),
    "number": Value("int64"),
    "image": Image(decode=False),
    "sound": Audio(decode=False),
    "video": Video(decode=False),
}


def table(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], *, description: str, licence: str) -> Dataset:
    """A data set of the rows, sorted by `id`.

    Args:
        rows: what each row has; a column that is absent from a row is None there. A file is a path, or a dict
            `{"bytes", "path"}`.
        kinds: the columns in order, each "text", "number", "image", "sound" or "video".
        description: kept as `rows.info.description`.
        licence: kept as `rows.info.license`.
    """
    features = Features({name: KINDS[kind] for name, kind in kinds.items()})
    info = DatasetInfo(description=description, license=licence, features=features)
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    # not Dataset.from_dict: to encode a sound it wants torchcodec, even with decode=False
    arrays = [
        pa.array([_cell(row.get(name), kind) for row in ordered], features.arrow_schema.field(name).type)
        for name, kind in kinds.items()
    ]
    return Dataset(InMemoryTable.from_arrays(arrays, schema=features.arrow_schema), info=info)


def _cell(value: Any, kind: str) -> Any:
    if kind in ("image", "sound", "video") and isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    return value
