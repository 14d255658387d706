from __future__ import annotations

import inspect
import itertools
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.evaluation.retrieval import chance, nearest, retrieve

few = settings(max_examples=25, derandomize=True, deadline=None)


def made(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def labelled(rows: int, keys: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    key_labels = torch.randint(0, 4, (keys,), generator=generator)
    return key_labels[torch.randint(0, keys, (rows,), generator=generator)], key_labels


@few
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000), st.integers(1, 10))
def test_agrees_with_the_slow_loop(rows, keys, seed, chunk):
    queries, vectors = made(rows, 3, seed).round(), made(keys, 3, seed + 1).round()  # rounded: many ties
    labels, key_labels = labelled(rows, keys, seed)
    ranks = []
    for query, label in zip(queries, labels, strict=True):
        scores = [float(query @ vector) for vector in vectors]
        best = max(score for score, other in zip(scores, key_labels, strict=True) if other == label)
        ranks.append(1 + sum(score >= best for score, other in zip(scores, key_labels, strict=True) if other != label))
    found = retrieve(queries, vectors, (labels, key_labels), ks=(1, 3), chunk=chunk)
    assert found.ranks.tolist() == ranks
    assert found.as_dict() == pytest.approx(
        {
            "R@1": sum(rank <= 1 for rank in ranks) / rows,
            "R@3": sum(rank <= 3 for rank in ranks) / rows,
            "median_rank": statistics.median(ranks),
            "MRR": sum(1 / rank for rank in ranks) / rows,
            "n": rows,
        }
    )


def test_key_numbers_are_labels_too():
    queries, keys = made(4, 8), made(6, 8, 1)
    numbers = torch.tensor([5, 0, 2, 2])
    assert torch.equal(
        retrieve(queries, keys, numbers).ranks, retrieve(queries, keys, (numbers, torch.arange(6))).ranks
    )


def test_itself_is_found_first():
    vectors = torch.nn.functional.normalize(made(20, 8), dim=1)
    assert retrieve(vectors, vectors, torch.arange(20)).as_dict() == {
        "R@1": 1.0,
        "R@5": 1.0,
        "R@10": 1.0,
        "median_rank": 1.0,
        "MRR": 1.0,
        "n": 20,
    }


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_a_collapsed_space_ranks_last_whatever_the_chunk(chunk):
    queries, keys = made(1, 37).expand(50, 37), made(1, 37, 1).expand(61, 37).contiguous()
    found = retrieve(queries, keys, torch.arange(50), chunk=chunk)
    assert found.ranks.tolist() == [61] * 50


@few
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_order_and_the_scale_change_nothing(seed, factor):
    queries, keys = made(6, 4, seed), made(9, 4, seed + 1)
    labels, key_labels = labelled(6, 9, seed)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    before = retrieve(queries, keys, (labels, key_labels))
    after = retrieve(queries * factor, keys[order], (labels, key_labels[order]))
    assert torch.equal(before.ranks, after.ranks)


@pytest.mark.parametrize(("labels", "key_labels"), [([0, 1, 1], [0, 1, 1, 2, 3]), ([2], [2, 2, 2, 0, 1])])
def test_chance_agrees_with_all_orders(labels, key_labels):
    ranks = []
    for order in itertools.permutations(key_labels):
        for label in labels:
            ranks.append(1 + order.index(label))
    exact = chance(torch.tensor(labels), torch.tensor(key_labels), ks=(1, 2, 9))
    assert exact["R@1"] == pytest.approx(sum(rank <= 1 for rank in ranks) / len(ranks))
    assert exact["R@2"] == pytest.approx(sum(rank <= 2 for rank in ranks) / len(ranks))
    assert exact["R@9"] == 1
    assert exact["MRR"] == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks))
    assert exact["median_rank"] == statistics.median_low(ranks)


def test_chance_agrees_with_random_vectors():
    labels, key_labels = labelled(400, 30, 0)
    exact = chance(labels, key_labels)
    runs = [retrieve(made(400, 5, s), made(30, 5, 900 + s), (labels, key_labels)).as_dict() for s in range(40)]
    for name in ("R@1", "R@5", "R@10", "MRR"):
        values = [run[name] for run in runs]
        error = statistics.stdev(values) / math.sqrt(len(values))
        assert statistics.mean(values) == pytest.approx(exact[name], abs=4 * error + 1e-6)


def test_chance_in_closed_form():
    exact = chance(torch.arange(1000), torch.arange(1000))
    assert exact["R@1"] == pytest.approx(0.001)
    assert exact["R@10"] == pytest.approx(0.01)
    assert exact["median_rank"] == 500
    assert exact["MRR"] == pytest.approx(sum(1 / rank for rank in range(1, 1001)) / 1000)


def test_the_median_of_chance_is_half_the_keys():
    found = [chance(torch.tensor([0]), torch.arange(keys))["median_rank"] for keys in range(2, 200, 2)]
    assert found == [keys / 2 for keys in range(2, 200, 2)]


@few
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 1000), st.integers(1, 7))
def test_nearest_agrees_with_a_sort(rows, keys, seed, chunk):
    queries, vectors = made(rows, 2, seed).round(), made(keys, 2, seed + 1).round()
    k = 1 + seed % keys
    scores, indices = nearest(queries, vectors, k, chunk=chunk)
    for i in range(rows):
        row = (vectors @ queries[i]).tolist()
        wanted = sorted(range(keys), key=lambda j: (-row[j], j))[:k]
        assert indices[i].tolist() == wanted
        assert scores[i].tolist() == [row[j] for j in wanted]


def test_nearest_breaks_ties_by_the_lower_index():
    keys = made(1, 33).expand(300, 33).contiguous()
    _, indices = nearest(made(5, 33, 1), keys, 7)
    assert indices.tolist() == [list(range(7))] * 5


def test_errors():
    vectors = made(3, 2)
    with pytest.raises(ValueError, match="2 of 3 queries have no relevant key, the first is query 1"):
        retrieve(vectors, vectors, (torch.tensor([0, 7, 8]), torch.tensor([0, 1, 2])))
    with pytest.raises(ValueError, match="1 of 3 queries have no relevant key"):
        retrieve(vectors, vectors, torch.tensor([0, 1, 3]))
    with pytest.raises(ValueError, match="1 of 1 queries have no relevant key"):
        chance(torch.tensor([1]), torch.tensor([2]))
    with pytest.raises(ValueError, match="3 queries and 3 keys came with 2 and 3 labels"):
        inspect.unwrap(retrieve)(vectors, vectors, (torch.tensor([0, 1]), torch.arange(3)))
    broken = vectors.clone()
    broken[1, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 3 keys hold nan or inf, the first at 1"):
        retrieve(vectors, broken, torch.arange(3))
    with pytest.raises(ValueError, match="no queries"):
        retrieve(vectors[:0], vectors, torch.arange(0))
    with pytest.raises(ValueError, match="k is 4, wanted 1 to 3"):
        nearest(vectors, vectors, 4)
    with pytest.raises(ValueError, match="chunk is 0"):
        nearest(vectors, vectors, 1, chunk=0)
