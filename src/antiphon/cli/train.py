"""`antiphon train RECIPE key=value ...`: one run of a recipe."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import typer

from antiphon.config import Config
from antiphon.errors import UserError

if TYPE_CHECKING:
    from antiphon.runs import Run


def train(
    recipe: str = typer.Argument(..., help="A name that `antiphon recipes` lists."),
    settings: list[str] | None = typer.Argument(
        None, help="Settings as key.sub=value; `antiphon show RECIPE` lists them."
    ),
    preset: str = typer.Option("laptop", help="Where the settings start from: tiny, laptop or paper."),
    config: list[Path] = typer.Option([], help="A YAML file laid over the preset; may be given more than once."),
    seed: int = typer.Option(0, help="Every randomness of the run comes from it."),
    runs: Path = typer.Option(Path("runs"), help="Where run folders are made."),
    as_json: bool = typer.Option(False, "--json", help="Print the measures as one JSON object."),
) -> None:
    """Train a recipe, going on from its last checkpoint where the run was stopped.

    Example: antiphon train clip data.source=folder data.options.folder=my/files train.steps=2000

    On several processes: accelerate launch -m antiphon train clip
    """
    import json

    from antiphon import recipes
    from antiphon.config import parse
    from antiphon.distributed import rank
    from antiphon.runs import Run

    module = recipes.get(recipe)
    cfg = parse(preset_of(module, preset), settings or [], config)
    run = Run.of(recipe, cfg, seed=seed, root=runs)
    if rank() == 0:
        _tell_where(run)
    measures = run.result or module.run(cfg, run)
    if rank() != 0:
        return
    if as_json:
        typer.echo(json.dumps({"run": str(run.folder), "measures": measures}))
        return
    for name, value in measures.items():
        typer.echo(f"{name:<40} {value:.4g}")
    typer.echo(f"\nrun: {run.folder}")


def _tell_where(run: Run) -> None:
    """Say on standard error that this run has ended before, or goes on."""
    saved = sorted((run.folder / "checkpoints").glob("step-*"))
    if run.result is not None:
        typer.echo(f"{run.folder}: has ended, its measures follow", err=True)
    elif saved:
        typer.echo(f"{run.folder}: going on from {saved[-1].name}", err=True)


def preset_of(module: ModuleType, preset: str) -> Config:
    """A recipe's preset by name.

    Raises:
        UserError: another name than tiny, laptop or paper.
    """
    if preset not in ("tiny", "laptop", "paper"):
        raise UserError(f"no preset {preset!r}: there are tiny, laptop and paper")
    config: Config = getattr(module, preset)()
    return config
