"""Real texts of unequal length for the rows on text: sentences of the STS sets and of Wikipedia, or docstrings."""

from __future__ import annotations

import ast
import random
import sysconfig
from pathlib import Path

from antiphon.data.cache import DataError, data_folder

ROWS: dict[str, object] = {}


def texts(count: int) -> tuple[list[str], str]:
    """So many different texts, drawn with a fixed seed, and where they are from.

    From `ANTIPHON_DATA` where it has the sets; else docstrings of the standard library, cut to 600 characters.
    """
    try:
        pairs, wiki = sts_pairs(), data_folder("wiki_sentences") / "sentences.txt"
        found = {text for pair in pairs for text in pair} | set(wiki.read_text(encoding="utf-8").splitlines())
        source = "STS and Wikipedia sentences"
    except DataError:
        found, source = {text[:600] for _, text in docstrings()}, "docstrings of the standard library"
    drawn = sorted(text for text in found if text.strip())
    random.Random(0).shuffle(drawn)
    return drawn[:count], source


def sts_pairs() -> list[tuple[str, str]]:
    """Sentence pairs of the STS sets.

    Raises:
        DataError: `ANTIPHON_DATA` does not hold them.
    """
    lines = [
        line.split("\t")
        for file in sorted(data_folder("sts").glob("*.tsv"))
        for line in file.read_text(encoding="utf-8").splitlines()[1:]
    ]
    return [(line[2], line[3]) for line in lines]


def docstrings() -> list[tuple[str, str]]:
    """Each documented function of the standard library: its name and arguments, and what is said of it."""
    found = []
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (said := ast.get_docstring(node)):
                found.append((f"{file.stem} {node.name}({ast.unparse(node.args)})", " ".join(said.split())))
    return found
