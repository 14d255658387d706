"""Features of frozen encoders, computed once: a cache on disk, and an encoder whose items are already encoded.

The cache has a folder for each encoder fingerprint, and in it safetensors files of float16 vectors by content hash:
nothing is computed twice for the same bytes and weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from antiphon.decode import BadInput
from antiphon.encoders import Encoder
from antiphon.encoders.pooling import masked_mean, segments
from antiphon.types import Encoded, Padded

FLUSH = 512
"""Items after which features are written: what an interrupt leaves is not computed again."""

View = Callable[[Any, torch.Generator], Any]
"""Another look at an item: a change that takes the item as it stands in the row."""


class Features(Encoder):
    """An encoder of items that are encoded already: `(T, D)` tensors, as `encode_once` gives them.

    It stands in a learner in the place of the frozen encoder that made them.

    Args:
        width: D of the items.
        signal: the signal of the encoder that made them.
    """

    def __init__(self, width: int, *, signal: str) -> None:
        super().__init__()
        self.width, self.signal = width, signal

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pad `(T, D)` tensors; None becomes length zero."""
        lengths = torch.tensor([0 if item is None else len(item) for item in items], dtype=torch.int64)
        values = torch.zeros(len(items), max([1, *lengths.tolist()]), self.width)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                row[: len(item)] = item
        return Padded(values, lengths)

    def forward(self, batch: Padded) -> Encoded:
        """Hand the vectors on."""
        return Encoded(batch.values, batch.mask, masked_mean(batch.values, batch.mask))

    def save(self, folder: Path) -> None:
        """Its two settings."""
        (folder / "encoder.json").write_text(json.dumps({"width": self.width, "signal": self.signal}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Features:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(kept["width"], signal=kept["signal"])


def fingerprint(encoder: Encoder, *extra: str) -> str:
    """Sixteen hex digits of all that an encoder saves, weights and settings: what its features are filed under."""
    digest = hashlib.sha256(type(encoder).__name__.encode())
    with TemporaryDirectory() as name:
        encoder.save(Path(name))
        for path in sorted(Path(name).rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(name)).encode() + path.read_bytes())
    for word in extra:
        digest.update(word.encode())
    return digest.hexdigest()[:16]


def content_key(item: Any) -> str:
    """A hash of what an item holds: a text, a file's bytes, a decoded array or picture."""
    if isinstance(item, dict):
        item = item["bytes"] if item.get("bytes") is not None else item["path"]
        item = Path(item) if isinstance(item, str) else item
    if isinstance(item, Path):
        item = item.read_bytes()
    if isinstance(item, str):
        item = item.encode("utf-8")
    if isinstance(item, Tensor):
        item = item.contiguous().numpy()
    data = item if isinstance(item, bytes) else item.tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class FeatureCache:
    """Features on disk by encoder fingerprint and content hash.

    Args:
        folder: one sub-folder for each fingerprint is made here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, fingerprint: str) -> dict[str, Tensor]:
        """Every cached feature of an encoder; a torn file is removed, and its features are computed again."""
        found: dict[str, Tensor] = {}
        for path in sorted((self.folder / fingerprint).glob("*.safetensors")):
            try:
                found |= _unpack(path)
            except (SafetensorError, KeyError, ValueError) as error:
                warnings.warn(f"{path} is torn ({error}): removed, its features are computed again", stacklevel=2)
                path.unlink()
        return found

    def add(self, fingerprint: str, features: dict[str, Tensor]) -> None:
        """Write new features as one file, beside and renamed: readers never see half of it."""
        if not features:
            return
        folder = self.folder / fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        keys = sorted(features)
        name = hashlib.blake2b("".join(keys).encode(), digest_size=8).hexdigest()
        beside = folder / f".{name}.{os.getpid()}"
        lengths = torch.tensor([len(features[key]) for key in keys])
        packed = {"values": torch.cat([features[key] for key in keys]), "lengths": lengths}
        save_file(packed, beside, metadata={"keys": json.dumps(keys)})
        beside.replace(folder / f"{name}.safetensors")


@torch.inference_mode()
def encode_once(
    encoder: Encoder,
    items: Sequence[Any],
    cache: FeatureCache,
    *,
    keep: int = 0,
    view: tuple[str, View] | None = None,
    batch_size: int = 32,
    size: Callable[[Any], float] | None = None,
    progress: Callable[[int], None] = lambda _: None,
    refused: Callable[[int, BadInput], None] | None = None,
) -> list[Tensor | None]:
    """The float16 tokens `(T, D)` of each item by a frozen encoder, from the cache where they are there.

    Args:
        encoder: put into eval mode.
        items: as `encoder.collate` takes them; None stays None.
        cache: where features are kept.
        keep: this many means of stretches of the tokens are kept (`pooling.segments`); 0 keeps every token.
        view: another look at each item, by name: `change(item, generator)`, the generator seeded by the content.
        batch_size: items to encode at once.
        size: a cheap size of an item (seconds, bytes) to batch like with like.
        progress: called with the number of items done since the last call.
        refused: called with the place and the error of an item that cannot be decoded (it becomes None);
            without it such an item raises.
    """
    encoder.eval()
    name = fingerprint(encoder, f"keep={keep}", "" if view is None else view[0])
    cached = cache.read(name)
    keys = [None if item is None else content_key(item) for item in items]
    missing = {key: at for at, key in reversed(list(enumerate(keys))) if key is not None and key not in cached}
    progress(len(items) - len(missing))
    order = sorted(missing.values(), key=lambda at: (size(items[at]) if size else 0, at))
    bad: dict[str, BadInput] = {}

    def refuse(place: int, error: BadInput) -> None:
        if refused is None:
            raise error
        bad[str(keys[place])] = error

    for start in range(0, len(order), FLUSH):
        fresh: dict[str, Tensor] = {}
        for at in range(start, min(start + FLUSH, len(order)), batch_size):
            places = order[at : min(at + batch_size, start + FLUSH)]
            looks = {place: _look(items[place], str(keys[place]), view) for place in places}
            for place, tokens in _encode(encoder, looks, keep, refuse):
                fresh[str(keys[place])] = tokens
            progress(len(places))
        cache.add(name, fresh)
        cached |= fresh
    for place, key in enumerate(keys):
        if refused is not None and key in bad:  # every item of this content, not the first alone
            refused(place, bad[key])
    return [None if key is None else cached.get(key) for key in keys]


def _encode(
    encoder: Encoder,
    items: dict[int, Any],
    keep: int,
    refuse: Callable[[int, BadInput], None],
) -> Iterator[tuple[int, Tensor]]:
    try:
        batch = encoder.collate([item() for item in items.values()])
    except BadInput as error:
        if len(items) > 1:
            for place, item in items.items():
                yield from _encode(encoder, {place: item}, keep, refuse)
        else:
            refuse(next(iter(items)), error)
        return
    encoded = encoder(batch)
    if keep:
        for place, tokens in zip(items, segments(encoded.tokens, encoded.mask, keep), strict=True):
            yield place, tokens.half()
    else:
        for place, tokens, mask in zip(items, encoded.tokens, encoded.mask, strict=True):
            yield place, tokens[mask].half()


def _look(item: Any, key: str, view: tuple[str, View] | None) -> Callable[[], Any]:
    if view is None:
        return lambda: item
    return lambda: view[1](item, torch.Generator().manual_seed(int(key[:12], 16)))


def _unpack(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        keys = json.loads(file.metadata()["keys"])
        values, lengths = file.get_tensor("values"), file.get_tensor("lengths")
    return dict(zip(keys, values.split(lengths.tolist()), strict=True))


def file_size(item: Any) -> float:
    """A cheap measure of how long an item is: bytes of a file, characters of a text."""
    if isinstance(item, dict):
        return len(item["bytes"]) if item.get("bytes") is not None else Path(item["path"]).stat().st_size
    return len(item) if hasattr(item, "__len__") else 0.0
