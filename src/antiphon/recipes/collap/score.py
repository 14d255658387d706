"""S, the score of a long recording and a long text, as the recipe's docstring writes it.

Axes: A recordings, K clips, B texts, M sentences (with the whole text before them), D width.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.encoders.pooling import masked_mean


def fused(
    sound_AKD: Float[Tensor, "a k d"],
    there_AK: Bool[Tensor, "a k"],
    text_BMD: Float[Tensor, "b m d"],
    said_BM: Bool[Tensor, "b m"],
    focus: Float[Tensor, ""],
    *,
    attention: Literal["none", "text", "both"] = "text",
    fusion: Literal["vector", "score"] = "vector",
) -> Float[Tensor, "a b"]:
    """S of every recording and every text; the vectors v_ij and u_ij are never laid out, only their inner products.

    Args:
        sound_AKD: vectors of clips.
        there_AK: which clips are there; each recording has one or more.
        text_BMD: the whole text's vector, then those of its sentences.
        said_BM: which are there.
        focus: 1 / y.
        attention: which side attends.
        fusion: of vectors, or of the clips' scores.
    """
    if fusion == "score":
        weights_AKB = attended(sound_AKD, there_AK, text_BMD[:, 0], focus)
        cosines_AKB = normalize(sound_AKD, dim=2) @ normalize(text_BMD[:, 0], dim=1).T
        return (weights_AKB * cosines_AKB).sum(1)
    clips_AKB, parts_BMA = shares(sound_AKD, there_AK, text_BMD, said_BM, focus, attention=attention)
    text_BMD = text_BMD[:, : parts_BMA.shape[1]]
    inner_AKBM = torch.einsum("akd,bmd->akbm", sound_AKD, text_BMD)
    inner_AB = torch.einsum("abm,bma->ab", torch.einsum("akbm,akb->abm", inner_AKBM, clips_AKB), parts_BMA)
    return inner_AB / (_length(sound_AKD, clips_AKB) * _length(text_BMD, parts_BMA).T).clamp(min=1e-8)


def shares(
    sound_AKD: Float[Tensor, "a k d"],
    there_AK: Bool[Tensor, "a k"],
    text_BMD: Float[Tensor, "b m d"],
    said_BM: Bool[Tensor, "b m"],
    focus: Float[Tensor, ""],
    *,
    attention: Literal["none", "text", "both"],
) -> tuple[Float[Tensor, "a k b"], Float[Tensor, "b p a"]]:
    """How much of each clip is in v_ij + a_i, and of the whole text and each sentence in u_ij + t_j.

    Without the recording's attention the second has the whole text alone (P is 1, else M).
    """
    clips_AKB = (there_AK.to(sound_AKD) / there_AK.sum(1, keepdim=True).clamp(min=1))[:, :, None]
    if attention == "none":
        clips_AKB = clips_AKB.expand(-1, -1, len(text_BMD))
    else:
        clips_AKB = clips_AKB + attended(sound_AKD, there_AK, text_BMD[:, 0], focus)
    parts_BMA = text_BMD.new_ones(len(text_BMD), 1, len(sound_AKD))
    if attention == "both":
        mean_AD = masked_mean(sound_AKD, there_AK)
        parts_BMA = torch.cat([parts_BMA, attended(text_BMD[:, 1:], said_BM[:, 1:], mean_AD, focus)], dim=1)
    return clips_AKB, parts_BMA


def attended(
    parts_AKD: Float[Tensor, "a k d"],
    there_AK: Bool[Tensor, "a k"],
    asking_BD: Float[Tensor, "b d"],
    focus: Float[Tensor, ""],
) -> Float[Tensor, "a k b"]:
    """How much each asking vector looks at each part: softmax over the parts that are there."""
    cosines_AKB = normalize(parts_AKD, dim=2) @ normalize(asking_BD, dim=1).T
    return (focus * cosines_AKB).masked_fill(~there_AK[:, :, None], torch.finfo(cosines_AKB.dtype).min).softmax(1)


def _length(parts_AKD: Tensor, weights_AKB: Tensor) -> Float[Tensor, "a b"]:
    """Of the weighted sums of each item's parts, from the inner products of its parts."""
    grams_AKL = parts_AKD @ parts_AKD.transpose(1, 2)
    squares_AB = torch.einsum("akb,akl,alb->ab", weights_AKB, grams_AKL, weights_AKB)
    return squares_AB.clamp(min=1e-12).sqrt()
