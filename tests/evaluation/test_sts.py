"""Rank correlation of cosines with people's scores."""

import math
import os
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from antiphon.data.sources import load
from antiphon.evaluation.sts import sts, sts_floors


def test_is_spearmans_of_the_cosines():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 40, 7, generator=generator)
    scores = torch.randint(0, 6, (40,), generator=generator).tolist()
    cosines = [
        sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
        for u, v in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert sts(first, second, scores) == pytest.approx(spearmanr(cosines, scores).statistic)
    assert sts(first * 3, second, scores) == pytest.approx(sts(first, second, scores))


def test_what_cannot_be_ranked():
    rows = torch.eye(4)
    with pytest.raises(ValueError, match="4 pairs, 4 different scores, similarities from 1 to 1"):
        sts(rows, rows, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="4 and 4 vectors for 3 scores"):
        sts(rows, rows, [1, 2, 3])


@pytest.mark.data
@pytest.mark.parametrize(("name", "jaccard"), [("sts2013", 50.3), ("sts2014", 56.2)])
def test_floors_on_real_pairs(name, jaccard):
    """Word overlap on SemEval 2013 and 2014, measured independently of this code."""
    if not Path(os.environ.get("ANTIPHON_DATA", "nowhere"), "sts", f"{name}.test.tsv").is_file():
        pytest.skip(f"ANTIPHON_DATA has no sts/{name}.test.tsv")
    rows = load("sts", task=name, split="test")
    floors = sts_floors(rows["text_1"], rows["text_2"], rows["score"])
    assert 100 * floors["jaccard"] == pytest.approx(jaccard, abs=1.0)
    assert floors["length"] < floors["jaccard"] < floors["tfidf"]
