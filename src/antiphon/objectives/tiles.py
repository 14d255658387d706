"""Tiles: targets and masks described so that any part of them can be made when it is looked at, and then forgotten.

Each description is a matrix of `targets` or `negatives` that is never built: it holds a tensor a query (rows) and
tensors a key, and `of` gives one tile. What it holds of the keys (`carried`) goes where the keys go: see `Exchange`.

Axes: Q queries (rows), K keys (columns), D width of a vector; R and C are the rows and columns of one tile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from antiphon.objectives.targets import shifted_cosine

TILE = 1024
"""Rows and columns of a tile: 4 MiB of float32, twice. From 512 to 2,048 all are as fast (to 3 %)."""


@dataclass(frozen=True)
class Tile:
    """Where a tile lies: queries and keys by their numbers in their own block, and how far the blocks are apart."""

    rows: slice
    columns: slice
    own: bool
    """Whether the block's key i is query i's own: so in the block of the same process."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def diagonal(self, tile_RC: Tensor) -> Tensor | None:
        """A view of the entries where query i meets key i; None if there are none."""
        offset, (rows, columns) = self.rows.start - self.columns.start, self.shape
        return tile_RC.diagonal(offset) if self.own and -rows < offset < columns else None


def tiles(queries: int, keys: int, size: int, own: bool) -> Iterator[Tile]:
    """All tiles of a block, row by row."""
    for row in range(0, queries, size):
        for column in range(0, keys, size):
            rows, columns = slice(row, min(row + size, queries)), slice(column, min(column + size, keys))
            yield Tile(rows, columns, own)


