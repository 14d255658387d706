"""`report.html` of a run: the numbers of a trained space in words and tables; pictures and sounds are in `gallery`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.cli.gallery import called, gallery, plane, signals
from antiphon.data.pairs import directions, signal_of
from antiphon.evaluation.report import Classes, Curve, Direction, Fact, Figure, Grid, Group, Panel, Report, write

if TYPE_CHECKING:
    from antiphon.cli.exhibit import Shown
    from antiphon.recipes.clip import Trained
    from antiphon.runs import Measures, Run
    from antiphon.types import Views

NOT_LOSSES = {"step", "loss", "lr", "grad_norm", "seconds", "temperature", "scale"}


def write_report(trained: Trained, shown: Shown, views: dict[str, Views], run: Run, path: str | Path) -> Path:
    """Write the report of a trained clip space on its test rows.

    Args:
        trained: its raw rows (`data`) give the pictures, captions and recordings.
        shown: the numbers, as `exhibit` measures them.
        views: by split, as `recipes.clip.vectors` gives them; only "test" is read.
        run: its metrics, settings, versions and seed.
        path: of the file.

    Raises:
        BadInput: a picture or recording of the test rows that can no longer be read.
    """
    columns, rows, test = trained.columns, trained.data["test"], views["test"]
    ways = {(a, b): _direction(a, b, shown) for a, b in directions(columns)}
    report = Report(
        title=f"One space for {_listed(signals(columns))}",
        summary=_summary(trained, shown),
        figures=_figures(shown, columns),
        groups=_groups(ways, columns, forward=True),
        reverse=_groups(ways, columns, forward=False),
        grid=_grid(shown, columns),
        classes=[_classes(column, found) for column, found in shown.zero_shot.items()],
        plane=plane(rows, test, columns),
        gallery=gallery(rows, test, columns, seed=run.seed),
        panels=panels(run.metrics()),
        facts=_facts(trained, run),
        settings=run.config.to_yaml(),
        credits=_credits(trained),
    )
    return write(report, path)


def panels(metrics: list[dict[str, float]]) -> list[Panel]:
    """Curves of what was logged: the loss and its parts, measures on dev (`dev/...`), the temperature."""
    names = sorted({name for line in metrics for name in line})
    parts = [name for name in names if name not in NOT_LOSSES and "/" not in name]
    wanted = {
        "loss, the sum of its parts": ["loss"],
        "parts of the loss": parts if len(parts) > 1 else [],
        "on dev": [name for name in names if name.startswith("dev/")],
        "learned temperatures": [name for name in names if name.split("/")[0] == "temperature"],
    }
    drawn = {title: [_curve(name, metrics) for name in listed if name in names] for title, listed in wanted.items()}
    return [Panel(title, curves) for title, curves in drawn.items() if curves]


def _curve(name: str, metrics: list[dict[str, float]]) -> Curve:
    points = [(int(line["step"]), line[name]) for line in metrics if name in line]
    return Curve(
        name.removeprefix("dev/").removeprefix("temperature/"),
        [step for step, _ in points],
        [value for _, value in points],
    )


def _direction(source: str, target: str, shown: Shown) -> Direction | None:
    found, floors = shown.retrieval[f"{source}->{target}"], shown.chance[f"{source}->{target}"]
    if not found["n"]:
        return None  # no test row has both
    return Direction(
        name=f"{source.partition('_')[0]} → {target.partition('_')[0]}",
        recall=_at(found),
        chance=_at(floors),
        median_rank=found["median_rank"],
        queries=int(found["n"]),
        keys=int(found["keys"]),
    )


def _at(found: Measures) -> dict[int, float]:
    return {int(name[2:]): value for name, value in found.items() if name.startswith("R@")}


def _groups(ways: dict[tuple[str, str], Direction | None], columns: list[str], *, forward: bool) -> list[Group]:
    """What has no language first, both ways; then each language, from speech (`forward`) or to it."""
    plain = [column for column in columns if "_" not in column]
    groups = []
    if forward:
        groups.append((" and ".join(plain), [ways[pair] for pair in ways if set(pair) <= set(plain)]))
    for column in columns:
        if column not in plain:
            pairs = [(column, other) if forward else (other, column) for other in plain]
            order = sorted(pairs, key=lambda pair: "text" not in pair)
            groups.append((called(column), [ways[pair] for pair in order]))
    some = [(title, [way for way in found if way is not None]) for title, found in groups]
    return [Group(title, found) for title, found in some if found]


def _grid(shown: Shown, columns: list[str]) -> Grid | None:
    spoken = [column for column in columns if signal_of(column) == "speech"]
    floors = [shown.chance[f"{a}->{b}"].get("R@10") for a in spoken for b in spoken if a != b]
    known = [floor for floor in floors if floor is not None]
    if not known:
        return None
    names = [called(column).removesuffix(" speech") for column in spoken]
    mean = shown.between_languages["R@10"]
    return Grid(
        title="From one language to another",
        rows=names,
        columns=names,
        values=[[_r10(shown, a, b) for b in spoken] for a in spoken],
        note=f"R@10 of a recording (row) that looks for that of the same caption in another language (column). "
        f"The mean is {mean:.3f}; chance gives {sum(known) / len(known):.3f}.",
    )


def _r10(shown: Shown, source: str, target: str) -> float | None:
    return None if source == target else shown.retrieval[f"{source}->{target}"].get("R@10")


def _classes(column: str, found: Measures) -> Classes:
    return Classes(
        name=called(column),
        accuracy=found["accuracy"],
        balanced=found["balanced_accuracy"],
        chance=found["chance"],
        majority=found["majority"],
        queries=int(found["n"]),
    )


def _figures(shown: Shown, columns: list[str]) -> list[Figure]:
    """R@10 of each kind of direction (the mean over languages), and zero-shot pictures."""
    kinds: dict[str, list[tuple[float, float]]] = {}
    for source, target in directions(columns):
        found, floors = shown.retrieval[f"{source}->{target}"], shown.chance[f"{source}->{target}"]
        if found["n"] and not (signal_of(target) == "speech" and signal_of(source) != "speech"):
            name = f"{signal_of(source)} → {signal_of(target)}, R@10"
            kinds.setdefault(name, []).append((found["R@10"], floors["R@10"]))
    figures = [
        Figure(name, sum(value for value, _ in pairs) / len(pairs), sum(floor for _, floor in pairs) / len(pairs))
        for name, pairs in kinds.items()
    ]
    named = shown.zero_shot.get("image")
    return [*figures, *([Figure("pictures named, zero-shot", named["accuracy"], named["chance"])] if named else [])]


def _summary(trained: Trained, shown: Shown) -> list[str]:
    columns, sizes = trained.columns, {split: len(rows) for split, rows in trained.data.items()}
    spoken = [called(column).removesuffix(" speech") for column in columns if signal_of(column) == "speech"]
    tongues = f" in {len(spoken)} languages ({_listed(spoken)})" if len(spoken) > 1 else ""
    opening = (
        f"{_listed(signals(columns)).capitalize()}{tongues} share one space. It was trained on "
        f"{sizes['train']:,} rows in {trained.seconds['train']:.0f} seconds, and is tested here on {sizes['test']:,} "
        "rows whose captions training never saw."
    )
    found, floors = shown.retrieval.get("image->text"), shown.chance.get("image->text")
    if found and floors and found["n"]:
        opening += (
            f" Asked with a picture, {found['R@10']:.0%} of {found['n']:.0f} times the right caption is among the "
            f"first ten of {found['keys']:.0f}, and {found['R@1']:.0%} of the times it is the first; chance gives "
            f"{floors['R@10']:.0%} and {floors['R@1']:.1%}."
        )
    return [opening, "Figures of speech are means over its languages."] if tongues else [opening]


def _facts(trained: Trained, run: Run) -> list[Fact]:
    noted = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    left_out = run.folder / "quarantine.jsonl"
    lines = left_out.read_text(encoding="utf-8").splitlines() if left_out.exists() else []
    return [
        Fact("recipe and seed", f"{run.recipe}, {run.seed}"),
        Fact("rows", ", ".join(f"{len(rows):,} {split}" for split, rows in trained.data.items())),
        *(Fact(f"seconds, {name}", f"{value:.1f}") for name, value in trained.seconds.items()),
        Fact("inputs left out", f"{len(lines)}" + (" (quarantine.jsonl has the reasons)" if lines else "")),
        Fact("started", str(noted["started"])),
        Fact("commit", str(noted["commit"] or "not a git checkout")),
        *(Fact(name, str(version)) for name, version in noted["versions"].items()),
    ]


def _credits(trained: Trained) -> str:
    """Where the pictures and sounds of the page come from, and their licence."""
    info = trained.data["test"].info
    return " ".join(f"{part.rstrip('.')}." for part in (info.description, info.license) if part)


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
