"""Stage 3: in-batch negatives without those that a frozen encoder finds to mean the same.

With s+ and s- the cosines of texts with all positives and all hard negatives of a batch, and the frozen g,

    m_ij = 0 where cos(g(x_i), g(x_j)) > phi, else 1       m'_ij = 0 where cos(g(x_i), g(x_j-)) > phi, else 1
    L_i = -log e^{s+_ii / t} / sum_j (m_ij e^{s+_ij / t} + m'_ij e^{s-_ij / t})

with m_ii = 1. The mask and phi = 0.95 are verified (the released README), that form of L is reconstructed. What
the released code computes (verified, `cl_masked_forward`) is kept as `official`: logits times m, so that a masked pair
still counts e^0, and the mean over all entries of binary cross-entropy on the softmax.

Axes: N rows, M hard negatives, K keys (N positives, then M hard negatives).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from antiphon.objectives.contrast import contrast
from antiphon.runs import Measures


def allowed_pairs(
    guide_NK: Float[Tensor, "n k"], there_K: Bool[Tensor, " k"], bound: float, *, rescued: bool = True
) -> Bool[Tensor, "n k"]:
    """Which keys each row is compared with: m and m', and at least one negative of each row that has any.

    Args:
        guide_NK: the frozen encoder's cosines of rows with what the keys stand for; the first N keys are the rows'.
        there_K: which keys there are; the rows' own positives are all there.
        bound: phi; what is above it is left out.
        rescued: keep the farthest negative of a row that the mask leaves none; the released code does not.
    """
    rows = len(guide_NK)
    own_NK = torch.eye(rows, guide_NK.shape[1], dtype=torch.bool, device=guide_NK.device)
    negative_NK = there_K & ~own_NK
    kept_NK = negative_NK & ~(guide_NK > bound)
    if not rescued:
        return own_NK | kept_NK
    farthest_N = guide_NK.masked_fill(~negative_NK, torch.inf).argmin(1)
    lonely_N = ~kept_NK.any(1) & negative_NK.any(1)
    last_NK = torch.zeros_like(own_NK).scatter(1, farthest_N[:, None], lonely_N[:, None])
    return own_NK | kept_NK | last_NK


def masked_contrast(scores_NK: Float[Tensor, "n k"], allowed_NK: Bool[Tensor, "n k"]) -> Float[Tensor, ""]:
    """L: InfoNCE in which a masked pair is not there.

    Args:
        scores_NK: cosines over the temperature.
        allowed_NK: by `allowed_pairs`.
    """
    return contrast(scores_NK, mask=allowed_NK)


def official(
    scores_NK: Float[Tensor, "n k"], allowed_NK: Bool[Tensor, "n k"], there_K: Bool[Tensor, " k"]
) -> Float[Tensor, ""]:
    """What the released code computes in the place of L; about 2N times smaller.

    Args:
        scores_NK: cosines over the temperature.
        allowed_NK: by `allowed_pairs`, without a rescue.
        there_K: which keys there are at all.
    """
    shares_NK = torch.where(allowed_NK, scores_NK, 0.0)[:, there_K].softmax(1)
    return binary_cross_entropy(shares_NK, torch.eye(*shares_NK.shape, device=shares_NK.device).to(shares_NK))


def share_masked(
    texts_ND: Float[Tensor, "n d"],
    contrary_ND: Float[Tensor, "n d"] | None,
    bound: float,
    *,
    batch_size: int,
    seed: int,
) -> Measures:
    """Shares of pairs above phi, in batches drawn by a seed.

    `masked/texts`: rows with others' positives; `masked/contrary`: with others' hard negatives; `masked/own`: with
    their own. `masked/rescued` is the share of rows that the mask would leave no negative, and that keep one.

    Args:
        texts_ND: the guide's unit vectors of the texts.
        contrary_ND: those of the hard negatives; None where there are none.
        bound: phi.
        batch_size: of a batch.
        seed: of the order.
    """
    order = torch.randperm(len(texts_ND), generator=torch.Generator().manual_seed(seed))
    found: dict[str, list[Tensor]] = {name: [] for name in ("texts", "contrary", "own", "rescued")}
    for part in torch.split(order, batch_size):
        others = ~torch.eye(len(part), dtype=torch.bool)
        near = texts_ND[part] @ texts_ND[part].T > bound
        found["texts"].append(near[others])
        negatives = near | ~others
        if contrary_ND is not None:
            contrary = texts_ND[part] @ contrary_ND[part].T > bound
            found["contrary"].append(contrary[others])
            found["own"].append(contrary.diagonal())
            negatives = torch.cat([negatives, contrary], 1)
        found["rescued"].append(negatives.all(1))
    pooled = {name: torch.cat(values).double() for name, values in found.items() if values}
    return {f"masked/{name}": float(values.mean()) if len(values) else 0.0 for name, values in pooled.items()}
