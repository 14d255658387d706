"""How good continuations are without references: repetition, diversity, coherence, length, and a frontier of clusters.

As arXiv 2210.14140 and its code measure them, over whitespace words:

    rep_n     = 100 (1 - different n-grams / all n-grams)     different within each text, both summed over texts
    diversity = (1 - rep_2 / 100) (1 - rep_3 / 100) (1 - rep_4 / 100)
    coherence = mean over texts of the mean over tokens of log p(token | prefix, tokens before), by another model

No one of them says enough: noise is diverse, and a loop is coherent. So they are shown together, beside those of
people's own continuations, at one length: short texts repeat less.

Axes: N texts, T tokens, V words, D width, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.encoders.batched import evaluating
from antiphon.errors import WrongValue
from antiphon.evaluation.clustering import kmeans


def repetition(texts: Sequence[str], n: int, *, official: bool = False) -> float:
    """rep_n, 0 to 100: how many of the n-grams stood in the same text before.

    Args:
        texts: continuations, without their prefixes.
        n: words of an n-gram.
        official: as the official code counts, whose loop leaves out each text's last n-gram; rounded to two decimals.

    Raises:
        WrongValue: no text has n words.
    """
    different = total = 0
    for text in texts:
        words = text.split()
        grams = [tuple(words[at : at + n]) for at in range(len(words) - n + (not official))]
        different, total = different + len(set(grams)), total + len(grams)
    if n < 1 or total == 0:
        raise WrongValue(f"no text has {n} words or more, so none of their {n}-grams can repeat")
    found = 100 * (1 - different / total)
    return round(found, 2) if official else found


def diversity(texts: Sequence[str], *, official: bool = False) -> float:
    """The product over n = 2, 3, 4 of 1 - rep_n / 100, 0 to 1 (published as per cents).

    Args:
        texts: continuations, without their prefixes.
        official: as `repetition` takes it; gives the published values of the published texts.

    Raises:
        WrongValue: no text has four words.
    """
    return math.prod(1 - repetition(texts, n, official=official) / 100 for n in (2, 3, 4))


def generation_length(texts: Sequence[str]) -> float:
    """Words of a text, on average.

    Raises:
        WrongValue: no texts.
    """
    if not texts:
        raise WrongValue("no texts: their length is that of one text or more")
    return sum(len(text.split()) for text in texts) / len(texts)


@torch.inference_mode()
def log_likelihoods(
    model: Any, tokenizer: Any, prefixes: Sequence[str], texts: Sequence[str], *, batch_size: int = 16
) -> Float[Tensor, " n"]:
    """The mean log p (natural logarithm) of each text's tokens behind its prefix, all tokens before them being given.

    Prefix and text are read by the tokenizer one by one, the text without special tokens, and joined.

    Args:
        model: a causal language model of `transformers`, the judge; in evaluation mode meanwhile.
        tokenizer: its own.
        prefixes: what stands before each text, of a token or more.
        texts: with the blank they begin with, if any.
        batch_size: texts at a time.

    Raises:
        WrongValue: another number of prefixes, or a prefix or text without a token.
    """
    if len(prefixes) != len(texts) or not texts:
        raise WrongValue(f"{len(prefixes)} prefixes of {len(texts)} texts: wanted one of each text, one text or more")
    before = [list(tokenizer(prefix)["input_ids"]) for prefix in prefixes]
    after = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    for at, (left, right) in enumerate(zip(before, after, strict=True)):
        if not left or not right:
            raise WrongValue(f"text {at} ({texts[at][:40]!r} behind {prefixes[at][:40]!r}): no token on one side")
    found = []
    with evaluating(model):
        for at in range(0, len(after), batch_size):
            found.append(_mean_logp(model, before[at : at + batch_size], after[at : at + batch_size]))
    return torch.cat(found)


def coherence(model: Any, tokenizer: Any, prefixes: Sequence[str], texts: Sequence[str]) -> float:
    """The mean of `log_likelihoods`: below 0, and higher where the judge expected the texts."""
    return float(log_likelihoods(model, tokenizer, prefixes, texts).mean())


def mauve_lite(
    human_ND: Float[Tensor, "n d"],
    machine_MD: Float[Tensor, "m d"],
    *,
    clusters: int | None = None,
    seed: int = 0,
    scale: float = 5.0,
    points: int = 25,
) -> float:
    """The area under the divergence frontier of two sets of texts' vectors, 0 to 1; 1 where their clusters agree.

    As MAUVE (arXiv 2102.01454) from k-means over both: P and Q are the shares of the clusters,
    R = l P + (1 - l) Q, and the curve is (e^{-c KL(Q|R)}, e^{-c KL(P|R)}) over l. Not comparable with published values:
    those are of other vectors, of thousands of texts, with PCA before.

    Args:
        human_ND: vectors of people's texts.
        machine_MD: vectors of made texts.
        clusters: K; None: a tenth of the smaller set, at least 2.
        seed: of k-means.
        scale: c.
        points: how many l.

    Raises:
        WrongValue: fewer than two texts on a side, or more clusters than texts.
    """
    fewest = min(len(human_ND), len(machine_MD))
    count = max(2, round(fewest / 10)) if clusters is None else clusters
    if fewest < 2 or not 1 <= count <= len(human_ND) + len(machine_MD):
        raise WrongValue(
            f"{count} clusters of {len(human_ND)} and {len(machine_MD)} texts: wanted two texts or more each"
        )
    labels, _ = kmeans(torch.cat([human_ND, machine_MD]), count, seed=seed, iterations=50, restarts=5)
    sides = labels[: len(human_ND)], labels[len(human_ND) :]
    left, right = (torch.bincount(side, minlength=count).double().numpy() / len(side) for side in sides)
    return frontier_area(left, right, scale=scale, points=points)


def frontier_area(left: np.ndarray, right: np.ndarray, *, scale: float = 5.0, points: int = 25) -> float:
    """The area under the divergence frontier of two distributions over the same clusters; see `mauve_lite`."""
    curve = [(1.0, 0.0), (0.0, 1.0)]
    for weight in np.linspace(1e-6, 1 - 1e-6, points):
        mixed = weight * left + (1 - weight) * right
        curve.append((math.exp(-scale * _kl(right, mixed)), math.exp(-scale * _kl(left, mixed))))
    falling = np.array(sorted(curve, key=lambda point: (point[0], -point[1])))
    return float(np.trapezoid(falling[:, 1], falling[:, 0]))


def _kl(left: np.ndarray, right: np.ndarray) -> float:
    there = left > 0
    return float((left[there] * np.log(left[there] / right[there])).sum())


def _mean_logp(model: Any, before: list[list[int]], after: list[list[int]]) -> Tensor:
    lines = [left + right for left, right in zip(before, after, strict=True)]
    ids_NT = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.int64)
    counts_NT = torch.zeros(ids_NT.shape, dtype=torch.bool)
    for at, (left, line) in enumerate(zip(before, lines, strict=True)):
        ids_NT[at, : len(line)] = torch.tensor(line)
        counts_NT[at, len(left) : len(line)] = True
    logits_NTV = model(input_ids=ids_NT.to(model.device), use_cache=False).logits[:, :-1].float().cpu()
    logp_NT = logits_NTV.gather(2, ids_NT[:, 1:, None])[:, :, 0] - logits_NTV.logsumexp(2)
    kept_NT = counts_NT[:, 1:]
    return torch.where(kept_NT, logp_NT, 0.0).sum(1) / kept_NT.sum(1)
