"""Rows of ProtoCLIP as its branches read them, and the vectors of its external teacher."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data.cache import cache_folder
from antiphon.data.opening import Rows, opened
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, View, encode_once
from antiphon.encoders.heads import principal_components
from antiphon.encoders.open import open_encoder
from antiphon.encoders.towers import Towers, encode_columns
from antiphon.errors import UserError
from antiphon.runs import Run


def masked(data: Mapping[str, Dataset], classes: str | None) -> dict[str, Dataset]:
    """Captions without the words of the classes' names, in one form or the other (animal, animals).

    A caption of which nothing is left becomes None. Words of three letters or fewer stay.

    Args:
        data: rows by split, with `text`.
        classes: the column of class names; their words are joined by underscores or spaces.

    Raises:
        UserError: no such column, or no texts.
    """
    there = data["train"].column_names
    if classes is None or not {classes, "text"} <= set(there):
        raise UserError(
            f"masked=true takes the words of classes={classes} out of texts: the rows have {', '.join(there)}"
        )
    names = {name for part in data.values() for name in part[classes] if name is not None}
    words = {_stem(word) for name in names for word in re.findall(r"\w+", name.replace("_", " ")) if len(word) > 3}
    return {
        split: part.remove_columns("text").add_column("text", [without(words, text) for text in part["text"]])
        for split, part in data.items()
    }


def without(stems: Set[str], caption: str | None) -> str | None:
    """A caption, its parts told by commas, without the words of these stems."""
    if caption is None:
        return None
    parts = [
        " ".join(word for word in part.split() if not {_stem(one) for one in re.findall(r"\w+", word)} & stems)
        for part in caption.split(",")
    ]
    return ", ".join(part for part in parts if part) or None


def _stem(word: str) -> str:
    return word.lower().rstrip("s")


def training_rows(
    data: Mapping[str, Any],
    towers: Mapping[str, Encoder],
    settings: Towers,
    run: Run,
    *,
    locked: Sequence[str],
    changed: View | None,
) -> tuple[Rows, dict[str, tuple[str, ...]]]:
    """Rows by split; and by locked signal the columns of which a training row gives one, by chance.

    Args:
        data: rows by split, a column named by each signal.
        towers: by signal.
        settings: of the towers.
        run: where inputs that cannot be used are noted.
        locked: signals whose features are computed once.
        changed: the augmentation of pictures; of a locked tower `views` looks at each training row are cached.
    """
    rows = opened(data, [name for name in towers if name not in locked], run)
    cache = FeatureCache(cache_folder() / "features")
    looks: dict[str, tuple[str, ...]] = {}
    for name in (name for name in towers if name in locked):
        tower = settings.of(name)
        columns = encode_columns(rows, data, [name], towers[name], cache, keep=tower.keep, refused=run.quarantine)
        for number in range(1, 1 + tower.views) if changed is not None and name == "image" else ():
            assert changed is not None
            columns += encode_columns(
                rows, {"train": data["train"]}, [name], towers[name], cache, keep=tower.keep,
                look=(f"protoclip{number}", changed), refused=run.quarantine,
            )  # fmt: skip
        looks[name] = tuple(columns)
    return rows, looks


def taught_by(name: str, texts: Sequence[str | None], width: int) -> Float[Tensor, "n d"]:
    """A frozen text encoder's unit vectors, on their first principal components; a missing text's is zero.

    Args:
        name: of the encoder.
        texts: of all training rows.
        width: how many components.
    """
    cache = FeatureCache(cache_folder() / "features")
    tokens = encode_once(encoder := open_encoder("text", name), texts, cache, keep=1)
    nothing = torch.zeros(1, encoder.width)
    vectors_ND = normalize(torch.cat([nothing if one is None else one.float() for one in tokens]), dim=1)
    centred_ND = vectors_ND - vectors_ND.mean(0)
    return centred_ND @ principal_components(centred_ND, width).T
