"""An index: the vectors of a space's rows and what each of them stands for, in a folder.

index/
    vectors.safetensors   (N, E) float32 unit vectors
    entries.jsonl         one line a vector: row id, column, and what to show (a text or a file)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.errors import UserError, WrongValue
from antiphon.runs import read_jsonl, write_atomically


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
        self.vectors, self.entries = vectors.float(), entries

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
        if query.shape[0] != self.vectors.shape[1]:
            raise WrongValue(
                f"a query of width {query.shape[0]} in an index of width {self.vectors.shape[1]}: another space?"
            )
        wanted = [
            at for at, entry in enumerate(self.entries) if column in (None, entry.column, entry.column.split("_")[0])
        ]
        if not wanted:
            raise WrongValue(
                f"no entries of column {column!r}: there are {', '.join(sorted({e.column for e in self.entries}))}"
            )
        scores = self.vectors[wanted] @ query.float()
        order = scores.argsort(descending=True, stable=True)[:k].tolist()
        return [Hit(float(scores[at]), self.entries[wanted[at]]) for at in order]

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
