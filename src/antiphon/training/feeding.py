"""What a training is fed: batch after batch, epoch after epoch, from any `Place` on.

Rows come in segments: an epoch of rows that are in memory, a block of a `Stream`. A segment's plan is a pure function
of (seed, epoch, block), and a row's augmentation of (seed, epoch, row). So the place in the data is a few numbers, and
the number of workers and of processes changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from antiphon.data.collate import EPOCH, INDEX
from antiphon.data.sampling import batches
from antiphon.data.streaming import Mark, Stream
from antiphon.distributed import rank, world_size
from antiphon.errors import UserError
from antiphon.training.learner import Batch

Collate = Callable[[list[dict[str, Any]]], Batch]
Sizes = Sequence[float] | Callable[[dict[str, Any]], float]
"""How long each row is (seconds, tokens), or what tells it of a row."""


class FeedError(UserError, RuntimeError):
    """Rows or workers that training cannot go on with; one line that says why."""


@dataclass(frozen=True)
class Place:
    """Where a training stands in its data.

    Args:
        epoch: how many epochs came before.
        mark: where the current segment begins (streams only).
        batch: how many batches of it came before.
    """

    epoch: int = 0
    mark: Mark = Mark()  # noqa: RUF009  (frozen)
    batch: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Place:
        """As `to_json` gave it."""
        return cls(found["epoch"], Mark(**found["mark"]), found["batch"])


@dataclass(frozen=True)
class _Segment:
    rows: _Rows | list[dict[str, Any]]
    plan: list[list[int]]
    start: Place


class Feed:
    """This process's part of every batch.

    Args:
        rows: a sequence of dicts, or a `Stream` of them.
        batch_size: rows of a batch, over all processes.
        seed: of the run.
        collate: rows to a batch.
        sizes: of the rows, to batch like with like.
        bucket: as `sampling.batches` takes it; used with sizes only.
        workers: processes that collate; 0 collates in this one.
        timeout: seconds that a worker may take for a batch.

    Raises:
        FeedError: no rows, or fewer rows in a batch than processes.
    """

    def __init__(
        self,
        rows: Sequence[Any] | Stream,
        *,
        batch_size: int,
        seed: int,
        collate: Collate,
        sizes: Sizes | None = None,
        bucket: int = 0,
        workers: int = 0,
        timeout: float = 0,
    ) -> None:
        if not isinstance(rows, Stream) and len(rows) == 0:
            raise FeedError("no rows to train on: look at the split and at the columns that rows must have")
        if not isinstance(rows, Stream) and sizes is not None and not callable(sizes) and len(sizes) != len(rows):
            raise ValueError(f"{len(sizes)} sizes for {len(rows)} rows: give one for each")
        if isinstance(rows, Stream) and sizes is not None and not callable(sizes):
            raise ValueError("sizes of a stream are not known beforehand: give a function of a row")
        self.rows, self.batch_size, self.seed, self.collate = rows, batch_size, seed, collate
        self.sizes, self.bucket, self.workers, self.timeout = sizes if bucket else None, bucket, workers, timeout
        self.place = Place()
        self._current: _Segment | None = None

    def batches(self, count: int) -> Iterator[Batch]:
        """The next `count` batches; `place` is always the one after the last batch that was given."""
        for segment in self._segments(self.place) if count > 0 else ():
            self._current, self.place = segment, segment.start
            plan = segment.plan[segment.start.batch :][:count]
            loader: DataLoader[Any] = DataLoader(
                segment.rows,  # type: ignore[arg-type]
                batch_sampler=[_share(batch) for batch in plan],
                collate_fn=self.collate,
                num_workers=self.workers,
                timeout=self.timeout if self.workers else 0,
                generator=torch.Generator().manual_seed(0),  # the loader draws a seed that nothing here uses
            )
            for batch in _handed_over(loader):
                self.place = replace(self.place, batch=self.place.batch + 1)
                yield batch
            count -= len(plan)
            if count <= 0:
                return

    def describe(self) -> dict[str, Any]:
        """What must stay the same for a place to mean the same."""
        if isinstance(self.rows, Stream):
            return {"batch_size": self.batch_size, "block": self.rows.block, "shards": self.rows.names()}
        return {"batch_size": self.batch_size, "rows": len(self.rows)}

    def names(self, batch: Batch) -> list[str]:
        """The `id`s (else the numbers) of a batch's rows; none where the batch does not say which they are."""
        numbers = batch.get("row")
        if not isinstance(numbers, torch.Tensor) or self._current is None:
            return []
        rows, first = self._current.rows, self._current.start.mark.read
        return [str(rows[number - first].get("id", number)) for number in numbers.tolist()]

    def _segments(self, start: Place) -> Iterator[_Segment]:
        while True:
            found = self._stream(start) if isinstance(self.rows, Stream) else self._in_memory(start)
            empty = True
            for segment in found:
                empty = False
                yield segment
            if empty and start == Place():
                raise FeedError("no rows to train on: the stream is empty")
            start = Place(epoch=start.epoch + 1)

    def _in_memory(self, start: Place) -> Iterator[_Segment]:
        assert not isinstance(self.rows, Stream)
        rows = _Rows(self.rows, start.epoch)
        if callable(self.sizes):
            self.sizes = [self.sizes(row) for row in self.rows]
        yield _Segment(rows, self._plan(len(rows), self.sizes, start.epoch), start)

    def _stream(self, start: Place) -> Iterator[_Segment]:
        assert isinstance(self.rows, Stream)
        size = max(1, self.rows.block // self.batch_size) * self.batch_size
        batch = start.batch
        for block in self.rows.blocks(size, seed=self.seed, epoch=start.epoch, start=start.mark):
            sizes = [self.sizes(row) for row in block.rows] if callable(self.sizes) else None
            plan = self._plan(len(block.rows), sizes, start.epoch, block.start.read)
            yield _Segment(block.rows, plan, Place(start.epoch, block.start, batch))
            batch = 0

    def _plan(self, count: int, sizes: Sequence[float] | None, epoch: int, block: int = 0) -> list[list[int]]:
        size = min(self.batch_size, count)
        if size < world_size():
            raise FeedError(f"{size} rows in a batch for {world_size()} processes: each needs one, start fewer")
        rows, bucket = (count, None) if sizes is None else (sizes, self.bucket)
        return batches(rows, batch_size=size, seed=self.seed, epoch=epoch, block=block, drop_last=True, bucket=bucket)


class _Rows:
    """Rows that know their place and epoch, for per-row seeds."""

    def __init__(self, rows: Sequence[Any], epoch: int) -> None:
        self.rows, self.epoch = rows, epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.rows[index], INDEX: index, EPOCH: self.epoch}


