"""`antiphon recipes`: every recipe with its paper, signals, claims and verdicts."""

from __future__ import annotations

from pathlib import Path

import typer


def recipes(
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list, for programs."),
    claims: Path = typer.Option(Path("claims"), help="Folder of the measured cards."),
) -> None:
    """List the recipes: method, paper, claim, verdict with its interval.

    Example: antiphon recipes --json
    """
    import json

    from antiphon import recipes as room
    from antiphon.evaluation.claims import read_cards

    listed = []
    for name in room.names():
        module = room.get(name)
        cards = {card["claim"]: card for card in read_cards(claims / f"{name}.json")}
        measured = [
            {"text": claim.text, **_verdict(cards.get(claim.text)), "seeds": claim.seeds} for claim in module.CLAIMS
        ]
        listed.append({"name": name, "paper": module.PAPER.arxiv, "title": module.PAPER.title, "claims": measured})
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "paper", "claim", "verdict", "difference")
    for recipe in listed:
        for claim in recipe["claims"]:
            spread = (
                "" if claim["mean"] is None else f"{claim['mean']:+.3f} [{claim['low']:+.3f}, {claim['high']:+.3f}]"
            )
            table.add_row(recipe["name"], f"arXiv {recipe['paper']}", claim["text"], claim["verdict"], spread)
    Console().print(table)


def _verdict(card: dict[str, float | str] | None) -> dict[str, float | str | None]:
    if card is None:
        return {"verdict": "not measured", "mean": None, "low": None, "high": None}
    return {key: card[key] for key in ("verdict", "mean", "low", "high")}
