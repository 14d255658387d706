"""Streams: every row once an epoch, the same order from any mark on, and what is wrong with a shard is said."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from datasets import IterableDataset

from antiphon.data.shards import INDEX, write_shards
from antiphon.data.streaming import Mark, Stream
from antiphon.decode import BadInput

ROWS = 23
BEGIN = Mark()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(({"id": f"r{at}", "number": at} for at in range(ROWS)), tmp_path / "s", rows_per_shard=4)
    return tmp_path / "s"


def ids(stream: Stream, size: int = 5, epoch: int = 0, start: Mark = BEGIN) -> list[list[str]]:
    return [[row["id"] for row in block.rows] for block in stream.blocks(size, seed=0, epoch=epoch, start=start)]


def numbered(count: int) -> IterableDataset:
    return IterableDataset.from_generator(_numbers, gen_kwargs={"count": count})


def _numbers(count: int):
    yield from ({"number": at} for at in range(count))


@pytest.mark.parametrize("size", [1, 4, 5, 11, 12, 22, 23, 100])
def test_every_row_comes_once_and_no_block_is_too_small(shards: Path, size: int) -> None:
    blocks = ids(Stream(shards), size)
    assert sorted(chain.from_iterable(blocks)) == sorted(f"r{at}" for at in range(ROWS))
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert min(size, ROWS) <= len(blocks[-1]) < 2 * size or size > ROWS


def test_each_epoch_has_another_order_of_shards(shards: Path) -> None:
    stream = Stream(shards)
    orders = [list(chain.from_iterable(ids(stream, epoch=epoch))) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[2] == list(chain.from_iterable(ids(Stream(shards), epoch=2)))
    other = [row["id"] for block in stream.blocks(5, seed=1, epoch=0) for row in block.rows]
    assert other != orders[0]


@pytest.mark.parametrize("make", ["shards", "dataset"])
def test_any_mark_goes_on_with_the_same_blocks(shards: Path, make: str) -> None:
    stream = Stream(shards if make == "shards" else numbered(ROWS))
    whole = list(stream.blocks(5, seed=3, epoch=1))
    for place, block in enumerate(whole):
        again = list(stream.blocks(5, seed=3, epoch=1, start=block.start))
        assert again == whole[place:]
    assert [block.start.read for block in whole] == [0, 5, 10, 15]


def test_rows_know_their_place_and_epoch(shards: Path) -> None:
    rows = [row for block in Stream(shards).blocks(5, seed=0, epoch=2) for row in block.rows]
    assert [row["__index__"] for row in rows] == list(range(ROWS))
    assert {row["__epoch__"] for row in rows} == {2}


def test_rows_without_an_id_are_named_by_their_place(tmp_path: Path) -> None:
    write_shards(({"number": at} for at in range(3)), tmp_path / "s", rows_per_shard=2)
    assert sorted(ids(Stream(tmp_path / "s"))[0])[2] == "shard-000001/000000002"
    assert ids(Stream(numbered(3))) == [["row 0", "row 1", "row 2"]]


def test_a_shuffled_data_set_has_another_order_each_epoch_and_resumes() -> None:
    stream = Stream(numbered(ROWS).shuffle(seed=1, buffer_size=7))
    first, second = (list(stream.blocks(5, seed=0, epoch=epoch)) for epoch in (0, 1))
    assert [row["number"] for row in first[0].rows] != [row["number"] for row in second[0].rows]
    assert list(stream.blocks(5, seed=0, epoch=0, start=first[2].start)) == first[2:]


def test_a_resumed_run_opens_no_shard_that_it_has_had(shards: Path) -> None:
    stream = Stream(shards)
    last = list(stream.blocks(5, seed=0, epoch=0))[-1]
    opened = []
    stream._open = lambda file, epoch, open_=stream._open: opened.append(file) or open_(file, epoch)
    assert ids(stream, start=last.start)
    assert len(opened) < len(stream.files)


def test_a_missing_or_other_shard_is_said_before_anything_is_read(shards: Path) -> None:
    path = shards / "shard-000002.tar"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    with pytest.raises(BadInput, match=r"shard-000002\.tar: \d+ bytes, index\.json says \d+: fetch it again"):
        Stream(shards)
    path.unlink()
    with pytest.raises(BadInput, match=r"shard-000002\.tar: no such shard"):
        Stream(shards)


def test_a_wrong_checksum_is_said_when_the_shard_is_opened(shards: Path) -> None:
    path = shards / "shard-000002.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"shard-000002\.tar: its sha256 is not that of index\.json"):
        ids(Stream(shards))


def test_data_that_shrank_is_said(shards: Path) -> None:
    with pytest.raises(BadInput, match="4 rows, the checkpoint was made after 7: data changed"):
        ids(Stream(shards), start=Mark(0, 7, 7))


def test_without_an_index_sizes_are_not_known(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    (shards / INDEX).unlink()
    assert sum(map(len, ids(Stream(shards)))) == index["rows"]


def test_errors(shards: Path) -> None:
    with pytest.raises(ValueError, match="block=0"):
        Stream(shards, block=0)
    with pytest.raises(BadInput, match="no such shard"):
        Stream(shards / "none")
