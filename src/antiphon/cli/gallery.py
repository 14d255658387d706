"""What the report shows of the rows themselves: a map with every test item, and queries with their first answers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from antiphon.data.pairs import directions, signal_of
from antiphon.evaluation.report import Answer, Item, Mark, Media, Plane, Query

if TYPE_CHECKING:
    from datasets import Dataset

    from antiphon.evaluation.report.parts import Kind
    from antiphon.evaluation.report.picks import Ranked
    from antiphon.types import Views

LANGUAGES = {
    "be": "Belarusian", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish", "fr": "French", "hu": "Hungarian",
    "it": "Italian", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian",
}  # fmt: skip
"""Languages of speech columns, by the end of their name; others are called by that."""
MAP_ROWS = 300
"""At most so many rows are on the map, evenly taken: more would not be seen, and the file would be large."""
MAP_SIDE, GALLERY_SIDE = 72, 176
"""Longer sides of the small pictures, in pixels."""
SOUND_BYTES = 100_000
"""Longer recordings are named, not carried."""
QUERIES = 12
KINDS: dict[str, Kind] = {"image": "picture", "text": "caption", "speech": "recording", "audio": "recording"}
ASKED = (
    ("text", "image"), ("image", "text"), ("speech_es", "image"), ("speech_fr", "image"), ("speech_ru", "text"),
    ("speech_fr", "speech_ru"),
)  # fmt: skip
"""Directions of the gallery, where the space has them; else the first that it has."""


def called(column: str) -> str:
    """A column as a reader calls it: `speech_fr` is French speech."""
    signal, _, variant = column.partition("_")
    return f"{LANGUAGES.get(variant, variant)} {signal}" if variant else signal


def signals(columns: list[str]) -> list[str]:
    """What the columns hold, as a reader calls it, each once."""
    names = {"image": "pictures", "text": "captions", "speech": "speech", "audio": "sounds"}
    return list(dict.fromkeys(names[signal_of(column)] for column in columns))


def plane(rows: Dataset, views: Views, columns: list[str]) -> Plane:
    """All items of the test rows, at the first two principal components of all their vectors."""
    import torch

    from antiphon.evaluation.geometry import project_2d

    count = min(len(rows), MAP_ROWS)
    taken = [place * len(rows) // count for place in range(count)]
    places, parts = [], []
    for column in columns:
        present = [at for at in taken if views[f"has_{column}"][at]]
        places += [(at, column) for at in present]
        parts.append(views[column][present])
    vectors = torch.cat(parts)
    if min(vectors.shape) < 2:
        return Plane([], "")
    points = project_2d(vectors)
    kept = float(points.var(0).sum() / vectors.var(0).sum())
    marks, seen = [], set()
    for (at, column), (x, y) in zip(places, points.tolist(), strict=True):
        row = rows[at]
        if signal_of(column) == "text" and row[column] in seen:
            continue  # several pictures share it
        seen.add(row[column] if signal_of(column) == "text" else None)
        small = _thumbnail(row[column], MAP_SIDE) if signal_of(column) == "image" else None
        _, _, variant = column.partition("_")
        title = f"{_about(row)} [{variant}]" if variant else _about(row)
        marks.append(Mark(x, y, KINDS[signal_of(column)], row.get("top") or "", title, small))
    return Plane(marks, _note(kept, count, len(rows), "top" in rows.column_names))


def _note(kept: float, count: int, total: int, coloured: bool) -> str:
    some = "all" if count == total else f"{count:,} of"
    return (
        f"The items of {some} {total:,} test rows, on the two directions in which their vectors differ most "
        f"(principal components; they hold {kept:.0%} of the spread, the rest is not seen here). "
        + (
            "Colour is the top folder (grey: the smaller ones), shape is the kind. Touch a mark to see what it is."
            if coloured
            else ""
        )
    )


def gallery(rows: Dataset, views: Views, columns: list[str], *, seed: int) -> list[Query]:
    """Twelve queries of up to six directions with their first answers, half of them missed where enough are."""
    from antiphon.evaluation.answers import distinct
    from antiphon.evaluation.report.picks import pick, ranked

    present = directions(columns)
    asked = [way for way in ASKED if way in present]
    asked += [way for way in present if way not in asked][: len(ASKED) - len(asked)]
    places, kinds = [], []
    for source, target in asked:
        queries, keys = (views[f"has_{column}"].nonzero()[:, 0] for column in (source, target))
        keys = keys[distinct(views[target][keys], views["label"][keys])]
        kinds.append(ranked(views[source][queries], views[target][keys], views["label"][queries], views["label"][keys]))
        places.append((queries.tolist(), keys.tolist()))
    chosen = pick(kinds, count=QUERIES, seed=seed)
    return [
        _query(rows, way, query, *where)
        for way, where, found in zip(asked, places, chosen, strict=True)
        for query in found
    ]


def _query(rows: Dataset, way: tuple[str, str], query: Ranked, queries: list[int], keys: list[int]) -> Query:
    source, target = way
    key, score = query.right

    def answer(key: int, rank: int, score: float) -> Answer:
        row = rows[keys[key]]
        return Answer(_item(row, target), rank, score, right=row["label"] == query.label)

    return Query(
        title=f"{called(source)} → {called(target)}",
        asked=_item(rows[queries[query.query]], source),
        answers=[answer(key, rank, score) for rank, (key, score) in enumerate(query.keys, start=1)],
        rank=query.rank,
        keys=len(keys),
        missed=None if query.found else answer(key, query.rank, score),
    )


def _item(row: dict[str, Any], column: str) -> Item:
    signal, cell = signal_of(column), row[column]
    if signal == "text":
        return Item(str(cell))
    if signal == "image":
        return Item(_about(row), picture=_thumbnail(cell, GALLERY_SIDE))
    sound, size = _sound(cell)
    said = row.get(column.replace("speech", "text", 1)) or ""
    missing = "" if sound else f"(a recording of {size / 1000:.0f} kB, too large to be carried here)"
    return Item(_about(row), sound=sound, note=f"{said} {missing}".strip())


def _about(row: dict[str, Any]) -> str:
    """The English caption of the row, or its id where it has none."""
    return str(row.get("text") or row["id"])


def _thumbnail(cell: Any, side: int) -> Media:
    from antiphon.decode import decode_image

    file = io.BytesIO()
    decode_image(cell, size=side).save(file, "JPEG", quality=84)
    return Media("image/jpeg", file.getvalue())


def _sound(cell: Any) -> tuple[Media | None, int]:
    """The recording as it is, if it is small; and its size in bytes."""
    from antiphon.decode.source import bytes_of, content_of, name_of

    content = bytes_of(content_of(cell), name_of(cell))
    return (Media(_mime(content), content) if len(content) <= SOUND_BYTES else None), len(content)


def _mime(content: bytes) -> str:
    starts = {b"OggS": "audio/ogg", b"RIFF": "audio/wav", b"fLaC": "audio/flac"}
    return starts.get(content[:4], "audio/mpeg")
