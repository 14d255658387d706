"""What a user says to an assistant, turn by turn, with semantic trees: several dialog sets in one schema.

A tree is a set of paths domain > intent (or act) > slot > value, any of which may be absent, as JSON:
`[["buses", "inform", "to_city", "new york"], ["buses", "request", "fare", null]]`. Names and values are in lower case.

Read from `$ANTIPHON_DATA/dialog`. `sgd` (26 services of train and dev), `woz2`, `simm` and `simr` are dialogs, of which
the users' turns are rows; `snips` and `atis` single utterances with an intent and slots; `restaurant8k` and `dstc8`
single utterances of which only spans are known, no intent.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import read_tsv, table

DESCRIPTION = "users' turns to assistants, with trees of domains, intents or acts, slots and values"
LICENCE = (
    "SGD: CC BY-SA 4.0; restaurant8k, dstc8: CC BY 4.0; SNIPS: CC0; WOZ 2.0: Apache-2.0; sim-M, sim-R: none stated; "
    "ATIS: research use only"
)

Branch = tuple[str | None, str | None, str | None, str | None]
"""Domain, intent, slot, value."""

_KINDS = {
    "id": "text", "text": "text", "previous": "text", "tree": "text", "domain": "text", "service": "text",
    "dialog": "text", "set": "text", "labelled": "number",
}  # fmt: skip


def load(sets: Sequence[str] = ("sgd",), *, several: bool = False) -> Dataset:
    """Rows of `id, text, previous, tree, domain, service, dialog, set, labelled`.

    `previous` is the assistant's turn before, None at the start; `domain` the field of life ("buses", of the services
    Buses_1 and Buses_2), None in `snips`; `labelled` is 0 in the sets of spans alone.

    Args:
        sets: of `SETS`.
        several: keep turns about several services at once (a twentieth of `sgd`; their `domain` names them all).

    Raises:
        DataError: an unknown set, no such file, or a line that is not as it should be.
    """
    strangers = sorted(set(sets) - set(SETS))
    if strangers or not sets:
        raise DataError(f"no dialogs {', '.join(strangers) or '(none given)'}: there are {', '.join(SETS)}")
    folder = data_folder("dialog")
    rows = []
    for name in sets:
        pattern, read = SETS[name]
        paths = sorted(folder.glob(pattern))
        if not paths:
            raise DataError(f"{folder}/{pattern}: no such file")
        rows += [{"set": name, "labelled": 1, "dialog": row["id"], **row} for path in paths for row in read(name, path)]
    return table(
        [row for row in rows if several or "+" not in (row["domain"] or "")],
        _KINDS,
        description=DESCRIPTION,
        licence=LICENCE,
    )


def tidy(name: str | None) -> str | None:
    """A name or value in lower case, without space around it or twice in it; None for an empty one."""
    return " ".join((name or "").lower().split()) or None


def _sgd(name: str, path: Path) -> Iterator[dict[str, Any]]:
    for dialog in _lines(path, ("id", "turns")):
        before = None
        for number, turn in enumerate(dialog["turns"]):
            if turn["speaker"] == "USER":
                services = sorted({frame["service"].lower() for frame in turn["frames"]})
                yield {
                    **_turn(name, path, dialog["id"], number, turn["text"], before),
                    "tree": _json(branch for frame in turn["frames"] for branch in _branches(frame)),
                    "domain": "+".join(sorted({_domain(service) for service in services})),
                    "service": "+".join(services),
                }
            before = turn["text"]


def _branches(frame: dict[str, Any]) -> Iterator[Branch]:
    domain = _domain(frame["service"])
    yield (domain, None, None, None)
    for act, slot, values in frame["acts"]:
        for value in values or [None]:
            yield (domain, tidy(act), tidy(slot), tidy(value))


def _woz2(name: str, path: Path) -> Iterator[dict[str, Any]]:
    for dialog in _lines(path, ("id", "turns")):
        for number, turn in enumerate(dialog["turns"]):
            branches: list[Branch] = [("restaurants", None, None, None)]
            for slot, value in turn["turn_label"]:
                asked = slot == "request"
                named = tidy((value if asked else slot).replace(" ", "_"))
                branches.append(
                    ("restaurants", *(("request", named, None) if asked else ("inform", named, tidy(value))))
                )
            yield {
                **_turn(name, path, dialog["id"], number, turn["user"], turn["system"] or None),
                "tree": _json(branches),
                "domain": "restaurants",
                "service": "woz2",
            }


def _simulated(name: str, path: Path) -> Iterator[dict[str, Any]]:
    domain = {"simm": "movies", "simr": "restaurants"}[name]
    for dialog in _lines(path, ("id", "turns")):
        for number, turn in enumerate(dialog["turns"]):
            acts = [tidy(act) for act in turn["user_acts"]]
            branches: list[Branch] = [(domain, None, None, None), *((domain, act, None, None) for act in acts)]
            says = "inform" if "inform" in acts or not acts else acts[0]
            branches += [(domain, says, tidy(slot), tidy(value)) for slot, value in turn["user_slots"]]
            yield {
                **_turn(name, path, dialog["id"], number, turn["user"], turn["system"] or None),
                "tree": _json(branches),
                "domain": domain,
                "service": name,
            }


def _tagged(name: str, path: Path) -> Iterator[dict[str, Any]]:
    domain = {"snips": None, "atis": "flights"}[name]
    for number, row in enumerate(read_tsv(path, ("intent", "text", "slots_bio"))):
        slots = _spans(row["text"].split(), row["slots_bio"].split(), path, number)
        intents = [tidy(intent.removeprefix("atis_")) for intent in row["intent"].split("#")]
        branches: list[Branch] = [(domain, intent, None, None) for intent in intents]
        branches += [(domain, intent, tidy(slot), tidy(value)) for intent in intents for slot, value in slots]
        yield {
            "id": f"{name}/{_part(path)}/{number:05}",
            "text": row["text"],
            "tree": _json(branches),
            "domain": domain,
            "service": name,
        }


def _spanned(name: str, path: Path) -> Iterator[dict[str, Any]]:
    service = path.name.removeprefix("dstc8_").split(".")[0].lower() if name == "dstc8" else name
    domain = _domain(service) if name == "dstc8" else "restaurants"
    for number, line in enumerate(_lines(path, ("text", "spans"))):
        branches: list[Branch] = [(domain, None, None, None)]
        branches += [(domain, None, tidy(slot), tidy(value)) for slot, _, _, value in line["spans"]]
        yield {
            "id": f"{name}/{service}/{number:05}",
            "text": line["text"],
            "tree": _json(branches),
            "domain": domain,
            "service": service,
            "labelled": 0,
        }


SETS: dict[str, tuple[str, Callable[[str, Path], Iterator[dict[str, Any]]]]] = {
    "sgd": ("sgd.*.jsonl.gz", _sgd),
    "woz2": ("woz2_en.*.jsonl.gz", _woz2),
    "simm": ("simm.*.jsonl.gz", _simulated),
    "simr": ("simr.*.jsonl.gz", _simulated),
    "snips": ("snips.*.tsv", _tagged),
    "atis": ("atis.*.tsv", _tagged),
    "restaurant8k": ("restaurant8k.*.jsonl", _spanned),
    "dstc8": ("dstc8_*.jsonl", _spanned),
}
"""By name: its files, of which those that are there are read, and how."""


def _turn(name: str, path: Path, dialog: Any, number: int, text: str, previous: str | None) -> dict[str, Any]:
    whole = f"{name}/{_part(path)}/{dialog:05}" if isinstance(dialog, int) else f"{name}/{_part(path)}/{dialog}"
    return {"id": f"{whole}/{number:02}", "dialog": whole, "text": text, "previous": previous}


def _domain(service: str) -> str:
    """The service without its number: "Buses_1" is of "buses"."""
    return service.lower().rpartition("_")[0] or service.lower()


def _part(path: Path) -> str:
    """Which part of its set a file is: train, dev, valid."""
    return path.name.split(".")[1]


def _json(branches: Any) -> str:
    return json.dumps(sorted(set(branches), key=lambda branch: [part or "" for part in branch]), ensure_ascii=False)


def _spans(words: list[str], tags: list[str], path: Path, number: int) -> list[tuple[str, str]]:
    """Slots and their words, of tags "B-slot", "I-slot", "O"."""
    if len(words) != len(tags):
        raise DataError(f"{path}:{number + 2}: {len(words)} words and {len(tags)} tags")
    found: list[tuple[str, list[str]]] = []
    for word, tag in zip(words, tags, strict=True):
        if tag.startswith("B-"):
            found.append((tag[2:], [word]))
        elif tag.startswith("I-") and found:
            found[-1][1].append(word)
    return [(slot, " ".join(value)) for slot, value in found]


def _lines(path: Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objects of a file with one JSON object a line."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: no JSON ({error.msg})") from None
        lacking = [field for field in fields if field not in found]
        if lacking:
            raise DataError(f"{path}:{number}: no {', '.join(lacking)}")
        yield found
