"""Exact search of 200,000 vectors of width 384, against faiss."""

from __future__ import annotations

import torch

from benchmarks.measuring import THREADS, Row, in_turns, version

COUNT, WIDTH, K = 200_000, 384, 10


def one() -> Row:
    """A query at a time."""
    return _row(1)


def many() -> Row:
    """64 queries at once."""
    return _row(64)


def _row(queries: int) -> Row:
    import faiss

    from antiphon.search.index import Entry, Index

    faiss.omp_set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(0)
    vectors, asked = (
        torch.nn.functional.normalize(torch.randn(count, WIDTH, generator=generator), dim=1)
        for count in (COUNT, queries)
    )
    index, theirs = Index(vectors, [Entry("", "text", "")] * COUNT), faiss.IndexFlatIP(WIDTH)
    theirs.add(vectors.numpy())
    places = torch.from_numpy(theirs.search(asked.numpy(), K)[1])
    if not torch.equal(index.nearest(asked, K)[1], places):
        raise SystemExit("the answers differ: a ratio of speeds would mean nothing")
    took, peer, read = in_turns(
        lambda: index.nearest(asked, K), lambda: theirs.search(asked.numpy(), K), lambda: vectors.sum(), rounds=15
    )
    size = vectors.numel() * 4
    bound = f"one reading of the {size / 1e6:.0f} MB takes {read / took:.0%} of ours ({size / read / 1e9:.0f} GB/s)"
    return Row(queries / took, queries / peer, "queries/s", version("faiss-cpu"), 0.9, "at least", bound)


ROWS = {"search-1": one, "search-64": many}
