"""`antiphon search`: the nearest rows of a space to a text, a recording or a picture."""

from __future__ import annotations

from pathlib import Path

import typer

from antiphon.errors import UserError


def search(
    text: str | None = typer.Argument(None, help="Words to look for."),
    speech: Path | None = typer.Option(None, help="A recording to look for."),
    image: Path | None = typer.Option(None, help="A picture to look for."),
    audio: Path | None = typer.Option(None, help="A sound to look for."),
    space: Path = typer.Option(Path("runs/demo"), help="A run's folder, with space/ and index/ in it."),
    column: str | None = typer.Option(None, help="Answer with this column only: image, text, speech, speech_fr, ..."),
    k: int = typer.Option(10, "--answers", "-k", min=1, help="How many answers."),
    as_json: bool = typer.Option(False, "--json", help="Print the answers as one JSON list."),
) -> None:
    """Search a space by text, recording or picture; the answers come from any column.

    Examples:

    antiphon search "a big cat"

    antiphon search --speech some.ogg --column image
    """
    import json
    from dataclasses import asdict

    from antiphon.encoders.space import Space
    from antiphon.search.index import Index

    given = {
        name: value for name, value in {"text": text, "speech": speech, "image": image, "audio": audio}.items() if value
    }
    if len(given) != 1:
        raise UserError('search takes one query: antiphon search "a big cat", or --speech FILE, or --image FILE')
    ((signal, query),) = given.items()
    index = Index.load(space / "index")
    hits = index.search(Space.load(space / "space", only=[signal]).embed_column(signal, [query])[0], k, column=column)
    if as_json:
        typer.echo(json.dumps([{"score": hit.score, **asdict(hit.entry)} for hit in hits], ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("score", "column", "row", "what")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.entry.column, hit.entry.row, _shown(hit.entry.show))
    Console().print(table)


def _shown(show: str) -> str:
    """A file by its name: the whole path is in --json."""
    return Path(show).name if Path(show).is_absolute() else show
