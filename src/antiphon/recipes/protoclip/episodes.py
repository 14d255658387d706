"""Episodes of ProtoCLIP: which rows an episode has, and what its clusters are.

Axes: M rows of an episode, K clusters, D width of the prototype heads, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from antiphon.data.collate import EPOCH, INDEX
from antiphon.evaluation.clustering import cluster_means, kmeans
from antiphon.objectives.contrast import contrast
from antiphon.training.learner import Batch


class Episodes:
    """A collate function that reads an epoch of `fit` as an episode: rows drawn anew, without replacement.

    `fit` is given `places`; place i of epoch e is the i-th row drawn for episode e, so that an episode is a pure
    function of the seed and its number, and a resumed run draws what the uninterrupted one does.

    Args:
        rows: all of them.
        size: M, at most all rows.
        seed: of the draws.
        collate: rows to a batch.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], size: int, seed: int, collate: Callable[[list[Any]], Batch]
    ) -> None:
        self.rows, self.size, self.seed, self.collate = rows, min(size, len(rows)), seed, collate
        self.places: list[dict[str, Any]] = [{} for _ in range(self.size)]
        self._drawn: tuple[int, list[int]] = (-1, [])

    def drawn(self, number: int) -> list[int]:
        """Which rows episode `number` has, in the order of their places."""
        if self._drawn[0] != number:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
            self._drawn = number, torch.randperm(len(self.rows), generator=generator)[: self.size].tolist()
        return self._drawn[1]

    def of(self, number: int) -> list[dict[str, Any]]:
        """The rows of an episode, as `fit` would hand them on."""
        return [
            {**self.rows[at], INDEX: place, EPOCH: number} for place, at in enumerate(self.drawn(number))
        ]  # fmt: skip

    def __call__(self, places: Sequence[Mapping[str, Any]]) -> Batch:
        """The batch of the rows at these places."""
        return self.collate([{**self.rows[self.drawn(place[EPOCH])[place[INDEX]]], **place} for place in places])


class Groups(nn.Module):
    """One clustering of an episode's rows: who is in which cluster, and what the clusters are to each student.

    Args:
        rows: M.
        count: K.
        width: D of the vectors that are clustered.
        students: name and D of the views that learn from it.
    """

    labels: Tensor
    centroids: Tensor
    alive: Tensor

    def __init__(self, rows: int, count: int, width: int, students: Mapping[str, int]) -> None:
        super().__init__()
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("centroids", torch.zeros(count, width))
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool))
        for student, inner in students.items():
            self.register_buffer(f"for_{student}", torch.zeros(count, inner))

    @torch.no_grad()
    def cluster(
        self,
        vectors_ME: Float[Tensor, "m e"],
        there_M: Bool[Tensor, " m"],
        students: Mapping[str, Tensor],
        *,
        seed: int,
        iterations: int,
        translated: bool,
    ) -> None:
        """Cluster the rows that are there by k-means, and take the clustering (`put`).

        Args:
            vectors_ME: what is clustered.
            there_M: rows that have both signals.
            students: each one's vectors, `(M, D)`.
            seed: of k-means.
            iterations: of k-means.
            translated: as of `put`.
        """
        count = min(len(self.centroids), int(there_M.sum()))
        found, centroids = kmeans(vectors_ME[there_M], count, seed=seed, iterations=iterations)
        labels_M = torch.zeros(len(there_M), dtype=torch.int64)
        labels_M[there_M] = found
        whole_KE = centroids.new_zeros(self.centroids.shape)
        whole_KE[:count] = centroids
        self.put(labels_M, whole_KE, there_M, students, translated=translated)

    @torch.no_grad()
    def put(
        self,
        labels_M: Int[Tensor, " m"],
        centroids_KD: Float[Tensor, "k d"],
        there_M: Bool[Tensor, " m"],
        students: Mapping[str, Tensor],
        *,
        translated: bool,
    ) -> None:
        """Take a clustering. Of a `translated` one each student's prototypes are the means of its own vectors.

        Args:
            labels_M: clusters; those of rows that are not there are not looked at.
            centroids_KD: as k-means gives them.
            there_M: rows that were clustered.
            students: each one's vectors, `(M, D)`.
            translated: whether by prototype back-translation; else the centroids themselves are the prototypes.
        """
        self.labels.copy_(labels_M)
        self.centroids.copy_(centroids_KD)
        for student, vectors_MD in students.items():
            means_KD, sizes_K = cluster_means(vectors_MD[there_M], labels_M[there_M], len(centroids_KD))
            self.alive.copy_(sizes_K > 0)
            self.prototypes(student).copy_(means_KD if translated else centroids_KD)

    def prototypes(self, student: str) -> Float[Tensor, "k d"]:
        """What the clusters are to a student."""
        return self.get_buffer(f"for_{student}")

    def targets(self, labels_B: Int[Tensor, " b"], temperature: float) -> Float[Tensor, "b k"]:
        """How near each cluster is to the row's own, by the centroids; one-hot at a temperature of 0.

        Empty clusters get nothing: their rows of zeros would score 0, more than a distant cluster does.
        """
        if temperature <= 0:
            return one_hot(labels_B, len(self.centroids)).to(self.centroids.dtype)
        scores_BK = self.centroids[labels_B] @ self.centroids.T / temperature
        return scores_BK.masked_fill(~self.alive, -torch.inf).softmax(1)

    def loss(
        self,
        student: str,
        scores: Callable[[Tensor], Tensor],
        vectors_BD: Float[Tensor, "b d"],
        labels_B: Int[Tensor, " b"],
        temperature: float,
    ) -> tuple[Float[Tensor, ""], float]:
        """How badly a student predicts the clusters, and the share that it predicts rightly.

        Args:
            student: its name.
            scores: cosines to scores (a learned scale).
            vectors_BD: its views, of unit length.
            labels_B: the clusters.
            temperature: of the targets.
        """
        scores_BK = scores(vectors_BD @ self.prototypes(student).T)
        mask_BK = self.alive.expand(len(labels_B), -1)
        loss = contrast(scores_BK, self.targets(labels_B, temperature), mask=mask_BK)
        chosen_B = scores_BK.detach().masked_fill(~mask_BK, -torch.inf).argmax(1)
        return loss, float((chosen_B == labels_B).float().mean())
