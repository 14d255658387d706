"""From one vector a position to one vector an item; padded positions never count.

Axes: B items, T positions, D width, L layers, H attention heads.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def masked_mean(tokens_BTD: Float[Tensor, "b t d"], mask_BT: Bool[Tensor, "b t"]) -> Float[Tensor, "b d"]:
    """The mean over real positions; zero for an item that has none."""
    return torch.where(mask_BT[:, :, None], tokens_BTD, 0.0).sum(1) / mask_BT.sum(1, keepdim=True).clamp(min=1)


def last_token(tokens_BTD: Float[Tensor, "b t d"], mask_BT: Bool[Tensor, "b t"]) -> Float[Tensor, "b d"]:
    """The last real position of each item; zero for an item that has none."""
    places_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)
    last_B = places_BT.masked_fill(~mask_BT, 0).amax(1)
    rows_B = torch.arange(len(mask_BT), device=mask_BT.device)
    return tokens_BTD[rows_B, last_B] * mask_BT.any(1, keepdim=True)


class AttentionPooling(nn.Module):
    """A learned weighted mean of positions: one softmax over time for each of several slices of the width.

    Args:
        width: D, divisible by `heads`.
        heads: how many slices have weights of their own.
    """

    def __init__(self, width: int, *, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.scores = nn.Linear(width, heads)
        nn.init.zeros_(self.scores.weight)  # starts as the plain mean
        nn.init.zeros_(self.scores.bias)

    def forward(self, tokens_BTD: Float[Tensor, "b t d"], mask_BT: Bool[Tensor, "b t"]) -> Float[Tensor, "b d"]:
        """Pool real positions; zero for an item that has none."""
        tokens_BTD = torch.where(mask_BT[:, :, None], tokens_BTD, 0.0)
        scores_BTH: Tensor = self.scores(tokens_BTD)
        scores_BTH = scores_BTH.masked_fill(~mask_BT[:, :, None], torch.finfo(scores_BTH.dtype).min)
        weights_BTH = scores_BTH.softmax(1) * mask_BT[:, :, None]
        slices_BTHd = torch.unflatten(tokens_BTD, 2, (self.heads, -1))
        return (slices_BTHd * weights_BTH[..., None]).sum(1).flatten(1)


class LayerMix(nn.Module):
    """A learned softmax-weighted sum of L layers that stand side by side in the width (as in ELMo and SUPERB)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    def forward(self, tokens: Float[Tensor, "*b ld"]) -> Float[Tensor, "*b d"]:
        """`(..., L * D)` to `(..., D)`."""
        stacked = torch.unflatten(tokens, -1, (len(self.logits), -1))
        return (stacked * self.logits.softmax(0)[:, None]).sum(-2)


def segments(
    tokens_BTD: Float[Tensor, "b t d"], mask_BT: Bool[Tensor, "b t"], count: int
) -> Float[Tensor, "b {count} d"]:
    """The item's real positions as `count` overlapping means in order, by triangular windows; zero for an empty item.

    An item of exactly `count` positions is left as it is; a shorter one is interpolated; one segment is the mean.

    Args:
        count: S, how many segments.
    """
    if count == 1:
        return masked_mean(tokens_BTD, mask_BT)[:, None]
    lengths_B11 = mask_BT.sum(1)[:, None, None].to(tokens_BTD.dtype)
    steps_S = torch.arange(count, device=tokens_BTD.device, dtype=tokens_BTD.dtype)
    centres_BS1 = (steps_S[None, :, None] + 0.5) * lengths_B11 / count - 0.5
    centres_BS1 = torch.minimum(centres_BS1.clamp(min=0.0), (lengths_B11 - 1).clamp(min=0.0))
    places_T = torch.arange(tokens_BTD.shape[1], device=tokens_BTD.device, dtype=tokens_BTD.dtype)
    reach_B11 = (lengths_B11 / count).clamp(min=1.0)
    weights_BST = (1.0 - (places_T - centres_BS1).abs() / reach_B11).clamp(min=0.0) * mask_BT[:, None, :]
    return (weights_BST / weights_BST.sum(2, keepdim=True).clamp(min=1e-6)) @ tokens_BTD
