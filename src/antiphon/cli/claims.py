"""`antiphon claims RECIPE`: measure a recipe's claims, both arms on the same seeds."""

from __future__ import annotations

from pathlib import Path

import typer


def claims(
    recipe: str = typer.Argument(..., help="A name that `antiphon recipes` lists."),
    seeds: int | None = typer.Option(None, help="How many seeds, from 0; each claim's own number where left out."),
    runs: Path = typer.Option(Path("runs"), help="Run folders; finished runs are taken as they are."),
    out: Path = typer.Option(
        Path("claims"), help="Where the cards go, as <recipe>.json, and the pictures, as pictures/<recipe>/*.html."
    ),
    missing: bool = typer.Option(
        False, "--missing", help="Only claims that have no card yet of the same arms, metric and settings."
    ),
    jobs: int | None = typer.Option(
        None,
        min=1,
        help="How many runs at a time, each on one thread; 1: one after another, on all threads. "
        "[default: one for each core, at most four; 1 with a GPU]",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the cards as one JSON list."),
) -> None:
    """Run every arm on every seed, judge each claim by its interval, write the cards and the pictures of a run.

    Examples: antiphon claims clip --seeds 5; antiphon claims x_clip --missing --jobs 2
    """
    import json
    from dataclasses import asdict

    from antiphon import recipes
    from antiphon.cli.repeating import run_all, runs_of, usual_jobs
    from antiphon.evaluation.claims import measure, shown_runs, standing, write_cards, write_pictures

    module = recipes.get(recipe)
    path = out / f"{recipe}.json"
    kept = [standing(module, claim, path) if missing else None for claim in module.CLAIMS]
    open_claims = [claim for claim, card in zip(module.CLAIMS, kept, strict=True) if card is None]
    run_all(
        runs_of(module, recipe, open_claims, seeds=seeds, root=runs),
        jobs=jobs or usual_jobs(),
        say=lambda line: typer.echo(line, err=True),
    )
    cards = [
        card or measure(module, recipe, claim, seeds=seeds, runs=runs)
        for claim, card in zip(module.CLAIMS, kept, strict=True)
    ]
    write_cards(path, cards)
    shown = shown_runs(module, recipe, runs)
    repeated = [run for run in shown if run.result]
    pictures = {name: figure for run in reversed(repeated) for name, figure in run.pictures().items()}
    # those of a run that was not repeated stay
    write_pictures(out / "pictures" / recipe, pictures, keep=len(repeated) < len(shown))
    if as_json:
        typer.echo(json.dumps([asdict(card) for card in cards]))
        return
    for card in cards:
        typer.echo(f"{card.verdict}: {card.claim}")
        typer.echo(f"  {card.metric}: {card.mean:+.4f} [{card.low:+.4f}, {card.high:+.4f}], floor {card.floor[0]:.4f}")
        for name, beside in card.floors.items():
            typer.echo(f"  {name}: {', '.join(f'{value:.4f}' for value in beside)}")
        for side, values in card.values.items():
            typer.echo(f"  {side} {card.arms[side]}: {', '.join(f'{value:.4f}' for value in values)}")
