"""English prose to continue: news documents (NTREX-128), and sentences of Wikipedia.

Read from `$ANTIPHON_DATA/ntrex/eng-US.tsv.gz` (doc, line, text; Federmann et al. 2022), whose lines are put together by
document, the headline on a line of its own; and from `$ANTIPHON_DATA/wiki_sentences/sentences.txt`, a sentence a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.sources import sentences
from antiphon.data.table import read_tsv, table

DESCRIPTION = "English news documents, and single lower-cased sentences of Wikipedia"
LICENCE = "NTREX-128: CC BY-SA 4.0; Wikipedia: CC BY-SA"

SETS = ("news", "wikipedia")


def load(sets: Sequence[str] = SETS, *, most: int | None = None) -> Dataset:
    """Rows of `id, text, set`.

    Args:
        sets: of `SETS`.
        most: at most so many rows of a set, the first by id; None takes all.

    Raises:
        DataError: an unknown set, or no such file.
    """
    strangers = sorted(set(sets) - set(SETS))
    if strangers or not sets:
        raise DataError(f"no set of prose {', '.join(strangers) or '(none given)'}: there are {', '.join(SETS)}")
    rows: list[dict[str, str]] = []
    for name in sets:
        found = _news() if name == "news" else {row["id"]: row["text"] for row in sentences.load()}
        kept = sorted(found)[:most]
        rows += [{"id": f"{name}/{one}", "text": found[one], "set": name} for one in kept]
    return table(rows, dict.fromkeys(("id", "text", "set"), "text"), description=DESCRIPTION, licence=LICENCE)


def _news() -> dict[str, str]:
    """Documents by name."""
    lines: dict[str, list[tuple[int, str]]] = {}
    path = data_folder("ntrex") / "eng-US.tsv.gz"
    for row in read_tsv(path, ("doc", "line", "text")):
        lines.setdefault(row["doc"], []).append((_number(row["line"], str(path)), row["text"].strip()))
    told = {name: [text for _, text in sorted(own)] for name, own in lines.items()}
    return {name: "\n".join([own[0], " ".join(own[1:])]).strip() for name, own in told.items()}


def _number(line: str, path: str) -> int:
    if not line.isdigit():
        raise DataError(f"{path}: line {line!r} is no number")
    return int(line)
