"""Any data set of the Hugging Face hub, or one that `datasets` saved or can read from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets import Audio, Dataset, Image, Video

from antiphon.data.cache import DataError

DESCRIPTION = "any Hugging Face data set, by hub id or local path"
LICENCE = "that of the data set: see its card"


def load(
    path: str,
    *,
    name: str | None = None,
    split: str = "train",
    revision: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """The rows of one split; pictures and sounds stay files or bytes until something decodes them.

    Rows get an `id` (their number) where they have none, and come in the order of the data set.

    Args:
        path: a hub id, a folder that `save_to_disk` wrote, or a folder of files that `datasets` reads.
        name: a configuration of the data set.
        split: as `datasets` writes it: "train", "test[:10%]".
        revision: a commit or tag of the hub.
        columns: our names to theirs: `{"image": "img", "text": "caption"}`; other columns are dropped. None
            takes all as they are.

    Raises:
        DataError: no such data set, split or column, or the hub cannot be reached.
    """
    rows = _rows(path, name, split, revision)
    if columns is not None:
        missing = sorted(set(columns.values()) - set(rows.column_names))
        if missing:
            raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(rows.column_names)}")
        extra = ["id"] if "id" in rows.column_names and "id" not in columns else []
        rows = rows.select_columns(list(dict.fromkeys([*extra, *columns.values()])))
        rows = rows.rename_columns({theirs: ours for ours, theirs in columns.items() if ours != theirs})
    for column, feature in rows.features.items():
        if isinstance(feature, Image | Audio | Video):
            rows = rows.cast_column(column, type(feature)(decode=False))
    if "id" not in rows.column_names:
        rows = rows.add_column("id", [f"{index:09d}" for index in range(len(rows))])
    return rows


def _rows(path: str, name: str | None, split: str, revision: str | None) -> Dataset:
    try:
        if (Path(path) / "state.json").is_file() or (Path(path) / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(path)
            if isinstance(found, Dataset):
                return found
            if split not in found:
                raise DataError(f"{path}: no split {split!r}; it has {', '.join(found)}")
            return found[split]
        found = datasets.load_dataset(path, name, split=split, revision=revision)
    except DataError:
        raise
    except Exception as error:  # the library and the network fail in many ways; each becomes one line
        raise DataError(f"{path}: {type(error).__name__}: {_one_line(error)}") from error
    return _a_dataset(found, path)


def _a_dataset(found: Any, path: str) -> Dataset:
    if not isinstance(found, Dataset):
        raise DataError(f"{path}: gave a {type(found).__name__}, wanted one split: set options.split")
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
