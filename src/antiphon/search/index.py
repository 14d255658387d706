"""An index: the vectors of a space's rows and what each of them stands for, in a folder.

index/
    vectors.safetensors   (N, E) float32 unit vectors
    entries.jsonl         one line a vector: row id, column, and what to show (a text or a file)

Axes: N vectors, E their width, Q queries, K answers to each.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.errors import UserError, WrongValue
from antiphon.runs import read_jsonl, write_atomically

BLOCK = 256
"""Scores of which the highest is looked at first."""
TILE, QUERIES = 128 * BLOCK, 64
"""Vectors and queries that are compared at a time: 8 MB of scores."""


@dataclass(frozen=True)
class Entry:
    """What a vector stands for: a column of a row, and a text or a file to show."""

    row: str
    column: str
    show: str


@dataclass(frozen=True)
class Hit:
    """An answer: an entry and its score, the cosine."""

    score: float
    entry: Entry


class Index:
    """Vectors and entries, searched exactly.

    Args:
        vectors: `(N, E)`, of unit length.
        entries: one for each vector.
    """

    def __init__(self, vectors: Float[Tensor, "n e"], entries: list[Entry]) -> None:
        if len(vectors) != len(entries):
            raise ValueError(f"{len(vectors)} vectors but {len(entries)} entries: an index needs one for each")
        self.vectors, self.entries = vectors.float().contiguous(), entries
        self._places: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def search(self, query: Float[Tensor, " e"], k: int = 10, *, column: str | None = None) -> list[Hit]:
        """The `k` nearest entries, best first, ties by their order.

        Args:
            query: a unit vector of the same space.
            k: how many.
            column: only entries of this column, or of all columns of this signal ("speech").

        Raises:
            WrongValue: the vector has another width, or no entry has such a column.
        """
        scores, places = self.nearest(query[None], k, column=column)
        return [Hit(score, self.entries[at]) for score, at in zip(scores[0].tolist(), places[0].tolist(), strict=True)]

    @torch.inference_mode()
    def nearest(
        self, queries: Float[Tensor, "q e"], k: int = 10, *, column: str | None = None
    ) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
        """Scores and places of the nearest entries of many queries at once, best first, ties by their order.

        Args:
            queries: unit vectors of the same space, a row each.
            k: how many; fewer come where there are fewer entries.
            column: as for `search`.

        Raises:
            WrongValue: the vectors have another width, no entry has such a column, or `k` is not positive.
        """
        if queries.shape[1] != self.vectors.shape[1]:
            raise WrongValue(
                f"a query of width {queries.shape[1]} in an index of width {self.vectors.shape[1]}: another space?"
            )
        if k < 1:
            raise WrongValue(f"k={k}: at least one answer must be asked for")
        places = None if column is None else self._of(column)
        if places is None and not self.entries:
            raise WrongValue("the index is empty: nothing can be found in it")
        vectors = self.vectors if places is None else self.vectors[places]
        parts = [_nearest(vectors, part.float().cpu(), k) for part in torch.split(queries, QUERIES)]
        scores_QK, found_QK = (torch.cat(side) for side in zip(*parts, strict=True))
        return scores_QK, found_QK if places is None else places[found_QK]

    def _of(self, column: str) -> Tensor:
        if column not in self._places:
            wanted = [at for at, entry in enumerate(self.entries) if column in (entry.column, _signal(entry.column))]
            if not wanted:
                raise WrongValue(
                    f"no entries of column {column!r}: there are {', '.join(sorted({e.column for e in self.entries}))}"
                )
            self._places[column] = torch.tensor(wanted)
        return self._places[column]

    def save(self, folder: str | Path) -> Path:
        """Write both files; the entries last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self.vectors.contiguous()}, folder / "vectors.safetensors")
        lines = [json.dumps(asdict(entry), ensure_ascii=False) for entry in self.entries]
        write_atomically(folder / "entries.jsonl", "\n".join(lines) + "\n")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Index:
        """Read what `save` wrote.

        Raises:
            UserError: no index there.
            ValueError: the two files do not belong together.
        """
        folder = Path(folder)
        if not (folder / "entries.jsonl").is_file():
            raise UserError(f"{folder} holds no index (no entries.jsonl): run antiphon demo, or antiphon embed")
        entries = [Entry(**line) for line in read_jsonl(folder / "entries.jsonl")]
        return cls(load_file(folder / "vectors.safetensors")["vectors"], entries)


def _signal(column: str) -> str:
    return column.split("_")[0]


def _nearest(vectors_NE: Tensor, queries_QE: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if len(queries_QE) == 1:
        return _best(_scan(vectors_NE, queries_QE[0])[None], k)
    scores_QK, found_QK = torch.empty(len(queries_QE), 0), torch.empty(len(queries_QE), 0, dtype=torch.int64)
    for start in range(0, len(vectors_NE), TILE):
        fresh, at = _best(queries_QE @ vectors_NE[start : start + TILE].T, k)
        scores, found = torch.cat([scores_QK, fresh], 1), torch.cat([found_QK, at + start], 1)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        scores_QK, found_QK = scores.gather(1, order), found.gather(1, order)
    return scores_QK, found_QK


def _scan(vectors_NE: Tensor, query_E: Tensor) -> Tensor:
    """Inner products with one query, in one reading of the vectors: the matrix product of BLAS takes twice as long."""
    vectors, query = vectors_NE.numpy(), query_E.numpy()
    threads = torch.get_num_threads() if vectors.size > 1 << 20 else 1
    if threads == 1:
        return torch.from_numpy(np.einsum("ne,e->n", vectors, query))
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda part: np.einsum("ne,e->n", part, query), np.array_split(vectors, 2 * threads)))
    return torch.from_numpy(np.concatenate(parts))


def _best(scores_QN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` highest of each row, ties by their place.

    They lie in the `k` blocks whose own highest are the highest, so that only these blocks are sorted.
    """
    queries, count = scores_QN.shape
    k = min(k, count)
    padded = torch.nn.functional.pad(scores_QN, (0, -count % BLOCK), value=-torch.inf)
    blocks_QBS = padded.view(queries, -1, BLOCK)
    peaks_QB = blocks_QBS.amax(2)
    chosen = peaks_QB.argsort(dim=1, descending=True, stable=True)[:, :k].sort(1).values
    inside = blocks_QBS.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    order = inside.argsort(dim=1, descending=True, stable=True)[:, :k]
    return inside.gather(1, order), chosen.gather(1, order // BLOCK) * BLOCK + order % BLOCK
