"""What TeminAL trains on: recordings of one event and of two, made from single clips, with captions, all encoded.

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
    sound: Encoder,
    text: Encoder,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of two clips of two kinds: alone, in turn both ways and at once, and what is said of them.

    Args:
        clips: waveforms of single events.
        kinds: what each clip is.
        unseen: pairs of kinds that are not joined.
        count: how many rows.
        seconds: of each event in a recording of two.
        sound: frozen; gives the tokens of recordings.
        text: frozen; gives the tokens of captions.
        seed: of the pairs, and of where in a clip a recording begins.
    """
    names = sorted(set(kinds))
    drawn = draw_pairs(kinds, 3 * count, seed=seed)
    pairs = [(i, j) for i, j in drawn if frozenset((kinds[i], kinds[j])) not in unseen][:count]
    columns = _recordings([(clips[i], clips[j]) for i, j in pairs], round(seconds * RATE), sound, seed)
    said = {name: [say(kinds[i], kinds[j]) for i, j in pairs] for name, say in CAPTIONS.items()}
    texts = sorted({one for column in said.values() for one in column})
    tokens = dict(zip(texts, encode_once(text, texts, _cache()), strict=True))
    rows: list[dict[str, Any]] = []
    for at, (i, j) in enumerate(pairs):
        row: dict[str, Any] = {"id": f"{at:06d}", "first": names.index(kinds[i]), "second": names.index(kinds[j])}
        row |= {name: column[at] for name, column in columns.items()}
        row |= {name: tokens[column[at]] for name, column in said.items()}
        kind = "overlay" if at % 2 else "forward"
        row |= {"at_once": at % 2, "dual": row[kind], "text_dual": row[f"text_{kind}"]}
        row |= {"text_dual_2": row[f"text_{kind}_2"], "sometimes": row["single"] if at % 4 == 0 else None}
        rows.append(row)
    return rows


def embedding(branch: Branch, tower: Encoder) -> Callable[[list[Any]], Tensor]:
    """Items to vectors, the frozen encoder's part of it from the cache."""

    @torch.inference_mode()
    def embed(items: list[Any]) -> Tensor:
        branch.eval()
        tokens = encode_once(tower, items, _cache())
        device = next(branch.head.parameters()).device
        parts = [
            branch(branch.encoder.collate(tokens[at : at + 256]).to(device)).cpu() for at in range(0, len(tokens), 256)
        ]
        return torch.cat(parts)

    return embed


def _recordings(
    pairs: list[tuple[Tensor, Tensor]], samples: int, sound: Encoder, seed: int
) -> dict[str, list[Tensor | None]]:
    """Tokens of every recording of every pair; all last twice `samples`."""
    starts = torch.rand(len(pairs), 2, generator=torch.Generator().manual_seed(seed)).tolist()

    def part(at: int, side: int, length: int) -> Tensor:
        return stretch(pairs[at][side], length, starts[at][side])

    made: dict[str, Callable[[int], Tensor]] = {
        "single": lambda at: part(at, 0, 2 * samples),
        "forward": lambda at: in_turn(part(at, 0, samples), part(at, 1, samples)),
        "reverse": lambda at: in_turn(part(at, 1, samples), part(at, 0, samples)),
        "overlay": lambda at: at_once(part(at, 0, 2 * samples), part(at, 1, 2 * samples)),
    }
    return {name: encode_once(sound, _Made(len(pairs), make), _cache()) for name, make in made.items()}


def _cache() -> FeatureCache:
    return FeatureCache(cache_folder() / "features")


class _Made(Sequence[Tensor]):
    """Recordings that are made when they are asked for: all at once they would fill the memory."""

    def __init__(self, size: int, make: Callable[[int], Tensor]) -> None:
        self.size, self.make = size, make

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, at: Any) -> Any:
        if at >= self.size:
            raise IndexError(at)
        return self.make(at)
