"""`antiphon recipes`: every recipe with its paper, signals, claims and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def recipes(
    names: list[str] | None = typer.Argument(None, help="Only these."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list, for programs."),
    claims: Path | None = typer.Option(
        None, help="Folder of the measured cards; `claims` here, or those that came with antiphon."
    ),
) -> None:
    """List the recipes: method, paper, signals, and each claim with its verdict and interval.

    Examples: antiphon recipes; antiphon recipes clip cwcl --json
    """
    import json

    from antiphon import recipes as room
    from antiphon.evaluation.claims import measured_here, read_cards

    folder = claims or measured_here()
    listed: list[dict[str, Any]] = []
    for name in names or room.names():
        module = room.get(name)
        cards = {card["claim"]: card for card in read_cards(folder / f"{name}.json")}
        measured = [
            {"text": claim.text, **_verdict(cards.get(claim.text)), "seeds": claim.seeds} for claim in module.CLAIMS
        ]
        paper = module.PAPER
        listed.append(
            {"name": name, "paper": paper.arxiv, "title": paper.title, "signals": paper.signals, "claims": measured}
        )
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    for recipe in listed:
        _print(console, recipe)


def _print(console: Console, recipe: dict[str, Any]) -> None:
    """One recipe: a line of its own, and a table of its claims below."""
    from rich.table import Table
    from rich.text import Text

    signals = ", ".join(recipe["signals"])
    console.print(Text.assemble((recipe["name"], "bold"), f"  {signals}  arXiv {recipe['paper']}  ", recipe["title"]))
    table = Table("verdict", "difference", "claim", box=None, padding=(0, 2, 0, 0), show_header=False)
    for claim in recipe["claims"]:
        spread = "" if claim["mean"] is None else f"{claim['mean']:+.3f} [{claim['low']:+.3f}, {claim['high']:+.3f}]"
        table.add_row(Text(claim["verdict"], _COLOURS[claim["verdict"]]), Text(spread, no_wrap=True), claim["text"])
    console.print(table)
    console.print()


_COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow", "not measured": "dim"}


def _verdict(card: dict[str, float | str] | None) -> dict[str, float | str | None]:
    if card is None:
        return {"verdict": "not measured", "mean": None, "low": None, "high": None}
    return {key: card[key] for key in ("verdict", "mean", "low", "high")}
