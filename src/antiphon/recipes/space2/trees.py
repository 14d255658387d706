"""Semantic trees seen from ten views, and how much of them two turns share.

A view is a set: nodes D, I, S, V (domain, intent, slot, value), edges DI, IS, SV, paths DIS, ISV, DISV. Two turns score
the Jaccard index of their sets in each view. Sets are held as numbers, so that all scores of a batch are one product of
a sparse incidence matrix with itself: shared = A A^T, union = |a| + |b| - shared. The loss takes them dense
(`stacked`).

Axes: N turns, K numbers of a turn, V views.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from antiphon.errors import UserError

Branch = tuple[str | None, str | None, str | None, str | None]
"""Domain, intent, slot, value; None where there is none."""
Tree = Sequence[Branch]

VIEWS = {
    "D": (0,), "I": (1,), "S": (2,), "V": (3,), "DI": (0, 1), "IS": (1, 2), "SV": (2, 3), "DIS": (0, 1, 2),
    "ISV": (1, 2, 3), "DISV": (0, 1, 2, 3),
}  # fmt: skip
"""The ten views, by the levels of a branch that they look at."""


def read_tree(text: str | None, row: str) -> list[Branch]:
    """A tree written as JSON, its names in lower case and without space around; None is a tree without branches.

    Raises:
        UserError: not a list of lists of four texts or nulls.
    """
    try:
        found = json.loads(text) if text else []
        tree = [tuple(None if part is None else part.strip().lower() or None for part in branch) for branch in found]
        if all(len(branch) == len(VIEWS["DISV"]) for branch in tree):
            return tree  # type: ignore[return-value]
    except (json.JSONDecodeError, AttributeError, TypeError):
        pass
    raise UserError(f"row {row}: no tree in {text!r:.60}: wanted [[domain, intent, slot, value], ...], null for none")


def view_sets(tree: Tree) -> dict[str, frozenset[tuple[str, ...]]]:
    """What each view sees: the parts of branches that have all of its levels."""
    return {
        view: frozenset(
            tuple(part for level in levels if (part := branch[level]) is not None)
            for branch in tree
            if all(branch[level] is not None for level in levels)
        )
        for view, levels in VIEWS.items()
    }


class TreeCodes:
    """Numbers for all that the views see in these trees, from 1 on; those of a view follow each other.

    Attributes:
        starts: `(V + 1,)`, the first number of each view, and the one after the last.
        most: the most numbers that one tree has, at least 1.
    """

    def __init__(self, trees: Sequence[Tree]) -> None:
        sets = [view_sets(tree) for tree in {tuple(tree) for tree in trees}]
        self.places: dict[tuple[str, tuple[str, ...]], int] = {}
        starts = [1]
        for view in VIEWS:
            for part in sorted(set().union(*(found[view] for found in sets))):
                self.places[view, part] = 1 + len(self.places)
            starts.append(1 + len(self.places))
        self.starts = torch.tensor(starts)
        self.most = max([1, *(sum(len(found[view]) for view in VIEWS) for found in sets)])

    def __call__(self, tree: Tree) -> list[int]:
        """The numbers of a tree, in order."""
        return sorted(self.places[view, part] for view, found in view_sets(tree).items() for part in found)

    def matrix(self, trees: Sequence[Tree]) -> Int[Tensor, "n k"]:
        """The numbers of each tree, filled up with 0."""
        numbers = {tree: self(tree) for tree in {tuple(tree) for tree in trees}}
        filled = [[*numbers[tuple(tree)], *[0] * (self.most - len(numbers[tuple(tree)]))] for tree in trees]
        return torch.tensor(filled, dtype=torch.int64).reshape(len(trees), self.most)


def view_scores(codes: Int[Tensor, "n k"], starts: Int[Tensor, " bounds"]) -> list[sparse.csr_matrix]:
    """For each view the Jaccard index of every two turns, kept only where it is not zero; 0 where both sets are empty.

    A turn and itself score 1, by hand, so that one without annotation is a positive of its own copy alone.
    """
    found = []
    for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        scores, _ = _jaccard(_incidence(codes, low, high))
        scores = sparse.csr_matrix(scores + sparse.diags(1 - scores.diagonal()))
        scores.eliminate_zeros()
        found.append(scores)
    return found


def stacked(scores: Sequence[sparse.csr_matrix]) -> Float[Tensor, "v n n"]:
    """The same as one dense tensor."""
    return torch.from_numpy(np.stack([each.toarray() for each in scores])).float()


def combined_scores(codes: Int[Tensor, "n k"], starts: Int[Tensor, " bounds"]) -> Float[Tensor, "n n"]:
    """One score of every two turns: the mean of the views in which either has anything; 1 for a turn and itself."""
    total, seen = np.zeros((len(codes), len(codes))), np.zeros((len(codes), len(codes)))
    for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        scores, sizes = _jaccard(_incidence(codes, low, high))
        total += scores.toarray()
        seen += sizes[:, None] + sizes[None, :] > 0
    mean = torch.from_numpy(total / np.maximum(seen, 1)).float()
    return mean.fill_diagonal_(1)


def exact_scores(codes: Int[Tensor, "n k"]) -> Float[Tensor, "n n"]:
    """1 for two turns of the same tree, else 0; a turn without annotation is like itself alone."""
    _, which = torch.unique(codes, dim=0, return_inverse=True)
    same: Tensor = (which[:, None] == which[None, :]) & (codes > 0).any(1)[:, None]
    return same.float().fill_diagonal_(1)


Scores = Literal["views", "combined", "exact", "none"]


def pair_scores(
    kind: Scores, codes: Int[Tensor, "n k"], starts: Int[Tensor, " bounds"]
) -> Float[Tensor, "v n n"] | Float[Tensor, "1 n n"]:
    """What each projection is taught: a score matrix a view, or one for all of them."""
    if kind == "views":
        return stacked(view_scores(codes.cpu(), starts.cpu())).to(codes.device)
    if kind == "combined":
        return combined_scores(codes.cpu(), starts.cpu()).to(codes.device)[None]
    if kind == "exact":
        return exact_scores(codes)[None]
    return torch.eye(len(codes), device=codes.device)[None]


def _incidence(codes: Tensor, low: int, high: int) -> sparse.csr_matrix:
    """Which turn has which of the numbers from `low` to before `high`."""
    rows, columns = ((codes >= low) & (codes < high)).nonzero(as_tuple=True)
    places = codes[rows, columns].numpy() - low
    return sparse.csr_matrix((np.ones(len(rows)), (rows.numpy(), places)), shape=(len(codes), max(1, high - low)))


def _jaccard(incidence: sparse.csr_matrix) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Scores of pairs that share anything, and the sizes of the sets."""
    sizes = np.diff(incidence.indptr)
    shared = (incidence @ incidence.T).tocoo()
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    return sparse.csr_matrix((shared.data / union, (shared.row, shared.col)), shape=shared.shape), sizes
