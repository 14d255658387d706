"""Pages of recipes in Markdown, from what stands in the recipe and in its measured cards: no number is typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from markupsafe import Markup

from antiphon.evaluation.claims import differences_from_paper, without_remarks
from antiphon.evaluation.report.charts import ticks
from antiphon.evaluation.report.figures import curves
from antiphon.runs import Measures

_CODE = re.compile(r"(`[^`]*`)|<")

Card = dict[str, Any]
"""A measured claim, as `claims.read_cards` reads it."""


def recipe_page(name: str, module: ModuleType, cards: Sequence[Card], pictures: Sequence[str] = ()) -> str:
    """What the method is, how to run it, its settings, what was measured, and where it differs from the paper.

    Args:
        name: of the recipe.
        module: its docstring says what it is.
        cards: its measured claims; claims without a card are said to be not measured.
        pictures: figures that a run of the first claim kept (`Run.picture`).
    """
    summary, _, rest = (module.__doc__ or "").partition("\n")
    measured = {card["claim"]: card for card in cards}
    claims = [
        card_section(measured[claim.text]) if claim.text in measured else f"### Not measured: {_prose(claim.text)}"
        for claim in module.CLAIMS
    ]
    differs = differences_from_paper(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return "\n\n".join(
        [
            f"# {name}",
            _prose(summary),
            f"Paper: [{module.PAPER.title}](https://arxiv.org/abs/{module.PAPER.arxiv}). "
            f"Signals: {', '.join(module.PAPER.signals)}.",
            _prose(without_remarks(rest.strip("\n"))),
            "## Run it",
            f"```sh\nantiphon train {name} --preset laptop  # the setting of its claims\n"
            f"{own_rows(name, module)}  # your own rows\n"
            f"antiphon show {name}  # every setting\nantiphon claims {name}  # measure the claims again\n```",
            *(["## What it looks like", *pictures] if pictures else []),
            "## Claims",
            *claims,
            *(
                ["## Where it differs from the paper", "\n".join(f"- {_prose(line)}" for line in differs)]
                if differs
                else []
            ),
            "## Settings of the claims",
            f"```yaml\n{module.laptop().to_yaml().strip()}\n```",
        ]
    )


def _prose(text: str) -> str:
    """Text whose `<` is no tag; code, between backticks or indented, is left as it is."""
    lines = text.split("\n")
    told = [line if line.startswith("    ") else _CODE.sub(lambda found: found[1] or "&lt;", line) for line in lines]
    return "\n".join(told)


def own_rows(name: str, module: ModuleType) -> str:
    """The command that trains on a user's own rows: the docstring's, or else one that names the columns alone."""
    told = re.search(rf"^    (antiphon train {name} (?:.*\\\n)*.*)$", str(module.__doc__), re.MULTILINE)
    if told:
        return re.sub(r"\s*\\\n\s*", " ", told[1])
    columns = ",".join(module.laptop().data.columns)
    return f"antiphon train {name} data.source=folder data.options.folder=my/files data.columns=[{columns}]"


def card_section(card: Card) -> str:
    """One measured claim: verdict, interval, a picture of all seeds, and the table of them."""
    arms, floors = arm_names(card), floors_of(card)
    heads = ["seed", arms["better"], arms["worse"], "difference", *floors]
    columns = zip(*card["values"].values(), card["differences"], *floors.values(), strict=True)
    rows = [
        f"| {seed} | {better:.3f} | {worse:.3f} | {difference:+.3f} | {_cells(beside)} |"
        for seed, (better, worse, difference, *beside) in zip(card["seeds"], columns, strict=True)
    ]
    return (
        f"### {card['verdict'].capitalize()}: {_prose(card['claim'])}\n\n"
        f"{card['metric']}: {card['mean']:+.3f}, 95 % interval [{card['low']:+.3f}, {card['high']:+.3f}].\n\n"
        f"{dots(card)}\n\n"
        f"{loss_curves(card)}"
        + "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])
        + f"\n\n{_both(card)}{card['seconds']:.0f} s of runs, commit {card['commit']}, "
        + f"torch {card['versions']['torch']}."
    )


def _cells(values: Sequence[float]) -> str:
    return " | ".join(f"{value:.3f}" for value in values)


def floors_of(card: Card) -> dict[str, list[float]]:
    """The claim's floor and what else stands beside the metric, by name, each seed's."""
    floors: dict[str, list[float]] = card.get("floors", {})
    return floors if card["floor"] in floors.values() else {"floor": card["floor"]} | floors


def loss_curves(card: Card) -> str:
    """The training loss of both arms, folded away; nothing where the runs logged none."""
    found = card.get("curves", {})
    names = arm_names(card)
    points = {names[side]: [(x, y) for x, y in curve] for side, curve in found.items() if curve}
    if not points:
        return ""
    drawn = curves(points, x="training step", y="loss, mean of the seeds")
    said = "Arms with different losses differ in height for that reason alone."
    return f"<details><summary>Training loss of both arms</summary>{drawn}<p>{said}</p></details>\n\n"


def arm_name(arm: Measures | dict[str, Any]) -> str:
    """An arm by what it changes: `weighting=identity, train.steps=100`; "as it stands" where it changes nothing."""
    return ", ".join(f"{key.replace('__', '.')}={value}" for key, value in arm.items()) or "as it stands"


def arm_names(card: Card) -> dict[str, str]:
    """Both arms, `better` and `worse`, by what they do not share."""
    shared = _shared(card)
    return {
        side: arm_name({key: value for key, value in card["arms"][side].items() if key not in shared})
        for side in ("better", "worse")
    }


def _both(card: Card) -> str:
    shared = _shared(card)
    return f"Both arms: {arm_name(shared)}. " if shared else ""


def _shared(card: Card) -> dict[str, Any]:
    better, worse = card["arms"]["better"], card["arms"]["worse"]
    return {key: value for key, value in better.items() if key in worse and worse[key] == value}


def dots(card: Card) -> Markup:
    """Every seed of both arms and of each floor along one axis, pairs joined by a line."""
    sides = [name if len(name) <= 40 else f"{name[:39]}…" for name in (*arm_names(card).values(), *floors_of(card))]
    left, right, row = 24 + 7 * max(20, *map(len, sides)), 20, 26  # 7: of a letter, at a size of 12
    width = left + 390
    values = [card["values"]["better"], card["values"]["worse"], *floors_of(card).values()]
    height = len(values) * row
    marks = ticks(min(min(line) for line in values), max(max(line) for line in values))

    def across(value: float) -> float:
        return round(left + (value - marks[0]) / (marks[-1] - marks[0]) * (width - left - right), 1)

    rule = Markup(
        '<line x1="{0}" x2="{0}" y1="8" y2="{1}" stroke="currentColor" stroke-opacity="0.15"/>'
        '<text x="{0}" y="{2}" text-anchor="middle">{3}</text>'
    )
    drawn = [rule.format(across(tick), height, height + 18, f"{tick:g}") for tick in marks]
    for better, worse in zip(*values[:2], strict=True):
        drawn.append(
            Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="currentColor" stroke-opacity="0.4"/>').format(
                across(better), row - 6, across(worse), 2 * row - 6
            )
        )
    for at, (side, line) in enumerate(zip(sides, values, strict=True), start=1):
        y = at * row - 6
        drawn.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(left - 16, y + 4, side))
        fill = ("#2a78d6", "#eb6834")[at - 1] if at < 3 else "#888888"
        drawn += [
            Markup('<circle cx="{}" cy="{}" r="5" fill="{}" fill-opacity="0.8"><title>{}: {}</title></circle>').format(
                across(value), y, fill, side, f"{value:.4f}"
            )
            for value in line
        ]
    return Markup(
        '<svg viewBox="0 0 {0} {1}" style="max-width:{0}px" font-size="12" fill="currentColor" role="img" '
        'aria-label="{2}: {3}">{4}</svg>'
    ).format(width, height + 26, card["metric"], card["claim"], Markup("").join(drawn))
