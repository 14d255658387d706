"""Rows of SPACE-2: turns as words with the turn before marked, their trees, what is masked, and the two halves of a
batch.

Axes: T words.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from antiphon.data.augment import whole
from antiphon.data.collate import EPOCH, INDEX, Augment, Collate
from antiphon.decode import BadInput, clean_text, split_words
from antiphon.encoders.text import padded_ids
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.recipes.space2.trees import Branch, Tree, TreeCodes, read_tree
from antiphon.training.learner import Batch
from antiphon.types import Padded

Row = dict[str, Any]
LEVELS = ("domain", "intent", "slot", "value")
MASK = 0
"""The id of a masked word: what `WordCnn` takes for a word that it does not know."""


def turn_text(previous: str | None, text: str, most: tuple[int, int]) -> str:
    """A turn for the encoder: the last words of the turn before, each behind a `_`, and the turn's own first words.

    So a word of the other speaker is another word, which stands for the paper's role embeddings.
    """
    before, own = split_words(previous or ""), split_words(text)
    kept = text if len(own) <= most[1] else " ".join(own[: most[1]])
    return " ".join([*(f"_{word}" for word in before[len(before) - min(most[0], len(before)) :]), kept])


def turns_of(
    data: Any,
    column: str,
    *,
    previous: str | None,
    most: tuple[int, int],
    tree: str | None,
    levels: Mapping[str, str],
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of `id, text, plain, tree, dialog, domain`; and rows without a usable text, each with the reason.

    Args:
        data: the rows of a source.
        column: of texts.
        previous: the column with the turn before, where the source has it.
        most: words of it that are kept, the last ones; and of the turn itself, the first ones.
        tree: the column with trees, where the source has it.
        levels: columns of single names, by level, in place of trees: `{"domain": "topic", "intent": "kind"}`.

    Raises:
        UserError: an unknown level, no such column, or a tree that cannot be read.
    """
    strangers = sorted(set(levels) - set(LEVELS)) + sorted(set(levels.values()) - set(data.column_names))
    if strangers:
        raise UserError(
            f"levels={dict(levels)}: no level or column {strangers[0]}; levels are {', '.join(LEVELS)}, the rows have "
            f"{', '.join(data.column_names)}"
        )
    names = [name for name in (previous, tree, "dialog", "domain") if name and name in data.column_names]
    columns = data.select_columns(sorted({"id", column, *names, *levels.values()}))[:]
    found, refused = [], []
    for at, (row, text) in enumerate(zip(columns["id"], columns[column], strict=True)):
        try:
            text = clean_text(text)
        except BadInput as error:
            refused.append((str(row), str(error)))
            continue
        before = columns[previous][at] if previous in columns else None
        if levels:
            branch = tuple(_name(columns[levels[level]][at]) if level in levels else None for level in LEVELS)
            branches: Tree = [branch]  # type: ignore[list-item]
        else:
            branches = read_tree(columns[tree][at], str(row)) if tree in columns else []
        found.append(
            {
                "id": row, "text": turn_text(before, text, most), "plain": f"{before} {text}" if before else text,
                "tree": branches, "dialog": columns["dialog"][at] if "dialog" in columns else row,
                "domain": columns["domain"][at] if "domain" in columns else None,
            }
        )  # fmt: skip
    return found, refused


def drawn(rows: Sequence[Any], most: int | None, seed: int) -> list[Any]:
    """So many of the rows, by chance, in their order; all where there are fewer."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [rows[at] for at in sorted(order[:most])]


def with_words(rows: Sequence[Row], encoder: WordCnn) -> list[Row]:
    """The rows with `words`: their words' ids, and the places of the words of their values."""
    return [row | {"words": (_ids(row["text"], encoder), value_places(row["text"], row["tree"]))} for row in rows]


def value_places(text: str, tree: Tree) -> list[int]:
    """Places of the words of a tree's values in a text."""
    words, places = split_words(text), set()
    for value in sorted({branch[3] for branch in tree if branch[3]}):
        parts = split_words(value)
        for start in range(len(words) - len(parts) + 1):
            if parts and words[start : start + len(parts)] == parts:
                places |= set(range(start, start + len(parts)))
    return sorted(places)


def frequent_words(rows: Sequence[Row], most: int) -> Int[Tensor, " v"]:
    """The ids of the words that rows have most often, in order of ids; never `MASK`."""
    counts = Counter(number for row in rows for number in row["words"][0] if number != MASK)
    return torch.tensor(
        sorted(number for number, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])
    )


