"""Rows of CCP: each sentence of a document with those around it, of which every epoch draws one anew."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from antiphon.data.augment import whole
from antiphon.data.collate import EPOCH, INDEX, Collate, chance_of
from antiphon.encoders import Encoder
from antiphon.recipes.ccp.words import Hide

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """The sentences of one language in the order of its documents.

    Args:
        texts: the sentences.
        documents: of each, the name of its document.
        lines: of each, the name that its translations share; None where there are none.
        places: of each, which row of its document it was, those that were left out counted too.
    """

    texts: list[str]
    documents: list[str]
    lines: list[str | None]
    places: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    def positions(self) -> tuple[Tensor, Tensor]:
        """Of each sentence the number of its document, and its place there."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(self.documents))}
        return torch.tensor([numbers[name] for name in self.documents]), torch.tensor(self.places)

    def near(self, at: int, window: int) -> list[int]:
        """Which sentences are in the window of one: at most so many places away in its document, itself left out."""
        span = range(max(0, at - window), min(len(self), at + window + 1))  # what was left out only moves them nearer
        return [
            other
            for other in span
            if other != at
            and self.documents[other] == self.documents[at]
            and abs(self.places[other] - self.places[at]) <= window
        ]


class _Place(NamedTuple):
    document: str
    place: int
    text: str
    line: str | None


def by_language(data: Any, text: str, document: str, language: str | None, line: str | None) -> dict[str, Column]:
    """The rows by language, sorted; a line that stands in several documents of its language is left out.

    Such lines (headings, notices) are neighbours of everything, and match themselves. Rows without a text or a document
    are left out too; the places of the others stay as they were, so that no window reaches across a gap.
    """
    codes = data[language] if language else ["all"] * len(data)
    lines = data[line] if line else [None] * len(data)
    by_code: dict[str, list[_Place]] = {}
    passed: Counter[tuple[str, str]] = Counter()
    for code, said, name, named in zip(codes, data[text], data[document], lines, strict=True):
        at = passed[str(code), str(name)]
        passed[str(code), str(name)] += 1
        if said is not None and name is not None:
            by_code.setdefault(str(code), []).append(_Place(str(name), at, said, named))
    found = {}
    for code in sorted(by_code):
        documents = Counter(said for said, _ in {(one.text, one.document) for one in by_code[code]})
        kept = [one for one in by_code[code] if documents[one.text] == 1]
        kept = sorted(kept, key=lambda one: one.document)  # a document's rows together; stable, so in their order
        told = zip(*((one.text, one.document, one.line, one.place) for one in kept), strict=True)
        found[code] = Column(*map(list, told)) if kept else Column([], [], [], [])
    return found


def training_rows(
    columns: Mapping[str, Column], *, window: int, shuffled: bool, balance: float, seed: int
) -> list[Row]:
    """A row for each sentence that has another one near it.

    `around` holds the sentences at most `window` places away in the document: text, number, and the numbers of their
    own windows; `near` those of the row's. `number` is one number for each distinct text of a language, and `group`
    for each document.

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
        near = [[other for other in column.near(at, window) if ids[other] != ids[at]] for at in range(len(texts))]
        known = [tuple(ids[other] for other in others) for others in near]
        rows: list[Row] = []
        for at, name in enumerate(column.documents):
            if near[at]:
                row = {"id": f"{code}/{at:06}", "text": texts[at], "number": ids[at], "near": known[at]}
                row["around"] = [(texts[other], ids[other], known[other]) for other in near[at]]
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


def as_many(rows: Sequence[Row], like: Sequence[Row]) -> list[Row]:
    """The first documents' rows, of each language about as many as there are in `like`: whole documents."""
    left = Counter(row["language"] for row in like)
    found = []
    for _, part in groupby(sorted(rows, key=lambda row: (row["group"], row["id"])), key=lambda row: row["group"]):
        document = list({row["id"]: row for row in part}.values())  # small languages repeat theirs
        if left[document[0]["language"]] > 0:
            left[document[0]["language"]] -= len(document)
            found += document
    return found


class Windows:
    """Makes a batch of rows, drawing each row's other sentence by (seed, epoch, row).

    Args:
        encoder: of texts.
        seed: of the draw.
        window: that of the rows.
        hide: masks words of `text`; None: nothing is asked for.
    """

    def __init__(self, encoder: Encoder, seed: int, window: int, hide: Hide | None = None) -> None:
        self.seed, self.window, self.hide = seed, window, hide
        self.collate = Collate({"text": encoder, "context": encoder}, keep=("number", "other", "language"))

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The batch: text, context, their numbers `number` and `other`, the language's, and what is near either.

        `near` and `near_other` hold `(B, 2 window)` numbers, -1 where there are fewer; `masked` is `text` with words
        hidden, and `asked` what they were.
        """
        drawn = [self._drawn(row) for row in rows]
        batch = self.collate([row | one for row, one in zip(rows, drawn, strict=True)])
        if self.hide is not None:
            hidden = self.hide(batch["text"], [chance_of(self.seed, "masked", row) for row in rows])
            batch |= dict(zip(("masked", "asked"), hidden, strict=True))
        return batch | {
            "near": self._padded([row["near"] for row in rows]),
            "near_other": self._padded([one["near_other"] for one in drawn]),
        }

    def _drawn(self, row: Row) -> Row:
        key = f"{self.seed}/{row.get(EPOCH, 0)}/{row.get(INDEX, row['number'])}/window".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big"))
        text, number, near = row["around"][whole(len(row["around"]), generator)]
        return {"context": text, "other": number, "near_other": near}

    def _padded(self, lines: Sequence[Sequence[int]]) -> Tensor:
        size = 2 * self.window
        return torch.tensor([[*line, *[-1] * (size - len(line))] for line in lines], dtype=torch.int64)
