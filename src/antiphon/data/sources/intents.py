"""What a user wants: single utterances to assistants, labelled by intent (CLINC150, Banking77, ATIS, SNIPS).

Read from `$ANTIPHON_DATA/dialog`: `<name>.<split>.tsv`, with `intent`, `text` and, in CLINC150, `domain`.
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "utterances to assistants, labelled by intent"
LICENCE = "Banking77: CC BY 4.0; CLINC150: CC BY 3.0; SNIPS: CC0; ATIS: research use only"

SETS = ("clinc150", "banking77", "atis", "snips")
_KINDS = {"id": "text", "text": "text", "intent": "text", "words": "text", "domain": "text", "set": "text"}


def load(sets: Sequence[str] = ("clinc150",), split: str = "train", *, outside: bool = False) -> Dataset:
    """Rows of `id, text, intent, words, domain, set`.

    `words` is the intent as a phrase ("card_arrival" is "card arrival", "PlayMusic" is "play music"); `domain` is None
    where the set has none.

    Args:
        sets: of `SETS`.
        split: as files are named: train; and val (CLINC150), valid (ATIS, SNIPS), test, where there.
        outside: keep CLINC150's utterances that have no intent of its own ("oos").

    Raises:
        DataError: an unknown set, or no such file.
    """
    strangers = sorted(set(sets) - set(SETS))
    if strangers or not sets:
        raise DataError(f"no set of intents {', '.join(strangers) or '(none given)'}: there are {', '.join(SETS)}")
    folder = data_folder("dialog")
    rows = [
        {
            "id": f"{name}/{split}/{number:05}",
            "text": row["text"],
            "intent": row["intent"],
            "words": words_of(row["intent"]),
            "domain": row.get("domain"),
            "set": name,
        }
        for name in sets
        for number, row in enumerate(read_tsv(folder / f"{name}.{split}.tsv", ("intent", "text")))
        if outside or row["intent"] != "oos"
    ]
    return table(rows, _KINDS, description=DESCRIPTION, licence=LICENCE)


def words_of(intent: str) -> str:
    """A label as a phrase in lower case."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in intent)
    return " ".join(spaced.replace("_", " ").replace("#", " ").lower().split())
