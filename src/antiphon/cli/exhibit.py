"""What the demo shows of a trained space: retrieval, zero-shot classes, an index to search, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from antiphon.data.pairs import directions, signal_of

if TYPE_CHECKING:
    from antiphon.recipes.clip import Trained
    from antiphon.runs import Measures, Run
    from antiphon.search.index import Index
    from antiphon.types import Views

TEMPLATES = ("{}.", "This is {}.")
FOLDERS = {
    "animals": ("an animal", "a bird", "a fish", "an insect"),
    "clothes": ("clothes", "a hat", "a shoe"),
    "food": ("food", "a fruit", "a vegetable", "a dessert"),
    "hobbies": ("a toy", "a musical instrument", "a tool", "a game"),
    "household": ("a thing of the household", "furniture", "a dish"),
    "medical": ("a medical thing", "medicine"),
    "military": ("a soldier", "a tank", "a weapon"),
    "naturalforces": ("the weather", "a storm", "fire"),
    "people": ("a person", "a man", "a woman"),
    "plants": ("a plant", "a flower", "a tree"),
    "seasonal": ("a holiday", "Christmas", "Halloween"),
    "space": ("outer space", "a planet", "a spacecraft"),
    "sports": ("a sport", "a ball"),
    "symbols": ("a letter", "a number", "a coin", "a sign", "the letter A"),
    "town": ("a building", "a house", "a street sign"),
    "vehicles": ("a vehicle", "a car", "a ship", "an airplane"),
}
"""What the top folders hold, in words: the prompts, chosen on dev. Another folder is prompted by its name."""


@dataclass(frozen=True)
class Shown:
    """The demo's numbers on the test captions."""

    retrieval: dict[str, Measures]
    chance: dict[str, Measures]
    between_languages: Measures
    zero_shot: dict[str, Measures]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"retrieval": self.retrieval, "zero_shot": self.zero_shot, "chance": self.chance}


def exhibit(trained: Trained, run: Run) -> Shown:
    """Measure on test, write `index/` and `report.html` into the run's folder."""
    from antiphon.cli.showing import write_report
    from antiphon.recipes.clip import vectors

    views = {split: vectors(trained, split) for split in trained.rows}
    index(trained, views).save(run.folder / "index")
    found, floors = _retrieval(trained.columns, views["test"])
    between = [value for way, value in found.items() if way.startswith("speech") and "->speech" in way]
    shown = Shown(found, floors, _mean(between), _zero_shot(trained, views["test"]))
    write_report(trained, shown, views, run, run.folder / "report.html")
    return shown


def index(trained: Trained, views: dict[str, Views]) -> Index:
    """Every item of every split; a caption that several rows share stands once."""
    import torch

    from antiphon.search.index import Entry, Index

    parts, entries = [], []
    seen: set[tuple[str, str]] = set()
    for split, rows in trained.data.items():
        for column in trained.columns:
            fresh = []
            for at, (show, present) in enumerate(
                zip(map(_show, rows[column]), views[split][f"has_{column}"], strict=True)
            ):
                if present and (column, show) not in seen:
                    seen.add((column, show))
                    fresh.append(at)
                    entries.append(Entry(rows[at]["id"], column, show))
            parts.append(views[split][column][fresh])
    return Index(torch.cat(parts), entries)


def _show(item: Any) -> str:
    return item["path"] if isinstance(item, dict) else str(item)


def _retrieval(columns: list[str], views: Views) -> tuple[dict[str, Measures], dict[str, Measures]]:
    from antiphon.recipes.clip import between

    found, floors = {}, {}
    for source, target in directions(columns):
        measures = between(views, source, target)
        way = f"{source}->{target}"
        floors[way] = {name.removeprefix("chance "): value for name, value in measures.items() if "chance" in name}
        found[way] = {name: value for name, value in measures.items() if "chance" not in name}
    return found, floors


def _mean(found: list[Measures]) -> Measures:
    """The mean of each measure over the directions that any query has; nothing where there is none."""
    asked = [measures for measures in found if measures["n"]]
    return {name: sum(measures[name] for measures in asked) / len(asked) for name in asked[0]} if asked else {}


def _zero_shot(trained: Trained, views: Views) -> dict[str, Measures]:
    """Test pictures and recordings into the top folders, by prompts alone."""
    import torch

    from antiphon.encoders.heads import unit
    from antiphon.evaluation.zeroshot import class_vectors, zero_shot

    tops = sorted({top for rows in trained.data.values() for top in rows["top"]})
    words = [FOLDERS.get(top, (top,)) for top in tops]
    prompts = [class_vectors(lambda texts: trained.space.embed(text=texts), names, TEMPLATES) for names in words]
    vectors = unit(torch.stack([vectors.mean(0) for vectors in prompts]))
    labels = torch.tensor([tops.index(top) for top in trained.data["test"]["top"]])
    found = {}
    for column in trained.columns:
        if signal_of(column) != "text":
            there = views[f"has_{column}"]
            if not there.any():
                continue
            found[column] = zero_shot(views[column][there], vectors, labels[there]).as_dict()
    return found
