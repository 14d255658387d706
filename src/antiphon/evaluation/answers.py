"""Retrieval between two columns of rows that carry labels, as measures for a table; and the best answers of a query."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from antiphon.evaluation.retrieval import chance, retrieve
from antiphon.runs import Measures


def answers(
    queries: Float[Tensor, "q d"],
    keys: Float[Tensor, "k d"],
    query_labels: Int[Tensor, " q"],
    key_labels: Int[Tensor, " k"],
) -> Measures:
    """R@1, R@5, R@10, median rank, n, and the chance levels of a random order; keys of the query's label are right.

    Keys that are one and the same (the caption of several pictures) stand once in the gallery. Queries whose
    label no key has are left out: n counts the others.
    """
    first = distinct(keys, key_labels)
    keys, key_labels = keys[first], key_labels[first]
    asked = torch.isin(query_labels, key_labels)
    if not asked.any():
        return {"n": 0}
    found = retrieve(queries[asked], keys, (query_labels[asked], key_labels)).as_dict()
    floor = chance(query_labels[asked], key_labels)
    return {**found, "keys": len(keys), **{f"chance {name}": value for name, value in floor.items() if name != "n"}}


def distinct(vectors: Float[Tensor, "k d"], labels: Int[Tensor, " k"]) -> Int[Tensor, " m"]:
    """The first place of every distinct pair of vector and label, in order."""
    seen: set[tuple[int, bytes]] = set()
    places = []
    for place, (vector, label) in enumerate(zip(vectors.float().cpu().numpy(), labels.tolist(), strict=True)):
        key = (label, vector.tobytes())
        if key not in seen:
            seen.add(key)
            places.append(place)
    return torch.tensor(places, dtype=torch.int64)
