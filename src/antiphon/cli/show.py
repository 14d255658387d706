"""`antiphon show RECIPE`: what a recipe is, and its settings."""

from __future__ import annotations

import typer


def show(
    recipe: str = typer.Argument(..., help="A name that `antiphon recipes` lists."),
    preset: str = typer.Option("laptop", help="tiny, laptop or paper."),
) -> None:
    """Show a recipe: its docstring, and a preset's settings as YAML.

    Example: antiphon show clip --preset paper
    """
    from antiphon import recipes
    from antiphon.cli.train import preset_of

    module = recipes.get(recipe)
    typer.echo((module.__doc__ or "").strip())
    typer.echo(f"\nPaper: {module.PAPER.title} (https://arxiv.org/abs/{module.PAPER.arxiv})")
    for claim in module.CLAIMS:
        typer.echo(f"Claim: {claim.text}")
    typer.echo(f"\nSettings of {preset}():\n\n{preset_of(module, preset).to_yaml()}")
