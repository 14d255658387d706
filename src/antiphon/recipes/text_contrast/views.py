"""How dangerous is a view? What each does to sentences, at several rates, and to similarity when it is trained with.

The primer warns that one changed token can turn a meaning round. So for each view and rate:

    cosine    of a sentence and its changed self, by a published encoder (`reference`)
    touched   the share of words of negation and of numbers that are there more or less often than before
    opposed   the same of words that have an antonym (WordNet's; where `opposed` asks for it)
    sts       similarity (Spearman) after contrast of two views of each training sentence

All are measured once for a seed; a run tells those of its own `view` and `rate`, as `test/sts` and so on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.data.pairs import expand, load
from antiphon.data.wordnet import wordnet
from antiphon.decode import clean_text, split_words
from antiphon.encoders.space import Space
from antiphon.errors import UserError
from antiphon.evaluation.floors import named, published
from antiphon.evaluation.report.figures import curves
from antiphon.evaluation.sts import scored_sets, similarities, word_floors
from antiphon.recipes.text_contrast.config import Config
from antiphon.recipes.text_contrast.learner import opened, train
from antiphon.recipes.text_contrast.rows import VIEWS, Row, training_rows
from antiphon.runs import Measures, Run

_MARKED = re.compile(
    r"\d[\d.,]*|\b(?:no|not|none|nobody|nothing|never|neither|without|zero|one|two|three|four|five|six|seven|eight|nine|"
    r"ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion)\b|"
    r"\b\w+n['’]t\b",
    re.IGNORECASE,
)
"""Words that turn a meaning round when they are lost: of negation, and numbers."""


def of_views(cfg: Config, run: Run) -> Measures:
    """Measure all views at all rates, once for a seed; save the space of this run's own, and tell of it."""
    if cfg.view != "none" and (cfg.rate not in cfg.rates or cfg.view not in cfg.swept):
        raise UserError(
            f"view={cfg.view} rate={cfg.rate:g} is none of swept={list(cfg.swept)} at rates={list(cfg.rates)}: "
            "add it there"
        )
    own = "none" if cfg.view == "none" else f"{cfg.view}_{cfg.rate:g}"
    shared = _shared(cfg)
    sweep = run.part("views", shared)
    found = sweep.once(lambda: _sweep(shared, sweep))
    Space.load(_folder(sweep, own)).save(run.folder / "space")
    own_measures = {key.removeprefix(f"{own}/"): value for key, value in found.items() if key.startswith(f"{own}/")}
    _draw(run, cfg, found)
    return {**found, **own_measures}


def changed(texts: Sequence[str], view: str, rate: float, seed: int) -> list[str]:
    """Each text, changed once."""
    change, generator = VIEWS[view](rate), torch.Generator().manual_seed(seed)
    return [text if change is None else change(text, generator) for text in texts]


def marked(text: str) -> list[str]:
    """The words of negation, and the numbers, of a text."""
    return [word.lower() for word in _MARKED.findall(text)]


def with_antonyms(text: str) -> list[str]:
    """The words of a text that have an antonym (by WordNet)."""
    return [word for word in split_words(text) if word in wordnet().opposed]


def touched(before: Sequence[str], after: Sequence[str], words_of: Callable[[str], list[str]] = marked) -> float:
    """The share of all such words that a text has more or less often afterwards; 0 without any."""
    count = moved = 0
    for old, new in zip(before, after, strict=True):
        words, left = Counter(words_of(old)), Counter(words_of(new))
        count += words.total()
        moved += sum(min(number, abs(number - left[word])) for word, number in words.items())
    return moved / max(count, 1)


def _shared(cfg: Config) -> Config:
    """What the sweep depends on; the rest by default."""
    names = (
        "study", "data", "text", "negatives", "hard", "queue", "drawn", "loss", "rates", "swept", "opposed",
        "dev", "asked", "looked_at", "reference", "width", "temperature", "train",
    )  # fmt: skip
    return cfg.only(*names, pairing="texts", classes=None)


def _sweep(cfg: Config, run: Run) -> Measures:
    scored = scored_sets(cfg.dev, cfg.asked)
    texts = {split: _sentences(scored, split) for split in ("dev", "test")}
    rows = _rows(cfg, {text for several in texts.values() for text in several})
    cells = {f"{view}_{rate:g}": (view, rate) for view in cfg.swept for rate in cfg.rates}
    cells["none"] = ("none", 0.0)
    measures = word_floors(scored) | _harm(cfg, texts, cells, run.seed)
    run.seed_all()
    measures |= named("random", similarities(partial(_embed, opened(cfg, rows).space().eval()), scored))
    if cfg.reference is not None:
        measures |= named(cfg.reference, similarities(partial(published, cfg.reference), scored))
    for name, (view, rate) in cells.items():
        one = cfg.but(view=view, rate=rate)
        run.seed_all()
        learner = opened(one, rows)
        train(learner, rows, run.part("view", one))
        learner.space().eval().save(_folder(run, name))
        measures |= named(name, similarities(partial(_embed, learner.space().eval()), scored))
    return measures


