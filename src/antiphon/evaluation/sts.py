"""Semantic textual similarity: do cosines rank pairs of sentences as people do?

Spearman's rank correlation of cosines and scores, over all pairs of a set at once (the "all" setting of SimCSE, arXiv
2104.08821, appendix B), which is what most papers since report.

Axes: N pairs, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import cosine_similarity

from antiphon.evaluation.floors import jaccard, length_ratio, tfidf_cosines
from antiphon.runs import Measures


def sts(first_ND: Float[Tensor, "n d"], second_ND: Float[Tensor, "n d"], scores: Sequence[float]) -> float:
    """Spearman's correlation of cosines with scores, -1 to 1 (papers print it times 100).

    Raises:
        ValueError: fewer than three pairs, numbers that differ, or cosines or scores that are all alike.
    """
    if len(first_ND) != len(scores) or len(second_ND) != len(scores):
        raise ValueError(f"{len(first_ND)} and {len(second_ND)} vectors for {len(scores)} scores: wanted as many")
    return _spearman(cosine_similarity(first_ND.double(), second_ND.double(), dim=1).tolist(), scores)


def sts_floors(first: Sequence[str], second: Sequence[str], scores: Sequence[float]) -> Measures:
    """The same of what words alone tell: `jaccard`, `tfidf`, `length` (the ratio of lengths)."""
    pairs = list(zip(first, second, strict=True))
    return {
        "jaccard": _spearman([jaccard(a, b) for a, b in pairs], scores),
        "tfidf": _spearman(tfidf_cosines(first, second).tolist(), scores),
        "length": _spearman([length_ratio(a, b) for a, b in pairs], scores),
    }


def _spearman(found: Sequence[float], scores: Sequence[float]) -> float:
    if len(found) < 3 or len(set(scores)) < 2 or max(found) - min(found) < 1e-12:
        raise ValueError(
            f"{len(found)} pairs, {len(set(scores))} different scores, similarities from {min(found, default=0):g} to "
            f"{max(found, default=0):g}: a rank correlation wants three pairs or more that differ in both"
        )
    return float(spearmanr(found, scores).statistic)
