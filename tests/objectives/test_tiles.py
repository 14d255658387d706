from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.distributed import Ring
from antiphon.objectives.negatives import duplicate_mask, false_negative_mask, off_diagonal
from antiphon.objectives.tiles import (
    Alone,
    Exchange,
    Mask,
    NotDuplicate,
    NotNearer,
    OffDiagonal,
    Pairs,
    SameLabel,
    tiles,
)

few = settings(max_examples=40, derandomize=True, deadline=None)
sizes = st.tuples(st.integers(1, 7), st.integers(0, 5), st.integers(1, 9))


def built(mask: Mask, queries: int, keys: int, size: int) -> torch.Tensor:
    """The whole matrix, of its tiles."""
    whole = torch.zeros(queries, keys, dtype=torch.bool)
    for tile in tiles(queries, keys, size, True):
        whole[tile.rows, tile.columns] = mask.of(tile, mask.carried)
    return whole


@few
@given(sizes)
def test_tiles_cover_each_pair_once_and_know_the_diagonal(shape):
    queries, extra, size = shape
    seen = torch.zeros(queries, queries + extra)
    for tile in tiles(queries, queries + extra, size, True):
        part = seen[tile.rows, tile.columns]
        assert part.shape == tile.shape
        part += 1
        own = tile.diagonal(part)
        if own is not None:
            own += 1
    assert torch.equal(seen, 1 + torch.eye(queries, queries + extra))


def test_another_process_has_no_own_keys():
    assert all(tile.diagonal(torch.zeros(tile.shape)) is None for tile in tiles(4, 4, 2, False))


@few
@given(sizes)
def test_masks_of_tiles_are_the_dense_ones(shape):
    queries, extra, size = shape
    keys = queries + extra
    labels, others = torch.arange(queries) % 2, torch.arange(keys) % 2
    teacher, key_teacher = (
        torch.arange(3.0 * queries).sin().view(queries, 3),
        torch.arange(3.0 * keys).cos().view(keys, 3),
    )
    assert torch.equal(built(OffDiagonal(), queries, keys, size), off_diagonal(queries, keys))
    assert torch.equal(built(NotDuplicate(labels, others), queries, keys, size), duplicate_mask(labels, others))
    near = false_negative_mask(teacher @ key_teacher.T, margin=0.01)
    assert torch.equal(built(NotNearer(teacher, key_teacher, margin=0.01), queries, keys, size), near)


def test_pairs_carry_everything_in_order():
    labels, teacher = torch.arange(3), torch.ones(3, 2)
    pairs = Pairs(SameLabel(labels), (NotDuplicate(labels), NotNearer(teacher, teacher)))
    assert [tuple(each.shape) for each in pairs.carried] == [(3,), (3,), (3, 2)]
    assert Pairs(None, ()).carried == ()


@pytest.mark.parametrize("exchange", [Alone(), Ring()])
def test_who_exchanges(exchange):
    assert isinstance(exchange, Exchange)
    assert [own for own, _, _ in exchange.circulate((torch.ones(2),))] == [True]
