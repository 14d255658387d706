"""`antiphon eval`: a space on tasks of MTEB, the field's benchmark of embeddings."""

from __future__ import annotations

from pathlib import Path

import typer

from antiphon.errors import UserError


def evaluate(
    space: str = typer.Argument(
        ..., help="A space's folder, or a hub id; of a text encoder, with --encoder, its name."
    ),
    mteb: list[str] = typer.Option(
        [], help="A task, as mteb calls it: STS13, 'Tatoeba(deu-eng)', ...; may be repeated."
    ),
    mock: bool = typer.Option(False, help="Run mteb's mock tasks: does the space fit the protocol?"),
    encoder: bool = typer.Option(False, help="Measure a text encoder as it is, without a space: all-MiniLM-L6-v2."),
    as_json: bool = typer.Option(False, "--json", help="Print the results as one JSON object, task to score."),
) -> None:
    """Measure a space on tasks of MTEB (pip install 'antiphon[mteb]'); scores are the tasks' main ones, times 100.

    Rows come from the hub, or from ANTIPHON_DATA where it holds the task's set.

    Example: antiphon eval runs/demo/space --mteb STS13 --mteb 'Tatoeba(deu-eng)'
    """
    if not mteb and not mock:
        raise UserError("eval wants a task: antiphon eval runs/demo/space --mteb STS13, or --mock")
    import json

    from antiphon.encoders.space import Space
    from antiphon.evaluation.mteb import MtebModel, bare_space, mock_scores, scores

    opened = bare_space(space) if encoder else Space.load(space)
    model = MtebModel(opened, f"antiphon/{Path(space).name}")
    found = (mock_scores(model) if mock else {}) | scores(model, mteb)
    if as_json:
        typer.echo(json.dumps(found))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "score")
    for name, score in found.items():
        table.add_row(name, f"{score:.2f}")
    Console().print(table)
