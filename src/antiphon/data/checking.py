"""Decodes every text, picture, sound and video of a data set once, and lists what cannot be used, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from datasets import Audio, Dataset, Image, List, Value, Video

from antiphon.data.pairs import signal_of
from antiphon.decode import BadInput, clean_text, decode_audio, decode_image, decode_vectors, decode_video

Decode = Callable[[Any], Any]


def decodable(
    rows: Dataset, *, progress: Callable[[int], None] = lambda _: None
) -> tuple[dict[str, int], list[dict[str, str]]]:
    """How many items each column holds, and those that cannot be used.

    A column is decoded by its feature type: pictures, sounds, videos, vectors of their frames (`video`), and strings
    that are a text (`text`, `text_fr`); other strings describe the row and are left alone, and so are absent items
    (None).

    Args:
        rows: a data set, as a source gives it.
        progress: called with the number of rows done since the last call.

    Returns:
        Items by column, the unusable ones included; and the latter, as dicts of `column`, `row` and `reason`.
    """
    decoders = _decoders(rows)
    counts = dict.fromkeys(decoders, 0)
    bad = []
    for place, row in enumerate(_undecoded(rows)):
        for column, decode in decoders.items():
            if row[column] is None:
                continue
            counts[column] += 1
            reason = _fault(decode, row[column])
            if reason is not None:
                bad.append({"column": column, "row": str(row.get("id", place)), "reason": reason})
        progress(1)
    return counts, bad


def _decoders(rows: Dataset) -> dict[str, Decode]:
    found: dict[str, Decode] = {}
    for column, feature in rows.features.items():
        if isinstance(feature, Image):
            found[column] = decode_image
        elif isinstance(feature, Audio):
            found[column] = decode_audio
        elif isinstance(feature, Video):
            found[column] = partial(decode_video, frames=1)
        elif isinstance(feature, List) and signal_of(column) == "video":
            found[column] = decode_vectors
        elif isinstance(feature, Value) and feature.dtype in ("string", "large_string") and signal_of(column) == "text":
            found[column] = clean_text
    return found


def _undecoded(rows: Dataset) -> Dataset:
    """The same rows as bytes and paths: Hugging Face's own decoding would want further packages."""
    for column, feature in rows.features.items():
        if isinstance(feature, Image | Audio | Video) and feature.decode:
            rows = rows.cast_column(column, type(feature)(decode=False))
    return rows


def _fault(decode: Decode, item: Any) -> str | None:
    try:
        decode(item)
    except BadInput as error:
        return str(error)
    return None