@runtime_checkable
class Exchange(Protocol):
    """How blocks of keys meet the queries: alone there is one block; `antiphon.distributed.Ring` passes them on."""

    def circulate(
        self, carried: tuple[Tensor, ...], sums: tuple[Tensor, ...] = ()
    ) -> Iterator[tuple[bool, tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """Each process's `carried` with its `sums`, to be changed in place; the own `sums` are whole at the end.

        The flag is `Tile.own`: True for the block of this process.
        """
        ...

    def total(self, local: Tensor) -> Tensor:
        """The sum over processes; its gradient is the own part's."""
        ...

    def own(self, rows: Tensor) -> Tensor:
        """Rows of this process, whose gradient is averaged with the other processes' afterwards."""
        ...

    def shared(self, parameter: Tensor) -> Tensor:
        """A tensor that all processes have alike: its gradient is summed over them."""
        ...


class Alone:
    """One process: one block, and nothing to sum."""

    def circulate(
        self, carried: tuple[Tensor, ...], sums: tuple[Tensor, ...] = ()
    ) -> Iterator[tuple[bool, tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """The one block."""
        yield True, carried, sums

    def total(self, local: Tensor) -> Tensor:
        """The number itself."""
        return local

    def own(self, rows: Tensor) -> Tensor:
        """The rows themselves."""
        return rows

    def shared(self, parameter: Tensor) -> Tensor:
        """The parameter itself."""
        return parameter


class Targets(ABC):
    """Who should match whom: weights that are divided by the sum of their row, as the functions of `targets` do."""

    carried: tuple[Tensor, ...]
    """What is known of the keys, a row each."""
    logarithmic = False
    """True where `of` gives logarithms of weights."""

    @abstractmethod
    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """The weights of one tile, before they are divided by the sum of their row."""


class Mask(ABC):
    """Which pairs may be compared."""

    carried: tuple[Tensor, ...]

    @abstractmethod
    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """True where a pair of the tile may be compared."""


class SameLabel(Targets):
    """`targets.same_label`, tile by tile (SupCon).

    Args:
        labels_Q: labels of the queries.
        labels_K: labels of the keys; None: the keys are the queries.
        drop_diagonal: key i is query i itself and is no positive. Give the mask `OffDiagonal` too.
    """

    def __init__(
        self, labels_Q: Int[Tensor, " q"], labels_K: Int[Tensor, " k"] | None = None, *, drop_diagonal: bool = False
    ) -> None:
        self.labels_Q = labels_Q
        self.carried = (labels_Q if labels_K is None else labels_K,)
        self.drop_diagonal = drop_diagonal

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """The weights of one tile."""
        same_RC = (self.labels_Q[tile.rows, None] == carried[0][None, tile.columns]).to(torch.get_default_dtype())
        if self.drop_diagonal and (own := tile.diagonal(same_RC)) is not None:
            own.zero_()
        return same_RC


class BySimilarity(Targets):
    """`targets.by_similarity`, tile by tile (CWCL).

    Args:
        vectors_QD: the queries' counterparts in the frozen space; any length.
        keys_KD: the keys there; None: the keys are the queries.
        weight: cosines to weights >= 0, entry by entry.
    """

    def __init__(
        self,
        vectors_QD: Float[Tensor, "q d"],
        keys_KD: Float[Tensor, "k d"] | None = None,
        *,
        weight: Callable[[Tensor], Tensor] = shifted_cosine,
    ) -> None:
        self.unit_QD = F.normalize(vectors_QD.detach(), dim=1)
        self.carried = (self.unit_QD if keys_KD is None else F.normalize(keys_KD.detach(), dim=1),)
        self.weight = weight

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """The weights of one tile."""
        return self.weight(self.unit_QD[tile.rows] @ carried[0][tile.columns].T)


class Softened(Targets):
    """`targets.softened(vectors @ keys.T)`, tile by tile (distillation from a teacher's vectors).

    Args:
        vectors_QD: the teacher's vectors of the queries, taken as they are: normalise them for cosines.
        keys_KD: the teacher's vectors of the keys; None: the keys are the queries.
        temperature: > 0.

    Raises:
        ValueError: a temperature that is not positive.
    """

    logarithmic = True

    def __init__(
        self, vectors_QD: Float[Tensor, "q d"], keys_KD: Float[Tensor, "k d"] | None = None, *, temperature: float
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature:g}, wanted > 0 (leave targets out for hard ones)")
        self.vectors_QD = vectors_QD.detach() / temperature
        self.carried = (vectors_QD.detach() if keys_KD is None else keys_KD.detach(),)

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """The weights of one tile."""
        return self.vectors_QD[tile.rows] @ carried[0][tile.columns].T


class NotNearer(Mask):
    """`negatives.false_negative_mask(vectors @ keys.T)`, tile by tile (GISTEmbed).

    Args:
        vectors_QD: a guide's vectors of the queries, taken as they are: normalise them for cosines.
        keys_KD: the guide's vectors of the keys, of which the first Q are the queries' own.
        margin: a key is left out where it is nearer than the query's own key by more than this.

    Raises:
        ValueError: fewer keys than queries.
    """

    def __init__(self, vectors_QD: Float[Tensor, "q d"], keys_KD: Float[Tensor, "k d"], *, margin: float = 0.0) -> None:
        if len(keys_KD) < len(vectors_QD):
            raise ValueError(f"{len(vectors_QD)} queries but {len(keys_KD)} keys: each query needs its own key")
        self.vectors_QD = vectors_QD.detach()
        self.carried = (keys_KD.detach(),)
        self.reach_Q = (self.vectors_QD * self.carried[0][: len(vectors_QD)]).sum(1) + margin

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """True where a pair of the tile may be compared."""
        allowed_RC = ~(self.vectors_QD[tile.rows] @ carried[0][tile.columns].T > self.reach_Q[tile.rows, None])
        if (own := tile.diagonal(allowed_RC)) is not None:
            own.fill_(True)
        return allowed_RC


class NotDuplicate(Mask):
    """`negatives.duplicate_mask`, tile by tile: keys of the query's own label are left out, except its own key.

    Args:
        labels_Q: labels of the queries.
        labels_K: labels of the keys; None: those of the queries.
    """

    def __init__(self, labels_Q: Int[Tensor, " q"], labels_K: Int[Tensor, " k"] | None = None) -> None:
        self.labels_Q = labels_Q
        self.carried = (labels_Q if labels_K is None else labels_K,)

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """True where a pair of the tile may be compared."""
        different_RC = self.labels_Q[tile.rows, None] != carried[0][None, tile.columns]
        if (own := tile.diagonal(different_RC)) is not None:
            own.fill_(True)
        return different_RC


class AllowedKeys(Mask):
    """Keys that nobody may be compared with are left out: the empty places of a `MemoryQueue`.

    Args:
        allowed_K: False at keys to leave out.
    """

    def __init__(self, allowed_K: Bool[Tensor, " k"]) -> None:
        self.carried = (allowed_K,)

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """True where a pair of the tile may be compared."""
        return carried[0][None, tile.columns].expand(tile.shape)


class OffDiagonal(Mask):
    """`negatives.off_diagonal`, tile by tile: key i of query i is left out."""

    def __init__(self, *, device: torch.device | None = None) -> None:
        self.carried = ()
        self.device = device

    def of(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """True where a pair of the tile may be compared."""
        allowed_RC = torch.ones(tile.shape, dtype=torch.bool, device=self.device)
        if (own := tile.diagonal(allowed_RC)) is not None:
            own.fill_(False)
        return allowed_RC


class Pairs:
    """Targets and masks together, with all that they carry of the keys.

    Args:
        targets: None: query i matches key i.
        masks: a pair is compared where all of them allow it.
    """

    def __init__(self, targets: Targets | None, masks: tuple[Mask, ...]) -> None:
        self.targets, self.masks = targets, masks
        self.sums_Q: Tensor | None = None
        parts = ([] if targets is None else [targets.carried]) + [mask.carried for mask in masks]
        self.carried = tuple(tensor for part in parts for tensor in part)

    def allowed(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor | None:
        """True where a pair may be compared; None: everywhere."""
        at = 0 if self.targets is None else len(self.targets.carried)
        allowed_RC: Tensor | None = None
        for mask in self.masks:
            one_RC = mask.of(tile, carried[at : at + len(mask.carried)])
            allowed_RC = one_RC if allowed_RC is None else allowed_RC & one_RC
            at += len(mask.carried)
        return allowed_RC

    def weights(self, tile: Tile, carried: tuple[Tensor, ...]) -> Tensor:
        """What the targets give, before it is divided by the sum of its row."""
        assert self.targets is not None
        return self.targets.of(tile, carried[: len(self.targets.carried)])

    def shares(self, tile: Tile, carried: tuple[Tensor, ...], like: Tensor) -> Tensor:
        """The targets of one tile; a row of zeros stays zero. `sums_Q` is known by now."""
        assert self.targets is not None
        assert self.sums_Q is not None
        weights_RC, sums_R1 = self.weights(tile, carried).to(like.dtype), self.sums_Q[tile.rows, None]
        if self.targets.logarithmic:
            return weights_RC.sub_(sums_R1).exp_()
        return weights_RC / torch.where(sums_R1 > 0, sums_R1, torch.ones_like(sums_R1))
