"""`antiphon embed`: vectors of a user's own texts or files, and an index to search them."""

from __future__ import annotations

from pathlib import Path

import typer

from antiphon.errors import UserError

ENDINGS = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".bmp"),
    "speech": (".wav", ".flac", ".ogg", ".mp3", ".opus"),
    "video": (".mp4", ".mkv", ".avi", ".mov", ".webm"),
}


def embed(
    inputs: list[Path] = typer.Argument(..., help="Files, folders, or .txt files with one text a line."),
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
    from antiphon.encoders.space import Space
    from antiphon.progress import bar
    from antiphon.search.index import Entry, Index

    items = [item for path in inputs for item in _items(path, signal)]
    if not items:
        raise UserError(
            f"nothing to embed as {signal} in {', '.join(map(str, inputs))}: look at --as and at the endings"
        )
    loaded = Space.load(space, only=[signal])
    with bar(f"embedding {signal}", len(items)) as advance:
        vectors = loaded.embed_column(
            signal,
            [item for _, item in items],
            batch_size=batch_size or None,
            precision=precision,
            workers=workers,
            progress=advance,
        )
    entries = [Entry(row, signal, str(item)) for row, item in items]
    Index(vectors, entries).save(out)
    typer.echo(f"{len(entries)} vectors of width {loaded.width} in {out}")


def _items(path: Path, signal: str) -> list[tuple[str, str | Path]]:
    """Row names and items: the lines of a text file, a file, or the files of a folder, sorted."""
    if signal == "text":
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        lines = [(file, number, line) for file in files for number, line in enumerate(_lines(file), start=1)]
        return [(f"{file.name}:{number}", line) for file, number, line in lines if line.strip()]
    return [(file.stem, file) for file in files_of(path, signal)]


def files_of(path: Path, signal: str) -> list[Path]:
    """A file, or those files of a folder, sorted, whose endings fit the signal.

    Raises:
        UserError: nothing there.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    endings = ENDINGS.get("speech" if signal == "audio" else signal, ())
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in endings) if path.is_dir() else [path]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: not UTF-8 text (byte {error.start}): save it as UTF-8, or choose another --as"
        ) from None