def masked(
    item: tuple[list[int], list[int]], generator: torch.Generator, *, share: float, drawn: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Ids with some masked, and the ids that are asked for there, elsewhere `MASK`.

    The words of values are masked, where there are any; else so large a share of all words. Of these, 80 % become
    `MASK`, 10 % a drawn word, and 10 % stay.
    """
    ids, places = item
    chances = torch.rand(len(ids), 2, generator=generator).tolist()
    chosen = set(places) if places else {at for at, (chance, _) in enumerate(chances) if chance < share}
    seen, asked = list(ids), [MASK] * len(ids)
    for at in sorted(chosen):
        asked[at] = ids[at]
        if chances[at][1] < 0.8:
            seen[at] = MASK
        elif chances[at][1] < 0.9:
            seen[at] = drawn[whole(len(drawn), generator)]
    return seen, asked


class _Ids:
    """Ids to `(B, T)`."""

    def collate(self, items: Sequence[Any]) -> Padded:
        return padded_ids([item[0] for item in items], MASK)


class _Masked:
    """Ids and what is asked for, to `(B, T, 2)`."""

    def collate(self, items: Sequence[Any]) -> Padded:
        seen, asked = (padded_ids([item[part] for item in items], MASK) for part in (0, 1))
        return Padded(torch.stack([seen.values, asked.values], 2), seen.lengths)


class _Codes:
    """Numbers of a tree to `(B, K)`."""

    def collate(self, items: Sequence[Any]) -> Padded:
        return Padded(torch.stack(list(items)), torch.full((len(items),), items[0].shape[0]))


class TurnBatches:
    """Batches of labelled turns, and as many unlabelled ones drawn by chance.

    Entries: `text`, `text_masked` and `codes` of the labelled turns, `other` and `other_masked` of the unlabelled.
    With `together` = m, every row brings m - 1 others that share its first domain and slot (its first domain and
    intent, where it has no slot), so that views of values have positives; where there are too few of these, others.

    Args:
        rows: the labelled ones, as `with_words` gives them.
        others: the unlabelled ones; may be none.
        codes: of the labelled rows' trees.
        share: of the words of a turn without values, how many are masked.
        together: m.
        seed: of all chance, by row and epoch.
    """

    def __init__(
        self, rows: Sequence[Row], others: Sequence[Row], codes: TreeCodes, *, share: float, together: int, seed: int
    ) -> None:
        matrix = codes.matrix([row["tree"] for row in rows])
        self.rows = [row | {"codes": codes_K} for row, codes_K in zip(rows, matrix, strict=True)]
        self.others, self.together, self.seed = [row["words"] for row in others], together, seed
        self.like: dict[Any, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            self.like[_kind(row["tree"])].append(place)
        drawn = [number for row in [*rows, *others] for number in row["words"][0]]
        mask = partial(masked, share=share, drawn=drawn)
        entries: dict[str, Any] = {"text": _Ids(), "text_masked": _Masked(), "codes": _Codes()}
        of = {"text": "words", "text_masked": "words"}
        augment: dict[str, Augment] = {"text_masked": mask}
        if others:
            entries |= {"other": _Ids(), "other_masked": _Masked()}
            of |= {"other": "words", "other_masked": "words"}
            augment |= {
                "other": self._another,
                "other_masked": lambda _, chance: mask(self._another(_, chance), chance),
            }
        self.collate = Collate(entries, of=of, augment=augment, seed=seed)

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The batch of these rows."""
        return self.collate([each for row in rows for each in [row, *self._company(row)]])

    def _company(self, row: Row) -> list[Row]:
        key = f"{self.seed}/{row[EPOCH]}/{row[INDEX]}/together".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big"))
        alike = [place for place in self.like[_kind(row["tree"])] if place != row[INDEX]]
        chosen = _some(alike, self.together - 1, generator)
        if len(chosen) < self.together - 1:  # all batches have one size, and a turn that comes twice teaches nothing
            taken = {row[INDEX], *chosen}
            others = [place for place in range(len(self.rows)) if place not in taken]
            chosen += _some(others, self.together - 1 - len(chosen), generator)
        return [{**self.rows[place], INDEX: place, EPOCH: row[EPOCH]} for place in chosen]

    def _another(self, _: Any, generator: torch.Generator) -> tuple[list[int], list[int]]:
        ids, _places = self.others[whole(len(self.others), generator)]
        return ids, []


def _some(places: Sequence[int], count: int, generator: torch.Generator) -> list[int]:
    """So many of the places by chance, none of them twice; all where there are fewer."""
    return [places[at] for at in torch.randperm(len(places), generator=generator)[:count].tolist()]


def _kind(tree: Sequence[Branch]) -> tuple[str | None, ...]:
    """What turns that come together share."""
    slots = sorted((branch[0] or "", branch[2]) for branch in tree if branch[2])
    if slots:
        return slots[0]
    return next(((branch[0], None, branch[1]) for branch in tree if branch[1]), (None,))


def _ids(text: str, encoder: WordCnn) -> list[int]:
    ids: list[int] = encoder.collate([text]).values[0].tolist()
    return ids


def _name(value: Any) -> str | None:
    return None if value is None else " ".join(str(value).lower().split()) or None
