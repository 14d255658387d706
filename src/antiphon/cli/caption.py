"""`antiphon caption`: what a trained captioner says of a user's own recordings."""

from __future__ import annotations

from pathlib import Path

import typer

from antiphon.errors import UserError


def caption(
    inputs: list[Path] = typer.Argument(..., help="Files or folders."),
    run: Path = typer.Option(..., help="A run of audio_captioning, with space/ and captioner/ in it."),
    method: str = typer.Option("greedy", help="greedy, beam, nucleus, typical or contrastive."),
    tokens: int = typer.Option(20, min=1, help="Most tokens of a caption."),
    seed: int = typer.Option(0, help="Of nucleus and typical sampling."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list of {file, caption}."),
) -> None:
    """Caption recordings with a captioner that `antiphon train audio_captioning` made.

    Example: antiphon caption my/sounds --run runs/audio_captioning-1a2b3c4d-seed0 --method beam
    """
    import json

    import torch

    from antiphon.cli.items import files_of
    from antiphon.config import parse
    from antiphon.encoders.space import Space
    from antiphon.generation.caption import Captioner
    from antiphon.generation.decoding import Decoding

    decoding = parse(Decoding(), [("method", method), ("max_tokens", str(tokens))])
    if not (run / "captioner").is_dir():
        raise UserError(f"{run}/captioner holds no captioner: give the folder of a run of audio_captioning")
    space = Space.load(run / "space")
    signal = next(name for name in space.branches if name != "text")
    files = [file for path in inputs for file in files_of(path, signal)]
    if not files:
        raise UserError(f"no recordings in {', '.join(map(str, inputs))}: look at the endings")
    vectors = space.embed_column(signal, files)
    captioner = Captioner.load(run / "captioner")
    said = captioner.captions(vectors, decoding, generator=torch.Generator().manual_seed(seed))
    found = [{"file": str(file), "caption": one} for file, one in zip(files, said, strict=True)]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "caption")
    for one in found:
        table.add_row(Path(one["file"]).name, one["caption"])
    Console().print(table)
