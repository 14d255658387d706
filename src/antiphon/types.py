"""The two shapes in which signals travel: `Padded` goes into an encoder, `Encoded` comes out.

Axes: B items of a batch, T positions (samples, frames, token ids, patches), D width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Index = slice | Tensor
Views = dict[str, Tensor]
"""What a contrastive loss sees: tensors that share their first axis, one entry for each row of the batch."""


@dataclass(frozen=True)
class Padded:
    """A batch of items of unequal length, padded with zeros at the end.

    Args:
        values: `(B, T, ...)`: waveform samples, token ids, frames; for images `(B, 3, H, W)`.
        lengths: `(B,)` int64, how much of axis 1 is real. Zero means that the row has no such item.
    """

    values: Shaped[Tensor, "b t *rest"]
    lengths: Int[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: Index) -> Padded:
        return Padded(self.values[index], self.lengths[index])

    def to(self, device: torch.device | str) -> Padded:
        """The same batch on another device."""
        return Padded(self.values.to(device), self.lengths.to(device))

    def trimmed(self) -> Padded:
        """The same items without the padding that all of them share (one position is left where all are absent)."""
        return Padded(self.values[:, : max(1, int(self.lengths.max()))] if len(self) else self.values, self.lengths)

    @property
    def mask(self) -> Bool[Tensor, "b t"]:
        """True where a position is real."""
        return length_mask(self.lengths, self.values.shape[1])

    @property
    def present(self) -> Bool[Tensor, " b"]:
        """True where the row has an item."""
        return self.lengths > 0


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a `Padded` batch.

    Args:
        tokens: `(B, T, D)`, one vector for each position.
        mask: `(B, T)`, True where a position is real.
        pooled: `(B, D)`, one vector for each item, by the encoder's own pooling.
    """

    tokens: Float[Tensor, "b t d"]
    mask: Bool[Tensor, "b t"]
    pooled: Float[Tensor, "b d"]

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, index: Index) -> Encoded:
        return Encoded(self.tokens[index], self.mask[index], self.pooled[index])

    def to(self, device: torch.device | str) -> Encoded:
        """The same batch on another device."""
        return Encoded(self.tokens.to(device), self.mask.to(device), self.pooled.to(device))


def length_mask(lengths: Int[Tensor, " b"], size: int) -> Bool[Tensor, "b t"]:
    """True at the first `lengths[i]` of `size` positions of row i."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


class InputCut(UserWarning):
    """An input was longer than its encoder takes, and was cut: never done without this warning."""