def _share(batch: list[int]) -> list[int]:
    """This process's contiguous part of a batch: gathered in the order of ranks, the parts are the batch again."""
    start, end = (len(batch) * part // world_size() for part in (rank(), rank() + 1))
    return batch[start:end]


_AGAIN = "the same command goes on from the last checkpoint"
_MEMORY = "(out of memory? then lower train.workers or train.batch_size)"
_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (is killed by signal: [^.]*|exited unexpectedly)")
_HUNG = re.compile(r"DataLoader timed out after ([\d.]+) seconds")


def _handed_over(loader: DataLoader[Any]) -> Iterator[Batch]:
    """The loader's batches; a worker that dies as it hands one over shows as a connection that breaks."""
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (EOFError, ConnectionError, FileNotFoundError) as error:
            if loader.num_workers == 0 or "DataLoader worker" in str(error):  # an error of reading the row itself
                raise
            raise FeedError(f"a data worker died as it handed over a batch {_MEMORY}: {_AGAIN}") from error
        yield batch


@contextmanager
def worker_faults_in_words() -> Iterator[None]:
    """A worker that dies or hangs ends the block with a `FeedError` of one line."""
    try:
        yield
    except RuntimeError as error:
        said = f"{error.__cause__} {error}"  # torch tells the signal in the cause
        if killed := _KILLED.search(said):
            how = killed[2].strip().replace("is killed", "was killed")
            raise FeedError(f"data worker {killed[1]} {how} {_MEMORY}: {_AGAIN}") from error
        if hung := _HUNG.search(said):
            raise FeedError(
                f"a data worker gave nothing for {float(hung[1]):g} s (train.worker_timeout): look at what it reads "
                f"(a network disk?), or allow more: {_AGAIN}"
            ) from error
        raise
