"""Made documents: sentences in order, in made languages that share the stems of names, for tests and first steps.

Each document has a topic, which its sentences name by two of the topic's words among words that any text has. Languages
spell those names alike but for an ending of their own; all other words are their own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from antiphon.data.sources.documents import KINDS
from antiphon.data.table import table

DESCRIPTION = "generated documents in generated languages, translated line by line"
LICENCE = "none needed: the rows are generated"


def load(
    languages: Sequence[str] = ("aaa", "bbb", "eng"), documents: int = 60, sentences: int = 8, seed: int = 0
) -> Dataset:
    """Rows of `id, text, language, document, line, place`, as the source `documents` has them.

    Args:
        languages: any names; another name, another language.
        documents: of each language.
        sentences: of each document.
        seed: of topics and sentences.
    """
    rows = [row for language in languages for row in _of(language, documents, sentences, seed)]
    return table(rows, KINDS, description=DESCRIPTION, licence=LICENCE)


def _of(language: str, documents: int, sentences: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"made documents/{seed}")
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    topics = [["".join(rng.choices(syllables, k=3)) for _ in range(5)] for _ in range(documents)]
    local = random.Random(f"made language/{language}")
    ending = local.choice("aeiou") + local.choice("klmnrs")
    common = ["".join(local.choices("abcdefghijklmnopqrstuvwxyz", k=4)) for _ in range(30)]
    rows = []
    for number, topic in enumerate(topics):
        for place in range(sentences):
            named = [name + ending for name in rng.sample(topic, 2)]
            words = rng.sample(range(len(common)), 5)
            text = " ".join([*(common[at] for at in words[:3]), named[0], common[words[3]], named[1], common[words[4]]])
            line = f"{number:03}/{place:02}"
            row = {"id": f"{language}/{line}", "text": text, "language": language, "document": f"{number:03}"}
            rows.append(row | {"line": line, "place": place})
    return rows
