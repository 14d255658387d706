"""The index answers exactly, keeps the order of ties, and survives a round trip."""

import pytest
import torch

from antiphon.errors import UserError
from antiphon.search.index import Entry, Index


def _index():
    vectors = torch.nn.functional.normalize(torch.randn(40, 8), dim=1)
    columns = ["image", "text", "speech_fr", "speech_es"]
    return Index(vectors, [Entry(f"row{at}", columns[at % 4], f"show{at}") for at in range(40)])


def test_nearest_first_as_a_slow_loop_finds_them():
    index, query = _index(), torch.nn.functional.normalize(torch.randn(8), dim=0)
    scores = [float(sum(a * b for a, b in zip(vector, query, strict=True))) for vector in index.vectors]
    wanted = sorted(range(40), key=lambda at: -scores[at])[:5]
    assert [hit.entry.row for hit in index.search(query, 5)] == [f"row{at}" for at in wanted]


@pytest.mark.parametrize(("column", "allowed"), [("text", {"text"}), ("speech", {"speech_fr", "speech_es"})])
def test_one_column_or_one_signal(column, allowed):
    hits = _index().search(torch.randn(8), 40, column=column)
    assert {hit.entry.column for hit in hits} == allowed


def test_ties_keep_their_order():
    index = Index(torch.ones(5, 2), [Entry(str(at), "text", "") for at in range(5)])
    assert [hit.entry.row for hit in index.search(torch.ones(2), 3)] == ["0", "1", "2"]


def _stable(scores, k):
    return torch.stack([row.argsort(descending=True, stable=True)[:k] for row in scores])


@pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
@pytest.mark.parametrize("k", [1, 7, 300])
@pytest.mark.parametrize("many", [1, 5, 70])
def test_many_queries_at_once_as_a_sort_finds_them_ties_too(monkeypatch, count, k, many):
    monkeypatch.setattr("antiphon.search.index.TILE", 1024)
    generator = torch.Generator().manual_seed(count)
    vectors = torch.randint(-2, 3, (count, 6), generator=generator).float()  # sums are exact, and many are equal
    queries = torch.randint(-2, 3, (many, 6), generator=generator).float()
    index = Index(vectors, [Entry(str(at), ("text", "image")[at % 2], "") for at in range(count)])
    scores, places = index.nearest(queries, k)
    wanted = _stable(queries @ vectors.T, k)
    assert torch.equal(places, wanted)
    assert torch.equal(scores, (queries @ vectors.T).gather(1, wanted))
    texts = index.nearest(queries, k, column="text")[1]
    assert torch.equal(texts, 2 * _stable(queries @ vectors[::2].T, k))


def test_a_large_index_is_read_by_several_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(40_000, 32, generator=generator), dim=1)
    index = Index(vectors, [Entry(str(at), "text", "") for at in range(40_000)])
    query = torch.randn(32, generator=generator)
    assert torch.equal(index.nearest(query[None], 9)[1][0], (vectors @ query).topk(9).indices)


def test_round_trip(tmp_path):
    index, query = _index(), torch.randn(8)
    again = Index.load(index.save(tmp_path / "index"))
    assert again.search(query, 7) == index.search(query, 7)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="3 vectors but 1 entries"):
        Index(torch.ones(3, 2), [Entry("a", "text", "")])
    with pytest.raises(ValueError, match="width 3 in an index of width 8"):
        _index().search(torch.ones(3))
    with pytest.raises(ValueError, match="no entries of column 'video'"):
        _index().search(torch.ones(8), column="video")
    with pytest.raises(ValueError, match="k=0: at least one"):
        _index().search(torch.ones(8), 0)
    with pytest.raises(ValueError, match="the index is empty"):
        Index(torch.ones(0, 2), []).search(torch.ones(2))
    with pytest.raises(UserError, match="holds no index"):
        Index.load(tmp_path)
