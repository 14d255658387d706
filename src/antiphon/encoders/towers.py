"""Towers of a recipe: which encoder a signal has, and rows put through frozen ones once.

A locked tower never changes, so its tokens are computed before training and cached on disk (`features.py`); in the
learner `Features` stands in its place, and in the saved space the encoder itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from antiphon.config import Config
from antiphon.decode import BadInput
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, View, encode_once, file_size
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch
from antiphon.errors import UserError
from antiphon.progress import bar


class Tower(Config):
    """One signal's encoder and head."""

    encoder: str
    layers: int = 1
    """How many of the last hidden layers the encoder puts out (speech models)."""
    trim: bool = False
    """Cut silence from clips, white borders from pictures."""
    keep: int = 0
    """Locked towers: how many means of stretches of the tokens are cached; 0 keeps every token."""
    views: int = 0
    """Locked towers: so many changed looks at each training item (crops, speeds) are cached and trained on too."""
    head: HeadConfig = HeadConfig()

    def open(self, signal: str) -> Encoder:
        """The encoder, as `open_encoder` opens it."""
        return open_encoder(signal, self.encoder, layers=self.layers, trim=self.trim)


class Towers(Config):
    """The tower of each signal; a recipe opens those that its columns name."""

    image: Tower = Tower(encoder="efficientnet-lite0", keep=1)
    text: Tower = Tower(encoder="all-MiniLM-L6-v2", keep=1)
    speech: Tower = Tower(encoder="whisper-tiny.en", layers=4, trim=True, keep=4)
    audio: Tower = Tower(encoder="scratch-tiny")

    def of(self, signal: str) -> Tower:
        """The tower of a signal.

        Raises:
            UserError: there is none.
        """
        if signal not in type(self).model_fields:
            raise UserError(f"no tower for {signal!r} columns: there are {', '.join(type(self).model_fields)}")
        tower: Tower = getattr(self, signal)
        return tower


def prepare_heads(
    branches: Mapping[str, Branch], rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> None:
    """Give heads that measure their training rows (`Head.prepare`) every item of their signal's columns.

    Args:
        branches: by signal.
        rows: of training, never of dev or test.
        columns: column to signal.
    """
    for signal, branch in branches.items():
        if branch.head.needs_rows:
            batch = branch.encoder.collate([row[name] for name in columns if columns[name] == signal for row in rows])
            branch.head.prepare(branch.head.pool(branch.encoder(batch[batch.present])))


def encode_columns(
    rows: Mapping[str, Sequence[dict[str, Any]]],
    data: Mapping[str, Any],
    columns: Sequence[str],
    encoder: Encoder,
    cache: FeatureCache,
    *,
    keep: int = 0,
    look: tuple[str, View] | None = None,
    refused: Callable[[str, str, str], None],
) -> list[str]:
    """Put the tokens of a frozen encoder into the rows, in place; gives the names of the columns that hold them.

    Args:
        rows: by split, each a dict with `id`.
        data: the same rows' items: `data[split][column]`; a split that is absent here is left as it is.
        columns: all of the encoder's signal.
        encoder: frozen.
        cache: where features are kept.
        keep: as of `Tower`.
        look: a changed look at each item, by name (`encode_once`); its columns bear the name behind their own.
        refused: told column, row id and reason of an item that cannot be used; it becomes None.
    """
    suffix = f"_{look[0]}" if look else ""
    places = [(row, column) for split in data for column in columns for row in rows[split]]
    items = [item for split in data for column in columns for item in data[split][column]]

    def refuse(at: int, error: BadInput) -> None:
        row, column = places[at]
        refused(column, row["id"], str(error))

    with bar(f"encoding {encoder.signal}{suffix}", len(items)) as advance:
        tokens = encode_once(
            encoder, items, cache, keep=keep, view=look, size=file_size, progress=advance, refused=refuse
        )
    for (row, column), item in zip(places, tokens, strict=True):
        row[column + suffix] = item
    return [column + suffix for column in columns]
