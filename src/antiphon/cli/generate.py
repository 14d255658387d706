"""`antiphon generate`: what a language model makes of the beginning of a text."""

from __future__ import annotations

from pathlib import Path

import typer

from antiphon.errors import UserError


def generate(
    model: str = typer.Argument(
        ..., help="A language model: a folder (of a run, too), a hub id, or smollm2-135m-instruct from its wheel."
    ),
    texts: list[str] = typer.Argument(..., help="Beginnings of texts."),
    method: str = typer.Option("contrastive", help="greedy, nucleus, typical, beam, contrastive or diverse."),
    tokens: int = typer.Option(64, help="New tokens, at most."),
    candidates: int = typer.Option(5, help="contrastive, diverse: of so many likeliest tokens one is taken."),
    penalty: float = typer.Option(
        0.6, help="contrastive, diverse: how far a token must be unlike earlier ones, 0 to 1."
    ),
    mass: float = typer.Option(0.95, help="nucleus, typical, diverse: share of the likelihood that is drawn from."),
    temperature: float = typer.Option(1.0, help="nucleus, typical, diverse: lower is more cautious."),
    beams: int = typer.Option(4, help="beam: how many."),
    stop: list[str] = typer.Option([], help="End before this string; may be repeated."),
    seed: int = typer.Option(0, help="Of what is drawn."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list of texts with their continuations."),
) -> None:
    """Continue texts by a language model; contrastive search is neither as repetitive as greedy nor left to chance.

    Examples:

    antiphon generate smollm2-135m-instruct "The river had risen" --tokens 80

    antiphon generate runs/contrastive_search-1f0c9a2e-seed0 "The river" --method nucleus --seed 3 --json
    """
    import json
    import warnings

    import torch

    from antiphon.evaluation.isotropy import AnisotropyWarning, anisotropy, isotropy_of_texts
    from antiphon.generation.decoding import Decoding, continued_texts

    cfg = Decoding().but(
        method=method, max_tokens=tokens, candidates=candidates, penalty=penalty, mass=mass, temperature=temperature,
        beams=beams,
    )  # fmt: skip
    opened, tokenizer = _open(model)
    found = continued_texts(opened, tokenizer, texts, cfg, stop=stop, generator=torch.Generator().manual_seed(seed))
    if method in ("contrastive", "diverse"):
        whole = [text + said for text, said in zip(texts, found, strict=True)]
        said = anisotropy(isotropy_of_texts(opened, tokenizer, whole)[-1]) if any(found) else None
        if said is not None:
            warnings.warn(said, AnisotropyWarning, stacklevel=2)
    if as_json:
        rows = [{"text": text, "continuation": said} for text, said in zip(texts, found, strict=True)]
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for text, said in zip(texts, found, strict=True):
        typer.echo(text + said)


def _open(name: str) -> tuple[object, object]:
    """A model by name, of the `model` folder where a run's own is given."""
    from transformers.utils.logging import disable_progress_bar

    from antiphon.generation.models import open_language_model

    disable_progress_bar()
    kept = Path(name) / "model"
    try:
        return open_language_model(kept if kept.is_dir() else name)
    except (OSError, ValueError) as error:  # ValueError: a folder with a config of something else
        if isinstance(error, UserError):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{name}: no language model could be opened there ({first})") from None
