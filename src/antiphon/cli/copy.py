"""`antiphon copy RECIPE`: a recipe's file, to change and own."""

from __future__ import annotations

from pathlib import Path

import typer

from antiphon.errors import UserError


def copy(
    recipe: str = typer.Argument(..., help="A name that `antiphon recipes` lists."),
    to: Path | None = typer.Argument(None, help="Where to; ./RECIPE.py where left out."),
) -> None:
    """Copy a recipe's file here, to read it and to make it yours.

    Example: antiphon copy clip my_clip.py
    """
    import shutil

    from antiphon import recipes

    source = Path(str(recipes.get(recipe).__file__))
    target = to or Path(f"{recipe}.py")
    if target.exists():
        raise UserError(f"{target} is there already: give another name")
    shutil.copyfile(source, target)
    typer.echo(
        f'{target}: run it with  python -c "import {target.stem} as r; from antiphon import Run; '
        f"c = r.tiny(); print(r.run(c, Run.of('{target.stem}', c)))\""
    )
