"""Collapse, told in one sentence: numbers of a running training in, a diagnosis or None out.

Axes: N vectors, D width, C codes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn.functional import normalize
from torch.special import entr

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


def dead_codes(counts_C: Num[Tensor, " c"], *, name: str = "codes", share: float = 0.1) -> str | None:
    """Are most codes (prototypes, clusters, codebook entries) never chosen?

    Looks at the perplexity of their use, exp(entropy): the number of codes that would be used if use were even.

    Args:
        counts_C: how often each code was chosen, or the sum of its soft assignments.
        name: what to call them.
        share: of the codes (of the items, where these are fewer), the least healthy perplexity.

    Raises:
        ValueError: a negative or not finite count, or no code.
    """
    counts_C = counts_C.detach().double()
    if len(counts_C) == 0 or not bool((counts_C.isfinite() & (counts_C >= 0)).all()):
        raise ValueError("dead_codes wants one count for each code, each finite and not negative")
    total = counts_C.sum().item()
    if total == 0:
        return None
    perplexity = math.exp(entr(counts_C / total).sum().item())
    if len(counts_C) < 2 or perplexity >= max(share * min(len(counts_C), total), 1 + 1e-3):
        return None
    dead = int((counts_C == 0).sum())
    return (
        f"The {name} are dying: {dead} of {len(counts_C)} were never chosen, and the rest do the work of "
        f"{perplexity:.1f} (their perplexity). Raise the diversity or balance loss, or start dead ones again."
    )


class CollapseWatch:
    """Looks at what a training logs and says each diagnosis once.

    Args:
        patience: how many logs in a row the loss must stay at log B; so many logs of codes are
            looked at together.
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
        self._codes: dict[str, list[Tensor]] = {}
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
        codes: Mapping[str, Tensor] | None = None,
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
            codes: `(C,)` by name, how often each code was chosen since the last log.
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
        for name, counts in (codes or {}).items():
            found[f"codes {name}"] = self._chosen(name, counts)
        fresh = {kind: text for kind, text in found.items() if text is not None and kind not in self._said}
        self._said |= set(fresh)
        return [f"Step {step}: {text}" for text in fresh.values()]

    def _loss(self, loss: float, batch_size: int) -> str | None:
        self._losses = [*self._losses, (loss, batch_size)][-self.patience :]
        if len(self._losses) < self.patience:
            return None
        return stuck_at_log_batch([each for each, _ in self._losses], [size for _, size in self._losses])

    def _chosen(self, name: str, counts_C: Tensor) -> str | None:
        self._codes[name] = [*self._codes.get(name, []), counts_C.detach().double()][-self.patience :]
        if len(self._codes[name]) < self.patience:
            return None
        return dead_codes(torch.stack(self._codes[name]).sum(0), name=name)

    def _rank(self, name: str, vectors_ND: Tensor) -> str | None:
        rank = effective_rank(normalize(vectors_ND.detach().double(), dim=1), centred=True)
        count, start = self._starts.setdefault(name, (len(vectors_ND), rank))
        return rank_fallen(rank, start, name=name, share=self.share) if len(vectors_ND) >= count else None
