"""Rows that are never all in memory: shards or a `datasets.IterableDataset`, read in blocks, resumed to the row.

The rows of an epoch come in an order that is a pure function of (seed, epoch): shards in a shuffled order, an iterable
data set in its own. They are cut into blocks; inside a block rows are shuffled into batches by `sampling.batches`.
So all state is a `Mark`, where the current block begins, and the number of the batch in it: a resumed run reads one
block again, there is no shuffle buffer to lose, and workers and processes change nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import IterableDataset

from antiphon.data.collate import EPOCH, INDEX
from antiphon.data.shards import check_sizes, read_shard, shard_files
from antiphon.decode import BadInput


@dataclass(frozen=True)
class Mark:
    """A place between two rows of an epoch.

    Args:
        shard: the number of the shard in this epoch's order.
        row: rows of that shard that come before.
        read: rows of the epoch that come before.
    """

    shard: int = 0
    row: int = 0
    read: int = 0


@dataclass(frozen=True)
class Block:
    """Rows that are in memory together, and where they begin."""

    rows: list[dict[str, Any]]
    start: Mark


class Stream:
    """Rows for `fit` that are read as they are needed; two blocks of them are in memory.

    Every process reads all rows and decodes its own share only.

    Args:
        source: tar shards, as `data.shards.shard_files` takes them, or an iterable data set. The latter must give the
            same rows each time it is read (after `set_epoch`, where it has been shuffled); a resumed run reads over
            the rows of the epoch that it has had. A resumed run on shards opens no shard that it has had.
        block: how many rows are shuffled together.

    Raises:
        BadInput: a shard that the index names is missing, or has another size. While reading: another checksum, a
            broken shard, or fewer rows than there were.
    """

    def __init__(self, source: str | Path | IterableDataset, *, block: int = 8192) -> None:
        if block < 1:
            raise ValueError(f"block={block}: must be above zero")
        self.block = block
        self.dataset = _undecoded(source) if isinstance(source, IterableDataset) else None
        self.files = [] if isinstance(source, IterableDataset) else shard_files(source)
        check_sizes(self.files)
        self._verified: set[Path] = set()

    def blocks(self, size: int, *, seed: int, epoch: int, start: Mark = Mark()) -> Iterator[Block]:
        """The blocks of an epoch from `start` on, which must be where a block of this size began.

        Each has `size` rows; the last one also what would not fill another.

        Args:
            size: rows of a block; a multiple of the batch size leaves rows out at the epoch's end only.
            seed: of the run.
            epoch: another epoch, another order of the shards.
            start: where to begin.
        """
        rows = self._rows(seed, epoch, start)
        held = list(islice(rows, size))
        while held:
            more = list(islice(rows, size))
            if len(more) < size:
                held, more = held + more, []
            yield Block([row for _, row in held], held[0][0])
            held = more

    def names(self) -> list[str]:
        """The shards' names, sorted; none for an iterable data set."""
        return [file.name for file in self.files]

    def _rows(self, seed: int, epoch: int, start: Mark) -> Iterator[tuple[Mark, dict[str, Any]]]:
        order: list[Path | None] = [*self.files] or [None]
        random.Random(f"{seed}/{epoch}/shards").shuffle(order)
        read = start.read
        for shard, file in enumerate(order[start.shard :], start=start.shard):
            before = start.row if shard == start.shard else 0
            rows = self._open(file, epoch)
            had = sum(1 for _ in islice(rows, before))
            if had < before:
                raise BadInput(f"{file or 'stream'}: {had} rows, the checkpoint was made after {before}: data changed")
            for place, row in enumerate(rows, start=before):
                label = row.get("id", f"{file.stem}/{row['__key__']}" if file else f"row {place}")
                yield Mark(shard, place, read), {**row, "id": label, INDEX: read, EPOCH: epoch}
                read += 1

    def _open(self, file: Path | None, epoch: int) -> Iterator[dict[str, Any]]:
        if file is not None:
            fresh = file not in self._verified
            self._verified.add(file)
            return read_shard(file, verify=fresh)
        assert self.dataset is not None
        self.dataset.set_epoch(epoch)
        return iter(self.dataset)


def _undecoded(dataset: IterableDataset) -> IterableDataset:
    """Files as bytes and paths: Hugging Face's own decoding would want further packages."""
    return dataset.decode(False) if dataset.features is not None else dataset
