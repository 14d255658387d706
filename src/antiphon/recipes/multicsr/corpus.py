"""MultiCSR's sentences: which are written about, and why others are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.data.pairs import load
from antiphon.decode import split_words
from antiphon.errors import UserError
from antiphon.recipes.multicsr.config import Config
from antiphon.recipes.multicsr.triplets import without
from antiphon.runs import Run


def corpus_of(cfg: Config, scored: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The sentences that are written about, and the rows that are not, each with the reason.

    Args:
        cfg: the recipe's.
        scored: rows that are measured on, by name, as `scored_sets` gives them.

    Raises:
        UserError: fewer than two sentences.
    """
    rows = load(cfg.data)
    low, high = cfg.words
    texts, names = list(rows[cfg.data.columns[0]]), list(rows["id"] if "id" in rows.column_names else range(len(rows)))
    fresh = set(without(list(filter(None, texts)), scored))
    corpus: dict[str, None] = {}
    left_out: dict[str, str] = {}
    for name, text in zip(names, texts, strict=True):
        count = len(split_words(text or ""))
        if not low <= count <= high:
            left_out[str(name)] = f"{count} words: words=[{low},{high}]"
        elif text not in fresh:
            left_out[str(name)] = "one of the scored sentences"
        elif text in corpus:
            left_out[str(name)] = "said before"
        else:
            corpus[text] = None
    if len(corpus) < 2:
        raise UserError(
            f"{len(corpus)} different sentences of {low} to {high} words in {cfg.data.source}, without those that are "
            "scored: wanted more; set words=[1,50]"
        )
    return list(corpus), left_out


def set_aside(cfg: Config, run: Run, left_out: Mapping[str, str]) -> None:
    """Name the rows that are not written about, once where a run goes on."""
    known = run.quarantined()
    for name, reason in left_out.items():
        if (cfg.data.columns[0], name) not in known:
            run.quarantine(cfg.data.columns[0], name, reason)
