"""What SPACE-2 is trained on and measured by: turns of domains and dialogs that are held out whole, and intents."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from antiphon.data.pairs import Pairs, expand, load, signal_of, splits
from antiphon.encoders.towers import Tower
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.recipes.space2.config import Config
from antiphon.recipes.space2.measures import Intents, Turns, read_intents, read_turns
from antiphon.recipes.space2.rows import Row, drawn, turns_of, with_words
from antiphon.runs import Measures


@dataclass(frozen=True)
class Material:
    """What does not depend on the arm.

    Attributes:
        labelled: rows to train on.
        unlabelled: the same.
        held: turns of dev and test.
        asked: utterances with intents, by set.
        refused: texts that are no use, each with the reason.
        bare: sources of labelled rows of which none has a tree.
        counts: of rows, and of those that are left out since dev or test has their domain or dialog.
    """

    labelled: list[Row]
    unlabelled: list[Row]
    held: dict[str, Turns]
    asked: dict[str, Intents]
    refused: list[tuple[str, str]]
    bare: list[str]
    counts: Measures


@lru_cache(maxsize=5)  # the claims' seeds: one process runs all arms of them
def material(settings: str, seed: int) -> Material:
    """Read all rows.

    Args:
        settings: the config as JSON, of the fields that rows and floors depend on.
        seed: of the splits, and of which rows are drawn.
    """
    cfg, refused = Config(**json.loads(settings)), list[tuple[str, str]]()

    def read(data: Any, pairs: Pairs) -> list[Row]:
        columns = expand(pairs.columns, data.column_names)
        if [signal_of(column) for column in columns] != ["text"]:
            raise UserError(f"space2 wants one column of texts, data.columns gives {', '.join(columns)}")
        rows, bad = turns_of(
            data, columns[0], previous=cfg.previous, most=(cfg.before, cfg.most), tree=cfg.tree, levels=cfg.levels
        )  # fmt: skip
        refused.extend(bad)
        return rows

    encoder = words_encoder(cfg.text)
    parts = {side: read(part, cfg.data) for side, part in splits(_by_dialog(cfg.data), seed).items()}
    more, unlabelled = ([(each.source, read(load(each), each)) for each in sets] for sets in (cfg.more, cfg.unlabelled))
    labelled = [(cfg.data.source, [row for rows in parts.values() for row in rows]), *more]
    every = (
        [*parts["train"], *(row for _, rows in more for row in rows)],
        [row for _, rows in unlabelled for row in rows],
    )
    rows, others = every
    if cfg.data.split_by == "domain":
        parts = whole_dialogs(parts)
        unseen = {row["domain"] for side in ("dev", "test") for row in parts[side]}
        rows = [*parts["train"], *(row for _, found in more for row in found if far(row, unseen, cfg.domains))]
        others = [row for row in others if far(row, unseen, cfg.domains)]
    return Material(
        labelled=with_words(drawn(rows, cfg.at_most, seed), encoder),
        unlabelled=with_words(drawn(others, cfg.at_most, seed), encoder),
        held={side: read_turns(parts[side], cfg.turns, seed) for side in ("dev", "test")},
        asked={each.name: read_intents(each) for each in cfg.asked},
        refused=refused,
        bare=[name for name, found in labelled if not any(any(branch) for row in found for branch in row["tree"])],
        counts={
            "rows/labelled": len(rows), "rows/unlabelled": len(others),
            "rows/left_out": sum(map(len, every)) - len(rows) - len(others),
        },
    )  # fmt: skip


def whole_dialogs(parts: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """The rows of train, dev and test without those of a dialog that a later one has.

    One dialog goes through several domains and names the same things in each, so domains alone do not keep them apart.
    """
    found, taken = dict[str, list[Row]](), set[str]()
    for side in ("test", "dev", "train"):
        found[side] = [row for row in parts[side] if row["dialog"] not in taken]
        taken |= {row["dialog"] for row in parts[side]}
    return found


def far(row: Row, unseen: set[str | None], domains: Mapping[str, Sequence[str]]) -> bool:
    """Whether a row is of none of these domains for sure; where its own is not told its intents must tell it.

    Args:
        row: of `turns_of`.
        unseen: domains.
        domains: of intents.
    """
    if row["domain"] is not None:
        return row["domain"] not in unseen
    intents = {branch[1] for branch in row["tree"] if branch[1]}
    known = {domain for intent in intents for domain in domains.get(intent, ())}
    return bool(intents) and intents <= set(domains) and not known & unseen


def _by_dialog(pairs: Pairs) -> Pairs:
    """Where nothing else is said, turns of one dialog are in one split."""
    whole = pairs.split_by is None and "dialog" in load(pairs).column_names
    return pairs.but(split_by="dialog") if whole else pairs


def shuffled(rows: list[Row], seed: int) -> list[Row]:
    """The rows with each other's trees; which words are masked stays."""
    trees = [row["tree"] for row in rows]
    random.Random(seed).shuffle(trees)
    return [row | {"tree": tree} for row, tree in zip(rows, trees, strict=True)]


def words_encoder(tower: Tower, dropout: float = 0.0) -> WordCnn:
    """The encoder of a tower, opened.

    Args:
        tower: of texts.
        dropout: on the vectors of words.

    Raises:
        UserError: one that does not read whole words.
    """
    encoder = tower.open("text")
    if not isinstance(encoder, WordCnn):
        raise UserError(f"space2 wants an encoder of whole words, as scratch-small-words, not {tower.encoder}")
    encoder.dropout.p = encoder.settings["dropout"] = dropout
    return encoder
