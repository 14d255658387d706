"""SimCTG's contrastive loss: hidden states of different tokens of a text are pushed apart (arXiv 2202.06417).

With s the cosine of two tokens' last hidden states h, and rho the margin (as the official `simctg/lossfunction.py`):

    L_CL = mean over i != j of max(0, rho - s(h_i, h_i) + s(h_i, h_j)),    s(h_i, h_i) = 1

the mean being over all ordered pairs of real tokens of one text, of all texts of the batch: long texts weigh more. So
each pair with a cosine above 1 - rho costs; tokens with the same id are pushed apart as well. rho = 0 costs nothing.

Axes: B texts, T tokens, D width.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from antiphon.errors import WrongValue


def token_contrast(
    hidden_BTD: Float[Tensor, "b t d"],
    mask_BT: Bool[Tensor, "b t"] | None = None,
    *,
    margin: float = 0.5,
    rows: int | None = None,
) -> Float[Tensor, ""]:
    """L_CL, in `[0, margin + 1]` up to margin 2; 0 with zero gradients where no text has two tokens.

    Args:
        hidden_BTD: last hidden states; their lengths do not matter, and none is zero where the mask is True.
        mask_BT: True at real tokens, wherever they are; None: all are. What is masked is not looked at.
        margin: rho, 0 to 2; the paper takes 0.5.
        rows: texts compared at a time, and again in the backward pass, so that memory is rows x T x T; None: all.

    Raises:
        WrongValue: a margin outside 0 to 2, a mask of another shape, or `rows` below one.
    """
    sums_B, pairs_B = token_contrast_sums(hidden_BTD, mask_BT, margin=margin, rows=rows)
    return sums_B.sum() / pairs_B.sum().clamp(min=1)


def token_contrast_sums(
    hidden_BTD: Float[Tensor, "b t d"],
    mask_BT: Bool[Tensor, "b t"] | None = None,
    *,
    margin: float = 0.5,
    rows: int | None = None,
) -> tuple[Float[Tensor, " b"], Int[Tensor, " b"]]:
    """L_CL's numerator and denominator by text, which processes and micro-batches can add up.

    Args:
        hidden_BTD: as `token_contrast` takes them; so are the others.
        mask_BT: as there.
        margin: as there.
        rows: as there.

    Returns:
        The sum over a text's ordered pairs, and how many these are: n (n - 1) of n tokens.

    Raises:
        WrongValue: as there.
    """
    if not 0 <= margin <= 2:
        raise WrongValue(f"margin is {margin:g}: cosines differ by 2 at most, so wanted 0 to 2")
    if mask_BT is None:
        mask_BT = torch.ones(hidden_BTD.shape[:2], dtype=torch.bool, device=hidden_BTD.device)
    if mask_BT.shape != hidden_BTD.shape[:2]:  # else it might broadcast
        raise WrongValue(
            f"a mask of {tuple(mask_BT.shape)} for states of {tuple(hidden_BTD.shape)}: wanted one a token"
        )
    if rows is not None and rows < 1:
        raise WrongValue(f"rows={rows}: wanted one text or more at a time")
    counts_B = mask_BT.sum(1)
    pairs_B = counts_B * (counts_B - 1)
    if rows is None:
        return _sums(hidden_BTD, mask_BT, margin), pairs_B
    parts = [
        checkpoint(_sums, hidden_BTD[at : at + rows], mask_BT[at : at + rows], margin, use_reentrant=False)
        for at in range(0, len(mask_BT), rows)
    ]
    return torch.cat(parts), pairs_B


def _sums(hidden_BTD: Tensor, mask_BT: Tensor, margin: float) -> Tensor:
    precise = hidden_BTD.dtype if hidden_BTD.dtype == torch.float64 else torch.float32
    # masked before it is normalised: padding may hold nan, and 0 * nan is nan in both passes
    hidden_BTD = torch.where(mask_BT[:, :, None], hidden_BTD, 0.0).to(precise)
    unit_BTD = normalize(hidden_BTD, dim=2)
    cosines_BTT = unit_BTD @ unit_BTD.transpose(1, 2)
    other_TT = ~torch.eye(mask_BT.shape[1], dtype=torch.bool, device=mask_BT.device)
    pairs_BTT = mask_BT[:, :, None] & mask_BT[:, None, :] & other_TT
    return torch.where(pairs_BTT, (margin - 1 + cosines_BTT).relu(), 0.0).sum((1, 2))
