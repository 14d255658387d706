"""Semantic textual similarity: pairs of sentences that people scored from 0 to 5 (SemEval 2012 to 2016, STS-B, SICK-R).

Read from `$ANTIPHON_DATA/sts`: `<task>.<split>.tsv`, with `score`, `sentence1`, `sentence2` and more.
"""

from __future__ import annotations

import random

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.sources.made import COLOURS, SHAPES
from antiphon.data.table import read_tsv, table

DESCRIPTION = "pairs of English sentences with a score of how alike they are in meaning"
LICENCE = "mostly CC BY-SA (SemEval, STS-B: 4.0); SICK: CC BY-NC-SA 3.0"

_KINDS = {"id": "text", "text_1": "text", "text_2": "text", "score": "decimal", "relation": "text"}


def load(task: str = "stsb", split: str = "dev") -> Dataset:
    """Rows of `id, text_1, text_2, score, relation`; `relation` is SICK's entailment, None elsewhere.

    Args:
        task: as files are named: sts2012 to sts2016, stsb, sickr; or "made", generated phrases for tests.
        split: train, dev or test, where there is one.

    Raises:
        DataError: no such set or split, or a score that is no number.
    """
    if task == "made":
        return table(_made(split), _KINDS, description=DESCRIPTION, licence="none needed: the rows are generated")
    folder = data_folder("sts")
    path = folder / f"{task}.{split}.tsv"
    if not path.is_file():
        there = ", ".join(sorted(file.name.removesuffix(".tsv") for file in folder.glob("*.tsv")))
        raise DataError(f"no set of scored sentences {task}.{split}: there are {there or 'none'}")
    rows = read_tsv(path, ("score", "sentence1", "sentence2"))
    return table(
        [
            {
                "id": f"{task}/{split}/{number:05}",
                "text_1": row["sentence1"],
                "text_2": row["sentence2"],
                "score": _score(row["score"], f"{path}:{number + 2}"),
                "relation": row.get("entailment"),
            }
            for number, row in enumerate(rows)
        ],
        _KINDS,
        description=DESCRIPTION,
        licence=LICENCE,
    )


def _made(split: str) -> list[dict[str, object]]:
    """Pairs of coloured shapes: 5 for the same, 4 for the same shape, 2 for the same colour, else 0."""
    rng = random.Random(f"sts/{split}")
    rows: list[dict[str, object]] = []
    for number in range(120):
        (shape, colour), (other, shade) = ((rng.choice(SHAPES), rng.choice(list(COLOURS)[:3])) for _ in range(2))
        other = shape if number % 3 == 0 else other
        score = 5.0 if (shape, colour) == (other, shade) else 4.0 * (shape == other) + 2.0 * (colour == shade)
        relation = "ENTAILMENT" if score == 5 else "CONTRADICTION" if score == 0 else "NEUTRAL"
        first, second = (rng.choice(("a", "a small", "one very big", "here is a")) for _ in range(2))
        texts = {"text_1": f"{first} {colour} {shape}", "text_2": f"{second} {shade} {other}"}
        rows.append({"id": f"made/{split}/{number:05}", **texts, "score": score, "relation": relation})
    return rows


def _score(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: score {text!r} is no number") from None