def _harm(
    cfg: Config, texts: Mapping[str, Sequence[str]], cells: Mapping[str, tuple[str, float]], seed: int
) -> Measures:
    """What each view does to sentences, before any training: to all of them, and to some by the reference."""
    found: Measures = {}
    pairs: dict[str, tuple[list[str], list[str]]] = {}
    for split, several in texts.items():
        order = torch.randperm(len(several), generator=torch.Generator().manual_seed(seed)).tolist()
        some = [several[at] for at in order[: cfg.looked_at]]
        for name, (view, rate) in cells.items():
            after = changed(several, view, rate, seed)
            found[f"{name}/{split}/touched"] = touched(several, after)
            if cfg.opposed:
                found[f"{name}/{split}/opposed"] = touched(several, after, with_antonyms)
            pairs[f"{name}/{split}/cosine"] = some, changed(some, view, rate, seed)
    if cfg.reference is None:
        return found
    every = list(dict.fromkeys(text for sides in pairs.values() for side in sides for text in side))
    of = dict(zip(every, published(cfg.reference, every), strict=True))
    for key, sides in pairs.items():
        first, second = (torch.stack([of[text] for text in side]) for side in sides)
        found[key] = float(torch.nn.functional.cosine_similarity(first, second, dim=1).mean())
    return found


def _rows(cfg: Config, scored: set[str]) -> list[Row]:
    """Sentences to train on, none of them scored."""
    data = load(cfg.data)
    columns = expand(cfg.data.columns, data.column_names)
    table = data.select_columns(sorted({"id", *columns}))[:]
    kept = [at for at, text in enumerate(table[columns[0]]) if text and text.strip() not in scored]
    if len(columns) != 1 or len(kept) < 2:
        raise UserError(f"study=views wants one column of texts with two rows or more, data gives {', '.join(columns)}")
    return training_rows({name: [column[at] for at in kept] for name, column in table.items()}, columns, None)


def _sentences(scored: Mapping[str, Any], split: str) -> list[str]:
    """Every sentence of the scored pairs of a split, once."""
    several = [rows for name, rows in scored.items() if name.startswith(f"{split}/")]
    texts = [text for rows in several for side in ("text_1", "text_2") for text in rows[side]]
    return list(dict.fromkeys(clean_text(text) for text in texts))


def _embed(space: Space, texts: Sequence[str]) -> Tensor:
    return space.embed(text=list(texts))


def _folder(run: Run, name: str) -> Path:
    return run.folder / "spaces" / name


def _draw(run: Run, cfg: Config, found: Measures) -> None:
    """A picture of each measure: a line for each view, over the rate."""
    told = {"touched": "share of negations and numbers touched", "sts": "Spearman's correlation"}
    told |= {"opposed": "share of words with antonyms touched"} if cfg.opposed else {}
    told |= {"cosine": f"cosine by {cfg.reference}"} if cfg.reference is not None else {}
    captions = {
        "touched": "How many words of negation and numbers each view loses or doubles, over its rate.",
        "opposed": "How many words that have an antonym each view loses, doubles or exchanges, over its rate.",
        "cosine": "How near a sentence stays to itself, over the rate of each view.",
        "sts": "Similarity (means of the sets) after contrast with each view, over its rate.",
    }
    for key, y in told.items():
        lines: dict[str, list[tuple[float, float]]] = {
            view: [(100 * rate, found[f"{view}_{rate:g}/test/{key}"]) for rate in sorted(cfg.rates)]
            for view in cfg.swept
        }
        if key == "sts":
            sides = {"TF-IDF": "tfidf", "Jaccard": "jaccard", "random encoder": "random"}
            sides |= {f"{cfg.reference} (reference)": cfg.reference} if cfg.reference is not None else {}
            ends = (100 * min(cfg.rates), 100 * max(cfg.rates))
            lines |= {name: [(x, found[f"{side}/test/sts"]) for x in ends] for name, side in sides.items()}
        run.picture(f"views-{key}", curves(lines, x="rate, %", y=y), captions[key])
