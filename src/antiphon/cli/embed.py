"""`antiphon embed`: vectors of a user's own texts or files, and an index to search them."""

from __future__ import annotations

from pathlib import Path

import typer


def embed(
    inputs: list[Path] = typer.Argument(
        ..., help="Files, folders, text files with a text a line, or manifests (.csv, .tsv, .jsonl, .parquet)."
    ),
    signal: str = typer.Option(..., "--as", help="The branch to use: text, speech, image, audio, video."),
    space: Path = typer.Option(Path("runs/demo/space"), help="A space's folder, or a hub id."),
    out: Path = typer.Option(Path("index"), help="The index folder to write."),
    batch_size: int = typer.Option(0, min=0, help="Most items encoded at once; 0 leaves it to their sizes."),
    precision: str = typer.Option("float32", help="float32, or bfloat16: faster where the processor has it."),
    workers: int = typer.Option(0, min=0, help="Processes that read and decode files ahead of the encoder."),
) -> None:
    """Embed files or lines of text into a space, and write an index that `antiphon search` reads.

    Example: antiphon embed my/pictures --as image --out my/run/index
    """
    from antiphon.cli.items import items_of
    from antiphon.encoders.space import Space
    from antiphon.progress import bar
    from antiphon.search.index import Entry, Index

    items = items_of(inputs, signal)
    loaded = Space.load(space, only=[signal])
    with bar(f"embedding {signal}", len(items)) as advance:
        vectors = loaded.embed_column(
            signal,
            [item.value for item in items],
            batch_size=batch_size or None,
            precision=precision,
            workers=workers,
            progress=advance,
        )
    entries = [Entry(item.row, signal, item.show) for item in items]
    Index(vectors, entries).save(out)
    typer.echo(f"{len(entries)} vectors of width {loaded.width} in {out}")
