"""The feed: from any place on the same batches, from rows in memory and from streams."""

import pytest
import torch
from datasets import IterableDataset

from antiphon.data.streaming import Mark, Stream
from antiphon.training.feeding import Feed, FeedError, Place


def _rows(count):
    return [{"id": f"r{at}"} for at in range(count)]


def _stream(count, block=8):
    return Stream(IterableDataset.from_generator(_rows, gen_kwargs={"count": count}), block=block)


def _collate(rows):
    return {"row": torch.tensor([row["__index__"] for row in rows]), "id": [row["id"] for row in rows]}


def _feed(rows, **options):
    return Feed(rows, **{"batch_size": 4, "seed": 0, "collate": _collate} | options)


def _ids(feed, count):
    return [batch["id"] for batch in feed.batches(count)]


@pytest.mark.parametrize("make", [_rows, _stream])
@pytest.mark.parametrize("count", [4, 21, 24])
def test_any_place_goes_on_with_the_same_batches(make, count):
    whole = _feed(make(count))
    places, ids = [whole.place], []
    for batch in whole.batches(17):
        ids.append(batch["id"])
        places.append(whole.place)
    assert len(ids) == 17
    for done, place in enumerate(places):
        again = _feed(make(count))
        again.place = Place.from_json(place.to_json())
        assert _ids(again, 17 - done) == ids[done:]


@pytest.mark.parametrize("make", [_rows, _stream])
def test_an_epoch_has_every_row_once(make):
    ids = [name for batch in _ids(_feed(make(24)), 12) for name in batch]
    assert sorted(ids[:24]) == sorted(ids[24:]) == sorted(row["id"] for row in _rows(24))
    assert ids[:24] != ids[24:]


def test_a_stream_is_shuffled_within_blocks():
    first = {name for batch in _ids(_feed(_stream(24)), 2) for name in batch}
    assert first == {f"r{at}" for at in range(8)}
    assert _ids(_feed(_stream(24)), 1)[0] != ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize("make", [_rows, _stream])
def test_workers_change_nothing(make):
    assert _ids(_feed(make(24), workers=2), 8) == _ids(_feed(make(24)), 8)


@pytest.mark.parametrize("make", [_rows, _stream])
def test_rows_are_named(make):
    feed = _feed(make(24))
    for batch in feed.batches(9):
        assert feed.names(batch) == batch["id"]
    assert feed.names({}) == []


@pytest.mark.parametrize("make", [_rows, _stream])
def test_a_function_of_a_row_batches_like_with_like(make):
    size = {f"r{at}": float(at % 4) for at in range(32)}
    for batch in _ids(_feed(make(32), sizes=lambda row: size[row["id"]], bucket=50), 4):
        assert max(size[name] for name in batch) - min(size[name] for name in batch) <= 2
    spread = [{size[name] for name in batch} for batch in _ids(_feed(make(32), sizes=lambda row: 0.0, bucket=50), 8)]
    assert any(len(each) > 2 for each in spread)


def _break(rows):
    raise FileNotFoundError("no file cat.png")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_that_cannot_be_read_is_its_own_error(workers):
    with pytest.raises(FileNotFoundError, match=r"no file cat\.png"):
        _ids(_feed(_rows(24), collate=_break, workers=workers), 1)


def test_a_worker_that_dies_in_a_hand_over_is_told(monkeypatch):
    def broken(self):
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter.__next__", broken)
    with pytest.raises(FeedError, match=r"a data worker died as it handed over a batch .*goes on"):
        _ids(_feed(_rows(24), workers=1), 1)


def test_what_must_stay_is_described():
    assert _feed(_rows(9)).describe() == {"batch_size": 4, "rows": 9}
    assert _feed(_stream(9)).describe() == {"batch_size": 4, "block": 8, "shards": []}


def test_a_place_is_plain_numbers():
    place = Place(2, Mark(1, 2, 3), 4)
    assert place.to_json() == {"epoch": 2, "mark": {"shard": 1, "row": 2, "read": 3}, "batch": 4}
    assert Place.from_json(place.to_json()) == place


def test_errors():
    with pytest.raises(FeedError, match="no rows to train on"):
        _feed([])
    with pytest.raises(FeedError, match="the stream is empty"):
        _ids(_feed(_stream(0)), 1)
    with pytest.raises(ValueError, match="3 sizes for 9 rows"):
        _feed(_rows(9), sizes=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="give a function of a row"):
        _feed(_stream(9), sizes=[1.0] * 9)
