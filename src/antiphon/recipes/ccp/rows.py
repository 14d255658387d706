"""Rows of CCP: each sentence of a document with those around it, of which every epoch draws one anew."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.data.augment import whole
from antiphon.data.collate import EPOCH, INDEX, Collate
from antiphon.encoders import Encoder

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """The sentences of one language in the order of its documents.

    Args:
        texts: the sentences.
        documents: of each, the name of its document.
        lines: of each, the name that its translations share; None where there are none.
    """

    texts: list[str]
    documents: list[str]
    lines: list[str | None]

    def __len__(self) -> int:
        return len(self.texts)

    def positions(self) -> tuple[Tensor, Tensor]:
        """Of each sentence the number of its document, and its own place."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(self.documents))}
        return torch.tensor([numbers[name] for name in self.documents]), torch.arange(len(self))


def by_language(data: Any, text: str, document: str, language: str | None, line: str | None) -> dict[str, Column]:
    """The rows by language, sorted; a line that stands in several documents of its language is left out.

    Such lines (headings, notices) are neighbours of everything, and match themselves.
    """
    codes = data[language] if language else ["all"] * len(data)
    lines = data[line] if line else [None] * len(data)
    places: dict[str, list[tuple[str, str, str | None]]] = {}
    for code, *place in zip(codes, data[text], data[document], lines, strict=True):
        if place[0] is not None and place[1] is not None:
            places.setdefault(str(code), []).append((place[0], str(place[1]), place[2]))
    found = {}
    for code in sorted(places):
        documents = Counter(said for said, _ in {(said, name) for said, name, _ in places[code]})
        kept = [place for place in places[code] if documents[place[0]] == 1]
        kept = sorted(kept, key=lambda place: place[1])  # a document's rows together; stable, so in their order
        found[code] = Column([p[0] for p in kept], [p[1] for p in kept], [p[2] for p in kept])
    return found


def training_rows(
    columns: Mapping[str, Column], *, window: int, shuffled: bool, balance: float, seed: int
) -> list[Row]:
    """A row for each sentence that has another one near it.

    `around` holds texts and numbers of the sentences at most `window` places away in the document; `number` is
    one number for each distinct text of a language, and `group` for each document, so that no row meets itself.

    Args:
        columns: by language.
        window: w, to each side.
        shuffled: the control: the sentences of a language change places with each other across all its documents.
        balance: a; a language with n rows gets as many as a share of n^a asks for: small ones repeat theirs.
        seed: of the shuffle, and of the order of the documents.
    """
    rng = random.Random(seed)
    numbers: dict[tuple[str, str], int] = {}
    by_code: list[list[Row]] = []
    for code_number, (code, column) in enumerate(columns.items()):
        texts = list(column.texts)
        if shuffled:
            rng.shuffle(texts)
        ids = [numbers.setdefault((code, text), len(numbers)) for text in texts]
        rows: list[Row] = []
        for at, name in enumerate(column.documents):
            near = [
                (texts[other], ids[other])
                for other in range(max(0, at - window), min(len(texts), at + window + 1))
                if column.documents[other] == name and ids[other] != ids[at]
            ]
            if near:
                row = {"id": f"{code}/{at:06}", "text": texts[at], "number": ids[at], "around": near}
                rows.append(row | {"language": code_number, "document": f"{code}/{name}"})
        by_code.append(rows)
    groups = sorted({row["document"] for rows in by_code for row in rows})
    rng.shuffle(groups)
    group = {name: number for number, name in enumerate(groups)}
    most = max(map(len, by_code), default=0)
    return [
        rows[at % len(rows)] | {"group": group[rows[at % len(rows)]["document"]]}
        for rows in by_code
        if rows
        for at in range(round(most * (len(rows) / most) ** balance))
    ]


class Windows:
    """Makes a batch of rows, drawing each row's other sentence by (seed, epoch, row)."""

    def __init__(self, encoder: Encoder, seed: int) -> None:
        self.seed = seed
        self.collate = Collate({"text": encoder, "context": encoder}, keep=("number", "other", "language"))

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The batch: text, context, their numbers `number` and `other`, and the language's."""
        return self.collate([row | self._drawn(row) for row in rows])

    def _drawn(self, row: Row) -> Row:
        key = f"{self.seed}/{row.get(EPOCH, 0)}/{row.get(INDEX, row['number'])}/window".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big"))
        text, number = row["around"][whole(len(row["around"]), generator)]
        return {"context": text, "other": number}
