"""The classes of videos, which of them are held out, and rows as X-CLIP reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, List
from torch import Tensor

from antiphon.data.pairs import expand, signal_of
from antiphon.decode import BadInput, decode_vectors
from antiphon.encoders.framevectors import FrameVectors
from antiphon.errors import UserError
from antiphon.runs import Run

Row = dict[str, Any]


@dataclass(frozen=True)
class Classes:
    """Names of classes, sorted.

    Args:
        names: they are the prompts.
        seen: numbers of those that training shows.
        unseen: of those that are held out.
        reverse: by number, that of the class which a film would be backwards.
    """

    names: list[str]
    seen: list[int]
    unseen: list[int]
    reverse: dict[int, int]

    @classmethod
    def of(
        cls, data: Mapping[str, Dataset], column: str, reverse: str | None, share: float, seed: int, *,
        novel: str | None = None,
    ) -> Classes:  # fmt: skip
        """The classes of all splits.

        Held out are so many, drawn by the seed, of those whose every word stands in a class that is not held out; or
        those that the column `novel` says.

        Raises:
            UserError: fewer than two classes, or a row without one; or the column does not say which are novel.
        """
        found = [name for part in data.values() for name in part[column]]
        names = sorted({name for name in found if name is not None})
        if None in found or len(names) < 2:
            raise UserError(f"{len(names)} classes in the column {column!r}, {found.count(None)} rows without one")
        unseen = held_out(names, share, seed) if novel is None else _novel(data, column, names, novel)
        places = {name: at for at, name in enumerate(names)}
        turned: dict[int, int] = {}
        for part in data.values():
            if reverse is not None and reverse in part.column_names:
                for name, other in zip(part[column], part[reverse], strict=True):
                    if other in places:
                        turned[places[name]] = places[other]
        return cls(names, [at for at in range(len(names)) if at not in unseen], sorted(unseen), turned)


def held_out(names: Sequence[str], share: float, seed: int) -> set[int]:
    """Numbers of so large a share of the names whose words all stand in names that are kept."""
    words = [set(name.lower().split()) for name in names]
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen: set[int] = set()
    for at in order:
        if len(chosen) == round(share * len(names)):
            break
        kept = [words[other] for other in range(len(names)) if other != at and other not in chosen]
        if all(any(word in others for others in kept) for word in words[at]):
            chosen.add(at)
    return chosen


def _novel(data: Mapping[str, Dataset], column: str, names: Sequence[str], novel: str) -> set[int]:
    """Numbers of the classes whose rows are all `novel`."""
    said: dict[str, set[str]] = {name: set() for name in names}
    for part in data.values():
        for name, word in zip(part[column], part[novel], strict=True):
            said[name].add(word)
    unclear = next((name for name, words in said.items() if words not in ({"base"}, {"novel"})), None)
    if unclear is not None:
        raise UserError(
            f"the column {novel!r} says {', '.join(map(str, sorted(said[unclear], key=str)))} of {unclear!r}: wanted "
            "base or novel, one for all rows of a class"
        )
    return {at for at, name in enumerate(names) if said[name] == {"novel"}}


def video_column(rows: Dataset, columns: tuple[str, ...], described: Mapping[str, str | None]) -> str:
    """The column of videos, or of vectors of their frames.

    Args:
        rows: of a split.
        columns: as the data's settings name them.
        described: settings that name further columns; None names none.

    Raises:
        UserError: not one column of videos, or one of the others is not there.
    """
    found = expand(columns, rows.column_names)
    wanted = {setting: name for setting, name in described.items() if name is not None}
    if [signal_of(column) for column in found] != ["video"] or not set(wanted.values()) <= set(rows.column_names):
        said = " and ".join(f"{setting}={name}" for setting, name in wanted.items())
        raise UserError(
            f"x_clip wants one column of videos and the column {said}: data.columns gives {', '.join(found)}, the rows "
            f"have {', '.join(rows.column_names)}"
        )
    return found[0]


def holds_vectors(rows: Dataset, column: str) -> bool:
    """Whether a column holds vectors of frames, and no videos."""
    return isinstance(rows.features[column], List)


def read_vectors(
    data: Mapping[str, Dataset], rows: Mapping[str, Sequence[Row]], shown: Sequence[Row], column: str, frames: int,
    run: Run,
) -> FrameVectors:  # fmt: skip
    """Put the vectors of so many frames into each row, as `video`; gives the encoder that reads them.

    Args:
        data: by split.
        rows: of the same splits; what cannot be used becomes None.
        shown: those rows that scales are measured on: the ones that are trained.
        column: of vectors.
        frames: of a video, at even times.
        run: where what cannot be used is noted.
    """

    def usable(row: Row, item: Any) -> Tensor | None:
        try:
            return None if item is None else decode_vectors(item, frames)
        except BadInput as error:
            run.quarantine(column, row["id"], str(error))
            return None

    for split, part in data.items():
        for row, item in zip(rows[split], part.with_format("numpy", columns=[column]), strict=True):
            row["video"] = usable(row, item[column])
    there = [row["video"] for row in shown if row["video"] is not None]
    if not there:
        raise UserError(f"x_clip: none of the {len(shown)} training videos could be read: see quarantine.jsonl")
    stem = FrameVectors(there[0].shape[1], frames=frames)
    for row in [row for part in rows.values() for row in part if row["video"] is not None]:
        if row["video"].shape[1] != stem.width:
            run.quarantine(column, row["id"], f"frames of {row['video'].shape[1]} numbers each, wanted {stem.width}")
            row["video"] = None
    stem.prepare([row["video"] for row in shown])
    for row in [row for part in rows.values() for row in part if row["video"] is not None]:
        row["video"] = stem(stem.collate([row["video"]])).tokens[0]
    return stem


def class_rows(part: Dataset, column: str, classes: Classes) -> list[Row]:
    """Rows of `id`, `label`, and the number of their class."""
    places = {name: at for at, name in enumerate(classes.names)}
    rows = part.select_columns(["id", "label", column])
    return [{"id": row["id"], "label": row["label"], "class": places[row[column]]} for row in rows]


def few(rows: Sequence[Row], shots: int | None, seed: int) -> list[Row]:
    """At most so many rows of each class, drawn by the seed; None takes all."""
    if shots is None:
        return list(rows)
    taken: dict[int, int] = {}
    kept = []
    for at in torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist():
        number = rows[at]["class"]
        taken[number] = taken.get(number, 0) + 1
        if taken[number] <= shots:
            kept.append(at)
    return [rows[at] for at in sorted(kept)]
