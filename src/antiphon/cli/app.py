"""The command `antiphon`: each sub-command is a small file beside this one, and imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TextIO

import typer

from antiphon.cli import (
    caption,
    claims,
    classify,
    copy,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    generate,
    new,
    recipes,
    search,
    show,
    train,
)
from antiphon.errors import Stopped, UserError

app = typer.Typer(
    name="antiphon",
    help="Train encoders of speech, sound, text and images into one shared space, and use that space.",
    epilog="Start with: antiphon demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo.demo)
app.command()(search.search)
app.command()(embed.embed)
app.command()(classify.classify)
app.command()(caption.caption)
app.command()(generate.generate)
app.command()(recipes.recipes)
app.command()(show.show)
app.command()(train.train)
app.command()(claims.claims)
app.command("eval")(evaluate.evaluate)
app.add_typer(data.app, name="data")
app.command()(doctor.doctor)
app.add_typer(new.app, name="new")
app.command()(copy.copy)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Show the version and leave.", is_eager=True),
) -> None:
    if version:
        from antiphon import __version__

        typer.echo(f"antiphon {__version__}")
        raise typer.Exit


def main() -> None:
    """Run a command; a user's mistake ends in one line on standard error and exit code 1, not in a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the commands show bars of their own
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # else it reports on every tower that a space holds
    warn_in_one_line()
    try:
        app()
    except Stopped as stopped:
        _leave(str(stopped), 130)
    except (UserError, OSError, ModuleNotFoundError) as error:  # OSError: files, disks, hubs, in the system's words
        _leave(str(error), 1)


def warn_in_one_line() -> None:
    """Show warnings without the place in the code that they come from."""
    warnings.showwarning = _warn


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours in one line; those of libraries, about their own future, are for developers and not shown."""
    if category.__module__.startswith("antiphon") or category is UserWarning:
        sys.stderr.write(f"antiphon: {message}\n")


def _leave(message: str, code: int) -> None:
    sys.stderr.write(f"antiphon: {message}\n")
    raise SystemExit(code)
