"""Sentences of documents in their order, in many languages: news (NTREX-128), or chapters of the New Testament.

Read from `$ANTIPHON_DATA/ntrex` (`<xxx>.tsv.gz` with doc, line, text; one document a news item) or `bible_nt`
(`<xxx>.tsv.gz` with verse, text; one document a chapter). Both are translations of one original, so `line` names the
sentences that say the same; `apart` gives each document to one language alone, for training without bilingual data.
(Federmann et al. 2022, "NTREX-128"; Christodouloupoulos and Steedman 2015.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "sentences of translated documents in their order"
LICENCE = "NTREX-128: CC BY-SA 4.0; Bible: CC0 1.0"

KINDS = {"id": "text", "text": "text", "language": "text", "document": "text", "line": "text", "place": "number"}


def load(
    corpus: str = "ntrex",
    languages: Sequence[str] = ("eng", "fra", "spa", "deu", "ukr"),
    documents: int | None = None,
) -> Dataset:
    """Rows of `id, text, language, document, line, place`, by language and in the order of the text.

    Args:
        corpus: ntrex or bible.
        languages: the first three letters of the files' names, which are ISO 639-3 codes.
        documents: at most so many of each language, the first ones.

    Raises:
        DataError: no such corpus, or no text of a language.
    """
    if corpus not in _CORPORA:
        raise DataError(f"no corpus {corpus!r}: there are {', '.join(_CORPORA)}")
    rows: list[dict[str, Any]] = []
    for language in languages:
        found = _CORPORA[corpus](language)
        names = list(dict.fromkeys(row["document"] for row in found))[:documents]
        place = dict.fromkeys(names, 0)
        for number, row in enumerate(row for row in found if row["document"] in place):
            name = row["document"]
            rows.append(row | {"id": f"{language}/{number:06}", "language": language, "place": place[name]})
            place[name] += 1
    return table(rows, KINDS, description=DESCRIPTION, licence=LICENCE)


def apart(rows: Dataset, *, seed: int, document: str = "document", language: str = "language") -> Dataset:
    """The rows of each document in one of its languages only, so that no language has the text of another.

    The documents are shuffled by the seed, and each goes to that of its languages which has the fewest so far.

    Raises:
        DataError: a language that gets no document.
    """
    names, codes = list(rows[document]), list(rows[language])
    has: dict[str, set[str]] = {}
    for name, code in zip(names, codes, strict=True):
        has.setdefault(name, set()).add(code)
    order, languages = sorted(has), sorted(set(codes))
    random.Random(seed).shuffle(order)
    owner: dict[str, str] = {}
    count = dict.fromkeys(languages, 0)
    for name in sorted(order, key=lambda name: len(has[name])):  # stable: those that few languages have come first
        owner[name] = min(sorted(has[name]), key=count.__getitem__)
        count[owner[name]] += 1
    left = sorted(set(languages) - set(owner.values()))
    if left:
        raise DataError(f"{len(order)} documents are too few for {len(languages)} languages: {left[0]} gets none")
    return rows.select([at for at, pair in enumerate(zip(names, codes, strict=True)) if owner[pair[0]] == pair[1]])


def _ntrex(language: str) -> list[dict[str, Any]]:
    rows = read_tsv(_file("ntrex", language), ("doc", "line", "text"))
    return [
        {"text": row["text"], "document": row["doc"], "line": f"{int(row['line']):05}"} for row in rows if row["text"]
    ]


def _bible(language: str) -> list[dict[str, Any]]:
    rows = read_tsv(_file("bible_nt", language), ("verse", "text"))
    return [
        {"text": row["text"], "document": row["verse"].rpartition(".")[0], "line": row["verse"]}
        for row in rows
        if row["text"]
    ]


def _file(corpus: str, language: str) -> Path:
    """The file of a language: by its code, or by the code and a region, as `eng-US`."""
    folder = data_folder(corpus)
    found = sorted(folder.glob(f"{language}.tsv.gz")) or sorted(folder.glob(f"{language}-*.tsv.gz"))
    if not found:
        there = ", ".join(sorted({path.name[:3] for path in folder.glob("*.tsv.gz")}))
        raise DataError(f"{corpus} has no language {language!r}: it has {there or 'none'}")
    return found[0]


_CORPORA: dict[str, Callable[[str], list[dict[str, Any]]]] = {"ntrex": _ntrex, "bible": _bible}
