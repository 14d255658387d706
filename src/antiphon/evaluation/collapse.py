"""Collapse, told in one sentence: numbers of a running training in, a diagnosis or None out.

Axes: N vectors, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.evaluation.geometry import effective_rank


class CollapseWarning(UserWarning):
    """Training is collapsing; the text says how it shows."""


def constant_vectors(vectors_ND: Float[Tensor, "n d"], *, name: str = "vectors", spread: float = 1e-3) -> str | None:
    """Are all vectors (almost) one direction?

    Args:
        vectors_ND: embeddings of different items.
        name: what to call them.
        spread: the least healthy mean squared distance of the unit vectors from their centroid, which is one
            minus their mean cosine, over all pairs.
    """
    if not bool(vectors_ND.isfinite().all()):
        return f"The {name} hold nan or inf: lower the learning rate, or look for a division by zero in the encoder."
    unit_ND = normalize(vectors_ND.detach().double(), dim=1)
    found = (unit_ND - unit_ND.mean(0)).square().sum(1).mean().item()
    if len(vectors_ND) < 2 or found >= spread:
        return None
    return (
        f"The {name} have collapsed to a point: {len(vectors_ND)} different items have almost the same "
        f"direction (spread {found:.1g} of at most 1), so no loss can tell them apart."
    )


def stuck_at_log_batch(losses: Sequence[float], batch_sizes: Sequence[int], *, share: float = 0.01) -> str | None:
    """Is the loss that of guessing, log B, each time?

    Args:
        losses: contrastive losses (InfoNCE, natural logarithm), some time apart.
        batch_sizes: for each loss B, the number of keys each query was compared with; at least 2.
        share: how near log B counts as stuck, relative to it.
    """
    guesses = [math.log(size) for size in batch_sizes]
    near = [abs(loss - guess) <= share * guess for loss, guess in zip(losses, guesses, strict=True)]
    if not near or not all(near) or min(batch_sizes) < 2:
        return None
    return (
        f"The loss has stayed at log({batch_sizes[-1]}) = {guesses[-1]:.2f} for {len(losses)} "
        "logs: that is guessing, nothing is being learned. Check that the pairs belong together, that "
        "gradients flow, and the learning rate."
    )


def temperature_stuck(at_bound: bool, temperature: float) -> str | None:
    """Has the learned temperature run into its bound?"""
    if not at_bound:
        return None
    return (
        f"The temperature is at its bound, {temperature:.3g}: the loss wants sharper scores than it may "
        "have. That is usual late in training on clean pairs; early, it is a sign of "
        "overfitting or of too few negatives."
    )


def rank_fallen(rank: float, start: float, *, name: str = "vectors", share: float = 0.25) -> str | None:
    """Has the effective rank fallen below a share of what it was at the start?"""
    if rank >= share * start:
        return None
    return (
        f"The {name} are losing dimensions: their effective rank is {rank:.1f}, and was {start:.1f} at the "
        "start; few directions do all the work."
    )


class CollapseWatch:
    """Looks at what a training logs and says each diagnosis once.

    Args:
        patience: how many logs in a row the loss must stay at log B.
        share: of its first effective rank, below which a space is losing dimensions.

    Raises:
        ValueError: a patience below one, or a share outside (0, 1).
    """

    def __init__(self, *, patience: int = 20, share: float = 0.25) -> None:
        if patience < 1 or not 0 < share < 1:
            raise ValueError(f"patience {patience} and share {share:g}: wanted patience >= 1 and 0 < share < 1")
        self.patience = patience
        self.share = share
        self._losses: list[tuple[float, int]] = []
        self._starts: dict[str, tuple[int, float]] = {}
        self._said: set[str] = set()

    def observe(
        self,
        step: int,
        *,
        loss: float | None = None,
        batch_size: int | None = None,
        vectors: Mapping[str, Tensor] | Tensor | None = None,
        temperature: float | None = None,
        at_bound: bool = False,
    ) -> list[str]:
        """Take in one log; give back the sentences that are new, each with its step.

        Args:
            step: of the training.
            loss: the contrastive loss; looked at together with `batch_size`.
            batch_size: the number of keys each query was compared with.
            vectors: `(N, D)` of one space, or several by name. A batch smaller than the first one seen is not
                asked for its rank, which it could not reach.
            temperature: in force.
            at_bound: whether the temperature's bound is in force (`Scale.at_bound`).
        """
        found: dict[str, str | None] = {}
        if loss is not None and batch_size is not None:
            found["loss"] = self._loss(loss, batch_size)
        if temperature is not None:
            found["temperature"] = temperature_stuck(at_bound, temperature)
        named = {"vectors": vectors} if isinstance(vectors, Tensor) else vectors or {}
        for name, each in named.items():
            found[f"constant {name}"] = constant = constant_vectors(each, name=name)
            if constant is None and len(each) > 1:
                found[f"rank {name}"] = self._rank(name, each)
        fresh = {kind: text for kind, text in found.items() if text is not None and kind not in self._said}
        self._said |= set(fresh)
        return [f"Step {step}: {text}" for text in fresh.values()]

    def _loss(self, loss: float, batch_size: int) -> str | None:
        self._losses = [*self._losses, (loss, batch_size)][-self.patience :]
        if len(self._losses) < self.patience:
            return None
        return stuck_at_log_batch([each for each, _ in self._losses], [size for _, size in self._losses])

    def _rank(self, name: str, vectors_ND: Tensor) -> str | None:
        rank = effective_rank(normalize(vectors_ND.detach().double(), dim=1), centred=True)
        count, start = self._starts.setdefault(name, (len(vectors_ND), rank))
        return rank_fallen(rank, start, name=name, share=self.share) if len(vectors_ND) >= count else None
