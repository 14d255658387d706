"""Rank correlation of cosines with people's scores."""

import math
import os
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from scipy.stats import spearmanr

from antiphon.data.pairs import Pairs
from antiphon.data.sources import load
from antiphon.evaluation.sts import (
    above,
    balanced,
    negations,
    partial_spearman,
    scored_sets,
    similarities,
    similarity,
    sts,
    sts_floors,
    word_floors,
)


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


def test_what_only_repeats_the_words_in_common_has_no_partial_correlation():
    assert partial_spearman([1, 2, 3, 4], [2, 1, 4, 3], [1, 2, 3, 4]) == pytest.approx(0.0, abs=1e-6)
    # without ties a rank correlation is 1 - 6 sum d^2 / (n (n^2 - 1))
    found, scores, given = [1, 2, 3, 4], [2, 1, 4, 3], [3, 1, 2, 4]
    a, b, c = (1 - 6 * sum((x - y) ** 2 for x, y in zip(*pair, strict=True)) / 60 for pair in (
        (found, scores), (found, given), (scores, given)
    ))  # fmt: skip
    wanted = (a - b * c) / ((1 - b * b) * (1 - c * c)) ** 0.5
    assert partial_spearman(found, scores, given) == pytest.approx(wanted)


def test_above_counts_pairs():
    assert above([0.9, 0.2, 0.5], ["ENTAILMENT", "CONTRADICTION", "ENTAILMENT"]) == 1.0
    assert above([0.1, 0.2, 0.5, 0.5], ["ENTAILMENT", "CONTRADICTION", "ENTAILMENT", "CONTRADICTION"]) == 1.5 / 4


def test_several_sets_and_their_means():
    sets = {
        f"{split}/{name}": load("sts", task="made", split=name)
        for split, name in (("dev", "a"), ("test", "b"), ("test", "c"))
    }
    words = sorted(
        {
            word
            for rows in sets.values()
            for side in ("text_1", "text_2")
            for text in rows[side]
            for word in text.split()
        }
    )

    def embed(texts):
        counts = torch.tensor([[float(text.split().count(word)) for word in words] for text in texts])
        return torch.nn.functional.normalize(counts, dim=1)

    found, floors = similarities(embed, sets), word_floors(sets)
    for key in ("sts", "partial", "order"):
        assert found[f"test/{key}"] == pytest.approx((found[f"test/b/{key}"] + found[f"test/c/{key}"]) / 2)
    assert found["dev/sts"] == found["dev/a/sts"]
    first, second = (embed(sets["dev/a"][side]) for side in ("text_1", "text_2"))
    assert found["dev/sts"] == pytest.approx(sts(first, second, sets["dev/a"]["score"]))
    assert floors["jaccard/test/sts"] == pytest.approx(
        (floors["jaccard/test/b/sts"] + floors["jaccard/test/c/sts"]) / 2
    )
    assert floors["jaccard/dev/order"] > 0.8


def test_pairs_of_dev_that_a_test_set_has_are_left_out(tmp_path):
    files = {
        "dev": "text_1,text_2,score\nA man plays.,A man sings!,1\nA dog runs,A cat runs,2\nA dog runs,A cow,3\n",
        "test": "text_1,text_2,score\na man sings,a man plays,1\nA dog runs,A cow runs,3\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    dev, test = (
        Pairs(source="folder", options={"folder": str(tmp_path / f"{name}.csv")}, columns=("text_1", "text_2"))
        for name in files
    )
    sets = scored_sets([dev], [test])
    assert list(sets["dev/folder"]["text_2"]) == ["A cat runs", "A cow"]
    assert len(sets["test/folder"]) == 2


def _relations(*rows):
    names = ("text_1", "text_2", "score", "relation")
    return Dataset.from_dict({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})


PAIRS = [
    ("a man runs", "a man is running", 5.0, "ENTAILMENT"),
    ("a man runs", "no man runs", 3.0, "CONTRADICTION"),
    ("nobody sings", "nothing sings", 4.0, "ENTAILMENT"),
    ("a dog is wet", "a dog is dry", 2.0, "CONTRADICTION"),
    ("he isn't here", "he is here", 3.0, "CONTRADICTION"),
    ("a cat", "a knot", 1.0, "NEUTRAL"),
]


@pytest.mark.parametrize(
    ("text", "count"),
    [("No, it is NOT so", 2), ("nobody knows nothing", 2), ("it isn't, it can\u2019t", 2), ("a knot in november", 0)],
)
def test_words_of_negation_are_counted(text, count):
    assert negations(text) == count


def test_pairs_that_a_detector_of_negation_tells_are_no_part_of_the_balanced_ones():
    """One that sees negation alone orders all pairs of this set but one, and is no better than chance on the rest."""
    rows = _relations(*PAIRS)
    assert balanced(rows) == [0, 2, 3, 5]

    def detector(texts):
        vectors = [[1.0, 0.0] if negations(text) else [0.8, 0.6] if "knot" in text else [0.6, 0.8] for text in texts]
        return torch.tensor(vectors, dtype=torch.float64)

    found = similarity(detector, rows)
    assert found["order"] == pytest.approx((4 + 2 / 2) / 6)
    assert found["order_balanced"] == pytest.approx(0.5)
    floors = word_floors({"test/made": rows})
    assert floors["negation/test/order"] == pytest.approx((4 + 2 / 2) / 6)
    assert floors["jaccard/test/order"] == pytest.approx(0.5 / 6)  # 2/5 and 1/3 against 2/4, 3/5 and 2/5
    assert floors["jaccard/test/order_balanced"] == 0.0  # 2/5 and 0 against the contradiction's 3/5
    assert "sts_balanced" not in similarity(detector, _relations(*PAIRS[1:4], PAIRS[4]))  # two pairs left: too few
