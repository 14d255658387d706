"""Plans of an epoch: pure functions, every row once, little padding, budgets kept."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.data.sampling import batches, padding_waste

LENGTHS = [1 + (i * 7919) % 97 for i in range(500)]


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(0, 60),
    size=st.integers(1, 9),
    seed=st.integers(0, 3),
    how=st.sampled_from(["plain", "bucket", "budget", "distinct"]),
)
def test_every_row_comes_once(count: int, size: int, seed: int, how: str) -> None:
    options = {
        "plain": {},
        "bucket": {"bucket": 2},
        "budget": {"max_total": 120, "bucket": 3},
        "distinct": {"distinct": [i % 7 for i in range(count)]},
    }[how]
    plan = batches(LENGTHS[:count], batch_size=size, seed=seed, epoch=1, **options)
    assert sorted(chain.from_iterable(plan)) == list(range(count))
    assert all(0 < len(batch) <= size for batch in plan)
    assert plan == batches(LENGTHS[:count], batch_size=size, seed=seed, epoch=1, **options)
    if how != "budget":
        assert sum(len(batch) < size for batch in plan) <= 1
    else:
        assert all(len(batch) == 1 or len(batch) * max(LENGTHS[i] for i in batch) <= 120 for batch in plan)


def test_epochs_and_seeds_differ() -> None:
    plans = [batches(100, batch_size=10, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert plans[0] != plans[1] != plans[2] != plans[0]


def test_drop_last_drops_other_rows_each_epoch() -> None:
    plans = [batches(25, batch_size=10, seed=0, epoch=epoch, drop_last=True) for epoch in range(6)]
    assert all([len(batch) for batch in plan] == [10, 10] for plan in plans)
    assert set().union(*(set(chain.from_iterable(plan)) for plan in plans)) == set(range(25))


def test_buckets_save_padding_and_stay_random() -> None:
    plain = batches(LENGTHS, batch_size=10, seed=0, epoch=0)
    sorted_ = batches(LENGTHS, batch_size=10, seed=0, epoch=0, bucket=50)
    some = batches(LENGTHS, batch_size=10, seed=0, epoch=0, bucket=10)
    assert padding_waste(plain, LENGTHS) > 1.6
    assert padding_waste(some, LENGTHS) < 1.15
    assert padding_waste(sorted_, LENGTHS) < 1.03
    longest = [max(LENGTHS[i] for i in batch) for batch in sorted_]
    assert longest != sorted(longest)
    assert {frozenset(batch) for batch in some} != {
        frozenset(batch) for batch in batches(LENGTHS, batch_size=10, seed=0, epoch=1, bucket=10)
    }


def test_a_key_comes_once_in_a_batch_while_that_is_possible() -> None:
    keys = [i % 40 for i in range(200)]
    plan = batches(200, batch_size=16, seed=0, epoch=0, distinct=keys)
    met = [len(batch) - len({keys[i] for i in batch}) for batch in plan]
    assert met[:8] == [0] * 8
    plain = batches(200, batch_size=16, seed=0, epoch=0)
    assert sum(met) < sum(len(batch) - len({keys[i] for i in batch}) for batch in plain) / 4


def test_padding_waste_by_hand() -> None:
    assert padding_waste([[0, 1], [2]], [1, 3, 5]) == (2 * 3 + 5) / 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "above zero"),
        ({"bucket": 4}, "length of each row"),
        ({"max_total": 10.0}, "length of each row"),
        ({"distinct": [1, 2]}, "2 keys for 5 rows"),
    ],
)
def test_errors(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        batches(5, **{"batch_size": 2, "seed": 0, "epoch": 0} | options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not go together"):
        batches([1.0] * 5, batch_size=2, seed=0, epoch=0, max_total=9, drop_last=True)
    with pytest.raises(ValueError, match="does not go together"):
        batches([1.0] * 5, batch_size=2, seed=0, epoch=0, max_total=9, distinct=[0] * 5)
