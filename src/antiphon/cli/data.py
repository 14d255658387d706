"""`antiphon data`: list, get and check data sources."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(help="List, get and check data sources.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_sources() -> None:
    """List the sources with what they hold and their licences."""
    from importlib import import_module

    from rich.console import Console
    from rich.table import Table

    from antiphon.data import sources

    table = Table("source", "what", "licence")
    for name in sources.names():
        module = import_module(f"antiphon.data.sources.{name}")
        table.add_row(name, module.DESCRIPTION, module.LICENCE)
    Console().print(table)


@app.command()
def get(
    source: str = typer.Argument(..., help="stamps, clipart, prompts or manuals."),
) -> None:
    """Fetch a source into the cache folder (ANTIPHON_CACHE); what is there already is not fetched again.

    Example: antiphon data get stamps
    """
    from antiphon.data import sources

    typer.echo(f"{source}: {len(sources.load(source))} rows, ready")


@app.command()
def check(
    source: str = typer.Argument(..., help="A source that `antiphon data list` shows."),
    options: list[str] | None = typer.Argument(None, help="Its options, as key=value: folder=my/files"),
    limit: int | None = typer.Option(None, help="Look at the first rows only."),
    report: Path | None = typer.Option(None, help="Write the inputs that cannot be used to this JSONL file."),
) -> None:
    """Decode every item of a source and say what cannot be used, and why.

    Example: antiphon data check folder folder=my/files --report bad.jsonl
    """
    import json

    from antiphon.config import Config, parse
    from antiphon.data import sources
    from antiphon.data.checking import decodable
    from antiphon.progress import bar

    class Options(Config):
        options: dict[str, str | int | float | None] = {}

    given = parse(Options(), [f"options.{word}" for word in options or []]).options
    rows = sources.load(source, **given)
    rows = rows if limit is None else rows.select(range(min(limit, len(rows))))
    with bar(f"checking {source}", len(rows)) as advance:
        counts, bad = decodable(rows, progress=advance)
    for column, count in counts.items():
        typer.echo(f"{column:<16} {count} items, {sum(item['column'] == column for item in bad)} cannot be used")
    for item in bad[:20]:
        typer.echo(f"  {item['column']} of {item['row']}: {item['reason']}")
    if report is not None:
        report.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in bad), encoding="utf-8")
    raise typer.Exit(1 if bad else 0)
