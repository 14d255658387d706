"""Long items in parts: recordings cut into clips and texts into sentences, each encoded by itself, then set in order.

`Parts` is frozen, so that what it gives can be cached; the encoder's memory is that of a few parts, however long the
item. `Ordered` learns on top of it.

Axes: B items, S samples or bytes, T parts, D width.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from antiphon.decode import clean_text
from antiphon.encoders import Encoder
from antiphon.encoders.blocks import positions
from antiphon.encoders.frozen import OverFrozen
from antiphon.encoders.heads import Standard
from antiphon.encoders.logmel import RATE
from antiphon.encoders.pooling import last_token, masked_mean
from antiphon.encoders.waves import collate_waves
from antiphon.errors import WrongValue
from antiphon.types import Encoded, Padded

_ENDS = re.compile(r"(?<=[.!?;])\s+|\s*\n\s*")


def sentences(text: str) -> list[str]:
    """A text cut behind full stops, semicolons, question and exclamation marks, and at line ends."""
    return [part for part in _ENDS.split(text.strip()) if part]


class Parts(Encoder):
    """One vector for each part of an item, by frozen encoders whose vectors stand side by side.

    A clip lasts `seconds`; the last one reaches back, so that only a recording shorter than a clip gives a shorter one.
    A text's parts are its sentences.

    Args:
        inners: of one signal, "speech", "audio" or "text".
        seconds: of a clip.
        most: only so many parts from the start; None takes all.
        at_once: parts that are encoded at a time; it does not change the vectors.
    """

    def __init__(
        self, inners: Sequence[Encoder], *, seconds: float = 5.0, most: int | None = None, at_once: int = 8
    ) -> None:
        super().__init__()
        signals = sorted({inner.signal for inner in inners})
        if len(signals) != 1 or signals[0] not in ("speech", "audio", "text"):
            raise WrongValue(f"parts of {', '.join(signals) or 'nothing'}: wanted encoders of speech, audio or text")
        if seconds * RATE < 1 or at_once < 1 or (most is not None and most < 1):
            raise WrongValue(f"seconds={seconds}, most={most}, at_once={at_once}: wanted numbers above zero")
        self.inners = nn.ModuleList(inner.requires_grad_(False) for inner in inners)
        self.settings = {"seconds": seconds, "most": most, "at_once": at_once}
        self.signal, self.width = signals[0], sum(inner.width for inner in inners)
        self.seconds, self.most, self.at_once = seconds, most, at_once

    def train(self, mode: bool = True) -> Parts:
        """The encoders stay in evaluation mode."""
        super().train(mode)
        self.inners.eval()
        return self

    def collate(self, items: Sequence[Any]) -> Padded:
        """Recordings to 16 kHz samples `(B, S)`; texts to their UTF-8 bytes, and into sentences later."""
        if self.signal != "text":
            return collate_waves(items)
        lines = [b"" if item is None else clean_text(item).encode() for item in items]
        values = torch.zeros(len(lines), max([1, *map(len, lines)]), dtype=torch.uint8)
        for row, line in zip(values, lines, strict=True):
            row[: len(line)] = torch.tensor(list(line), dtype=torch.uint8)
        return Padded(values, torch.tensor([len(line) for line in lines], dtype=torch.int64))

    @torch.no_grad()
    def forward(self, batch: Padded) -> Encoded:
        """A vector for each part, and their mean."""
        device = batch.lengths.device
        rows = [self._encoded(list(self._cut(item)), device) for item in _items(batch)]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        values = torch.zeros(len(rows), max([1, *map(len, rows)]), self.width, device=device)
        for row, vectors in zip(values, rows, strict=True):
            row[: len(vectors)] = vectors
        mask = Padded(values, lengths).mask
        return Encoded(values, mask, masked_mean(values, mask))

    def save(self, folder: Path) -> None:
        """Settings, and each encoder in a folder of its own."""
        from antiphon.encoders.open import save_encoder  # not above: `open` lists this module's encoders

        for at, inner in enumerate(self._all()):
            save_encoder(inner, folder / f"inner_{at}")
        kept = self.settings | {"inners": len(self.inners)}
        (folder / "encoder.json").write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Parts:
        """Read what `save` wrote."""
        from antiphon.encoders.open import load_encoder

        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        inners = [load_encoder(folder / f"inner_{at}") for at in range(kept["inners"])]
        return cls(inners, seconds=kept["seconds"], most=kept["most"], at_once=kept["at_once"])

    def _all(self) -> list[Encoder]:
        return [inner for inner in self.inners if isinstance(inner, Encoder)]

    def _cut(self, item: Tensor) -> Iterator[Any]:
        if self.signal == "text":
            yield from sentences(bytes(item.tolist()).decode("utf-8"))[: self.most]
            return
        size = round(self.seconds * RATE)
        if 0 < len(item) < size:
            yield item
        starts = [*range(0, len(item) - size, size), len(item) - size] if len(item) >= size else []
        yield from (item[start : start + size] for start in starts[: self.most])

    def _encoded(self, parts: list[Any], device: torch.device) -> Float[Tensor, "t d"]:
        vectors = [torch.zeros(0, self.width, device=device)]
        for at in range(0, len(parts), self.at_once):
            few = [part.cpu() if isinstance(part, Tensor) else part for part in parts[at : at + self.at_once]]
            vectors.append(torch.cat([inner(inner.collate(few).to(device)).pooled for inner in self._all()], dim=1))
        return torch.cat(vectors)


def _items(batch: Padded) -> Iterator[Tensor]:
    for values, length in zip(batch.values, batch.lengths.tolist(), strict=True):
        yield values[:length]


class Ordered(OverFrozen):
    """Frozen parts, each through a hidden layer, with its place in the order; then attention blocks where asked.

    Without blocks a part's vector is the sum of what it is and where it stands, so that the mean of all does not
    depend on their order.

    Args:
        inner: gives the parts.
        width: D.
        hidden: width of the hidden layer.
        blocks: attention blocks among the parts.
        pooling: "mean" of the parts; "first", a learned token before them (RoBERTa's way); or "last", the last part
            under causal attention (GPT-2's way).
        dropout: on a part's vector and on the hidden layer.
    """

    def __init__(
        self,
        inner: Encoder,
        width: int = 96,
        *,
        hidden: int = 256,
        blocks: int = 0,
        pooling: Literal["mean", "first", "last"] = "mean",
        dropout: float = 0.0,
    ) -> None:
        if width % 8:
            raise WrongValue(f"width={width}: wanted a multiple of 8")
        if (pooling == "mean") != (blocks == 0):
            raise WrongValue(f"pooling={pooling} with blocks={blocks}: the mean goes without blocks, others with them")
        settings = {"width": width, "hidden": hidden, "blocks": blocks, "pooling": pooling, "dropout": dropout}
        super().__init__(inner, width, settings)
        self.pooling = pooling
        self.norm = Standard(inner.width)
        self.entry = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(inner.width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
        )
        self.place = nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.exit = nn.LayerNorm(width) if blocks else nn.Identity()
        self.whole = nn.Parameter(torch.randn(width) / width**0.5) if pooling == "first" else None

    def encode(self, inner: Encoded) -> Encoded:
        """A vector for each part, and one for the whole."""
        mask_BT, count = inner.mask, inner.mask.shape[1]
        entered_BTD: Tensor = self.entry(self.norm(inner.tokens.flatten(0, 1))).reshape(*mask_BT.shape, -1)
        tokens_BTD = entered_BTD + self.place(positions(count, self.width).to(entered_BTD))
        tokens_BTD = torch.where(mask_BT[:, :, None], tokens_BTD, 0.0)
        if self.whole is not None:
            tokens_BTD = torch.cat([self.whole.expand(len(tokens_BTD), 1, -1), tokens_BTD], dim=1)
            mask_BT = torch.cat([mask_BT[:, :1], mask_BT], dim=1)
        allowed_BTT = _allowed(mask_BT, causal=self.pooling == "last")
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD, allowed_BTT)
        tokens_BTD = torch.where(mask_BT[:, :, None], self.exit(tokens_BTD), 0.0)
        if self.pooling == "first":
            return Encoded(tokens_BTD[:, 1:], inner.mask, tokens_BTD[:, 0])
        pooled_BD = last_token(tokens_BTD, mask_BT) if self.pooling == "last" else masked_mean(tokens_BTD, mask_BT)
        return Encoded(tokens_BTD, mask_BT, pooled_BD)

    @torch.no_grad()
    def prepare(self, items: Sequence[Any]) -> None:
        """Measure mean and deviation of the parts of training items (never of dev or test)."""
        inner = self.inner(self.inner.collate(items))
        self.norm.measure(inner.tokens[inner.mask])


class _Block(nn.Module):
    """Pre-norm attention and a feed-forward layer, where `allowed` says which part looks at which."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forth = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens_BTD: Tensor, allowed_BTT: Tensor) -> Tensor:
        """One block."""
        q, k, v = (
            torch.unflatten(part, 2, (self.heads, -1)).transpose(1, 2)
            for part in self.mix(self.norm(tokens_BTD)).chunk(3, dim=2)
        )
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=allowed_BTT[:, None])
        tokens_BTD = tokens_BTD + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = tokens_BTD + self.forth(tokens_BTD)
        return out


def _allowed(mask_BT: Tensor, *, causal: bool) -> Bool[Tensor, "b t t"]:
    """Which part looks at which; a part that is not there looks at itself, which is finite, and masked out later."""
    count = mask_BT.shape[1]
    allowed_BTT = mask_BT[:, None, :].expand(-1, count, -1)
    if causal:
        allowed_BTT = allowed_BTT & torch.ones(count, count, dtype=torch.bool, device=mask_BT.device).tril()
    return allowed_BTT | torch.eye(count, dtype=torch.bool, device=mask_BT.device)
