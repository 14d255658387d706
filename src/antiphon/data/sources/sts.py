"""Semantic textual similarity: pairs of sentences that people scored from 0 to 5 (SemEval 2012 to 2016, STS-B, SICK-R).

Read from `$ANTIPHON_DATA/sts`: `<task>.<split>.tsv`, with `score`, `sentence1`, `sentence2` and more.
"""

from __future__ import annotations

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "pairs of English sentences with a score of how alike they are in meaning"
LICENCE = "mostly CC BY-SA (SemEval, STS-B: 4.0); SICK: CC BY-NC-SA 3.0"

_KINDS = {"id": "text", "text_1": "text", "text_2": "text", "score": "decimal", "relation": "text"}


def load(task: str = "stsb", split: str = "dev") -> Dataset:
    """Rows of `id, text_1, text_2, score, relation`; `relation` is SICK's entailment, None elsewhere.

    Args:
        task: as files are named: sts2012 to sts2016, stsb, sickr.
        split: train, dev or test, where there is one.

    Raises:
        DataError: no such set or split, or a score that is no number.
    """
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


def _score(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: score {text!r} is no number") from None
