"""Translated sentences: the similarity search sets of LASER from Tatoeba, up to 1,000 pairs of a language and English.

Read from `$ANTIPHON_DATA/tatoeba`: `<xxx>-eng.tsv`, xxx being a language's ISO 639-3 code. (Artetxe and Schwenk 2019,
arXiv 1812.10464.)
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset

from antiphon.data.cache import data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "sentences and their English translations"
LICENCE = "CC BY 2.0 FR"


def load(languages: Sequence[str] = ("deu",)) -> Dataset:
    """Rows of `id, text_eng, language` and, for each language xxx, `text_xxx`, which other languages' rows lack.

    Args:
        languages: ISO 639-3 codes, as in the files' names.

    Raises:
        DataError: no pairs of a language.
    """
    folder = data_folder("tatoeba")
    rows = [
        {"id": f"{code}/{number:04}", "text_eng": row["eng"], f"text_{code}": row[code], "language": code}
        for code in languages
        for number, row in enumerate(read_tsv(folder / f"{code}-eng.tsv", (code, "eng")))
    ]
    names = ("id", "text_eng", *(f"text_{code}" for code in languages), "language")
    return table(rows, dict.fromkeys(names, "text"), description=DESCRIPTION, licence=LICENCE)
