"""Which rows make which batch: the whole epoch's plan as a pure function of (seed, epoch).

So a run that stopped at batch k goes on at batch k with nothing to restore, and the number of workers, the
machine and the order of earlier epochs change nothing.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Hashable, Iterator, Sequence


def batches(
    rows: int | Sequence[float],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    block: int = 0,
    drop_last: bool = False,
    bucket: int | None = None,
    max_total: float | None = None,
    distinct: Sequence[Hashable] | None = None,
) -> list[list[int]]:
    """The batches of one epoch, as row indices.

    Each row comes once, except those that `drop_last` leaves out (other ones each epoch).

    Args:
        rows: how many rows there are, or the length of each (samples, tokens, seconds: any unit).
        batch_size: most rows in a batch.
        seed: of the run.
        epoch: another epoch, another order.
        block: of an epoch that is read in blocks, each has an order of its own (`data.streaming`).
        drop_last: leave out what does not fill a batch. Not with `max_total`, where batches differ in size
            anyway.
        bucket: how many batches' worth of shuffled rows are sorted by length before they are cut into
            batches: more means less padding and less chance. Needs lengths.
        max_total: most rows x longest length in a batch, in the unit of the lengths: a budget of padded size.
            A row that is longer than the budget is a batch by itself. Needs lengths.
        distinct: for each row a key that should not come twice in a batch (a caption, a concept: its rows
            would be false negatives). A row whose key is in every open batch waits; what is left at the end
            may still meet.

    Raises:
        ValueError: options that do not go together, or a size that is not positive.
    """
    lengths = None if isinstance(rows, int) else rows
    count = rows if isinstance(rows, int) else len(rows)
    _check(lengths, count, batch_size, bucket, max_total, drop_last, distinct)
    rng = random.Random(f"{seed}/{epoch}/{block}" if block else f"{seed}/{epoch}")
    order = list(range(count))
    rng.shuffle(order)
    if distinct is not None:
        plan = _apart(order, distinct, batch_size)
    else:
        if lengths is not None and bucket is not None:
            order = _bucketed(order, lengths, bucket * batch_size)
        plan = list(_cut(order, lengths if max_total is not None else None, batch_size, max_total or 0))
    if drop_last and plan and len(plan[-1]) < batch_size:
        plan.pop()
    if bucket is not None:
        rng.shuffle(plan)  # else each bucket goes from short to long
    return plan


def padding_waste(plan: Sequence[Sequence[int]], lengths: Sequence[float]) -> float:
    """Padded size over real size: 1 is none, 2 means that half of what is computed is padding."""
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in plan)
    return padded / sum(lengths[index] for batch in plan for index in batch)


def _bucketed(order: list[int], lengths: Sequence[float], size: int) -> list[int]:
    """Within each run of `size` rows, from short to long; the sort is stable, so ties stay shuffled."""
    starts = range(0, len(order), size)
    return [index for start in starts for index in sorted(order[start : start + size], key=lambda row: lengths[row])]


def _cut(order: list[int], lengths: Sequence[float] | None, size: int, budget: float) -> Iterator[list[int]]:
    batch: list[int] = []
    longest = 0.0
    for index in order:
        length = lengths[index] if lengths is not None else 0.0
        if batch and (len(batch) == size or (len(batch) + 1) * max(longest, length) > budget > 0):
            yield batch
            batch, longest = [], 0.0
        batch.append(index)
        longest = max(longest, length)
    if batch:
        yield batch


def _apart(order: list[int], keys: Sequence[Hashable], size: int) -> list[list[int]]:
    """Every full batch has distinct keys where enough keys are left; the rest is cut as it comes."""
    plan: list[list[int]] = []
    fresh, waiting = iter(order), deque[int]()
    while True:
        batch: list[int] = []
        seen: set[Hashable] = set()
        later = deque[int]()
        while len(batch) < size and (index := waiting.popleft() if waiting else next(fresh, -1)) >= 0:
            (later if keys[index] in seen else batch).append(index)
            seen.add(keys[index])
        while len(batch) < size and later:  # too few keys are left to fill it: rows of one key must meet
            batch.append(later.popleft())
        if not batch:
            return plan
        plan.append(batch)
        waiting = later + waiting


def _check(
    lengths: Sequence[float] | None,
    count: int,
    batch_size: int,
    bucket: int | None,
    max_total: float | None,
    drop_last: bool,
    distinct: Sequence[Hashable] | None,
) -> None:
    if batch_size < 1 or (bucket is not None and bucket < 1) or (max_total is not None and max_total <= 0):
        raise ValueError(f"batch_size={batch_size}, bucket={bucket}, max_total={max_total}: must be above zero")
    if lengths is None and (bucket is not None or max_total is not None):
        raise ValueError("bucket and max_total need the length of each row, not only their number")
    if max_total is not None and drop_last:
        raise ValueError("drop_last and max_total do not go together: with a budget, batches differ in size")
    if distinct is not None and (bucket is not None or max_total is not None):
        raise ValueError("distinct does not go together with bucket or max_total")
    if distinct is not None and len(distinct) != count:
        raise ValueError(f"{len(distinct)} keys for {count} rows: distinct needs one for each")
