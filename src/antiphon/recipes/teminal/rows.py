"""What TeminAL trains on: recordings of one event and of two, made from single clips, with captions.

The recordings are made as ZSTE's are (`evaluation/zste.py`), of other clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from antiphon.data.cache import cache_folder
from antiphon.decode import BadInput, decode_audio
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, encode_once
from antiphon.encoders.space import Branch
from antiphon.encoders.waves import trim_silence
from antiphon.evaluation.zste import RATE, after, at_once, before, draw_pairs, during, in_turn, stretch
from antiphon.runs import Run

Encode = Callable[[Sequence[Any]], Sequence[Any]]
"""What stands in rows in the place of items."""

DOUBLE = ("forward", "reverse", "overlay")
"""The recordings of two events."""

CAPTIONS: dict[str, Callable[[str, str], str]] = {
    "text_single": lambda a, b: a,
    "text_forward": before, "text_forward_2": lambda a, b: after(b, a),
    "text_reverse": lambda a, b: before(b, a), "text_reverse_2": after,
    "text_overlay": during, "text_overlay_2": lambda a, b: during(b, a),
}  # fmt: skip
"""Columns of captions, of the two kinds of a row; each recording of two events has two wordings."""


def held_out(kinds: Sequence[str], share: float, seed: int) -> set[frozenset[str]]:
    """So large a share of the unordered pairs of kinds, by the seed."""
    pairs = list(combinations(sorted(set(kinds)), 2))
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    return {frozenset(pairs[at]) for at in order[: round(share * len(pairs))]}


def clips_of(rows: Dataset, column: str, classes: str, run: Run) -> tuple[list[Tensor], list[str]]:
    """Waveforms without silence around them, and what they are; what cannot be used is noted and left out."""
    waves, kinds = [], []
    for item, kind, name in zip(rows[column], rows[classes], rows["id"], strict=True):
        try:
            if item is None:
                continue
            wave = trim_silence(decode_audio(item, RATE))
            if not wave.any():
                raise BadInput("silence alone")
        except BadInput as error:
            run.quarantine(column, name, str(error))
            continue
        waves.append(wave)
        kinds.append(str(kind))
    return waves, kinds


def made_rows(
    clips: list[Tensor],
    kinds: list[str],
    unseen: set[frozenset[str]],
    *,
    count: int,
    seconds: float,
    sound: Encode,
    text: Encode,
    seed: int,
) -> Sequence[dict[str, Any]]:
    """Rows of two clips of two kinds: alone, in turn both ways and at once, and what is said of them.

    Args:
        clips: waveforms of single events.
        kinds: what each clip is.
        unseen: pairs of kinds that are not joined.
        count: how many rows.
        seconds: of each event in a recording of two.
        sound: what stands in a row in the place of a recording.
        text: the same for captions.
        seed: of the pairs, and of where in a clip a recording begins.
    """
    names = sorted(set(kinds))
    drawn = draw_pairs(kinds, 3 * count, seed=seed)
    pairs = [(i, j) for i, j in drawn if frozenset((kinds[i], kinds[j])) not in unseen][:count]
    columns = _recordings([(clips[i], clips[j]) for i, j in pairs], round(seconds * RATE), sound, seed)
    said = {name: [say(kinds[i], kinds[j]) for i, j in pairs] for name, say in CAPTIONS.items()}
    texts = sorted({one for column in said.values() for one in column})
    read = dict(zip(texts, text(texts), strict=True))

    def row(at: int) -> dict[str, Any]:
        first, second = (names.index(kinds[side]) for side in pairs[at])
        found: dict[str, Any] = {"id": f"{at:06d}", "first": first, "second": second, "at_once": at % 2}
        found |= {name: column[at] for name, column in columns.items()}
        found |= {name: read[column[at]] for name, column in said.items()}
        kind = "overlay" if at % 2 else "forward"
        found |= {"dual": found[kind], "text_dual": found[f"text_{kind}"], "text_dual_2": found[f"text_{kind}_2"]}
        return found | {"sometimes": found["single"] if at % 4 == 0 else None}

    return _Made(len(pairs), row)


def embedding(branch: Branch, encode: Encode) -> Callable[[list[Any]], Tensor]:
    """Items to vectors."""

    @torch.inference_mode()
    def embed(items: list[Any]) -> Tensor:
        branch.eval()
        found = encode(items)
        device = next(branch.head.parameters()).device
        parts = [range(at, min(at + 256, len(found))) for at in range(0, len(found), 256)]
        return torch.cat(
            [branch(branch.encoder.collate([found[at] for at in part]).to(device)).cpu() for part in parts]
        )

    return embed


def from_cache(tower: Encoder) -> Encode:
    """A frozen encoder's tokens, from the cache where they are there."""
    return lambda items: encode_once(tower, items, FeatureCache(cache_folder() / "features"))


def as_they_are(items: Sequence[Any]) -> Sequence[Any]:
    """Texts, and waveforms with their rate; made when they are asked for."""

    def item(at: int) -> Any:
        one = items[at]
        return {"array": one, "sampling_rate": RATE} if isinstance(one, Tensor) else one

    return _Made(len(items), item)


def _recordings(pairs: list[tuple[Tensor, Tensor]], samples: int, sound: Encode, seed: int) -> dict[str, Sequence[Any]]:
    """Every recording of every pair; all last twice `samples`."""
    starts = torch.rand(len(pairs), 2, generator=torch.Generator().manual_seed(seed)).tolist()

    def part(at: int, side: int, length: int) -> Tensor:
        return stretch(pairs[at][side], length, starts[at][side])

    made: dict[str, Callable[[int], Tensor]] = {
        "single": lambda at: part(at, 0, 2 * samples),
        "forward": lambda at: in_turn(part(at, 0, samples), part(at, 1, samples)),
        "reverse": lambda at: in_turn(part(at, 1, samples), part(at, 0, samples)),
        "overlay": lambda at: at_once(part(at, 0, 2 * samples), part(at, 1, 2 * samples)),
    }
    return {name: sound(_Made(len(pairs), make)) for name, make in made.items()}


class _Made(Sequence[Any]):
    """What is made when it is asked for: all recordings at once would fill the memory."""

    def __init__(self, size: int, make: Callable[[int], Any]) -> None:
        self.size, self.make = size, make

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, at: Any) -> Any:
        if at >= self.size:
            raise IndexError(at)
        return self.make(at)
