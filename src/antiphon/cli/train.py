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
    preset: str | None = typer.Option(None, help="Where the settings start from: tiny, laptop (the default) or paper."),
    config: list[Path] = typer.Option([], help="A YAML file laid over the preset; may be given more than once."),
    seed: int | None = typer.Option(None, help="Every randomness of the run comes from it; 0 if not given."),
    runs: Path = typer.Option(Path("runs"), help="Where run folders are made."),
    folder: Path | None = typer.Option(
        None, "--run", help="The run's own folder; where it holds a run, settings and seed start from that one's."
    ),
    changed: bool = typer.Option(False, "--changed", help="With --run: go on there under a config that differs."),
    as_json: bool = typer.Option(False, "--json", help="Print the measures as one JSON object."),
) -> None:
    """Train a recipe, going on from its last checkpoint where the run was stopped.

    Example: antiphon train clip data.source=folder data.options.folder=my/files train.steps=2000

    A run that has ended, for more steps: antiphon train clip --run runs/clip-1f0c9a2e-seed0 --changed train.steps=4000

    On several processes: torchrun --nproc-per-node 2 -m antiphon train clip
    """
    import json

    from antiphon import recipes
    from antiphon.config import parse
    from antiphon.distributed import rank
    from antiphon.runs import Run

    module = recipes.get(recipe)
    if folder is None and changed:
        raise UserError("--changed goes with --run FOLDER: other settings have a folder of their own")
    if folder is None:
        cfg = parse(preset_of(module, preset or "laptop"), settings or [], config)
        run = Run.of(recipe, cfg, seed=seed or 0, root=runs)
    else:
        start, files, kept_seed = _kept(module, folder, preset)
        cfg = parse(start, settings or [], [*files, *config])
        run = Run(folder, cfg, recipe=recipe, seed=kept_seed if seed is None else seed, changed=changed)
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


def _kept(module: ModuleType, folder: Path, preset: str | None) -> tuple[Config, list[Path], int]:
    """Where the settings of the run in a folder start from, the files over that, and its seed."""
    import json

    if not (folder / "run.json").exists():
        return preset_of(module, preset or "laptop"), [], 0
    seed = int(json.loads((folder / "run.json").read_text(encoding="utf-8"))["seed"])
    if preset is not None:
        return preset_of(module, preset), [], seed
    return module.Config(), [folder / "config.yaml"], seed


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
