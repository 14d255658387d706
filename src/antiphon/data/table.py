"""Rows in memory to a Hugging Face `Dataset`, files staying paths or bytes until something decodes them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
from datasets import Audio, Dataset, DatasetInfo, Features, Image, Value, Video
from datasets.table import InMemoryTable

from antiphon.data.cache import DataError

KINDS = {
    "text": Value("string"),
    "number": Value("int64"),
    "decimal": Value("float64"),
    "image": Image(decode=False),
    "sound": Audio(decode=False),
    "video": Video(decode=False),
}


def table(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], *, description: str, licence: str) -> Dataset:
    """A data set of the rows, sorted by `id`.

    Args:
        rows: what each row has; a column that is absent from a row is None there. A file is a path, or a dict
            `{"bytes", "path"}`.
        kinds: the columns in order, each one of `KINDS`.
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


def read_tsv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a tab-separated file with a header; quotes are letters like any other.

    Args:
        path: UTF-8 text, or the same compressed by gzip where the name ends in `.gz`.
        columns: names that its header must have.

    Raises:
        DataError: no such file, columns lacking, no rows, or a row of another number of fields.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; wanted a tab-separated file with {', '.join(columns)}")
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    lines = [line.removesuffix("\r").split("\t") for line in text.removesuffix("\n").split("\n")]
    names, rows = lines[0], lines[1:]
    lacking = [column for column in columns if column not in names]
    if lacking or not rows:
        raise DataError(f"{path}: no column {', '.join(lacking)}" if lacking else f"{path}: no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise DataError(f"{path}:{number}: {len(row)} fields, where the header has {len(names)}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _cell(value: Any, kind: str) -> Any:
    if kind in ("image", "sound", "video") and isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    return value
