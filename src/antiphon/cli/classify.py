"""`antiphon classify`: the classes of a user's own texts or files, by their names or by a few examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from antiphon.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from antiphon.cli.items import Item
    from antiphon.encoders.space import Space


def classify(
    inputs: list[Path] = typer.Argument(
        ..., help="Files, folders, text files with a text a line, or manifests (.csv, .tsv, .jsonl, .parquet)."
    ),
    signal: str = typer.Option(..., "--as", help="The branch to use: text, speech, image, audio, video."),
    names: list[str] = typer.Option([], "--class", help="A class by its name; once for each class."),
    classes: Path | None = typer.Option(None, help="A file of classes' names, one a line, in the place of --class."),
    examples: Path | None = typer.Option(
        None, help="A manifest of items whose classes are known: a class is the mean of its examples, not its name."
    ),
    label: str = typer.Option(
        "class", help="The manifests' column of classes: of --examples; inputs that have it are scored too."
    ),
    template: list[str] = typer.Option(["{}"], help='Words around a name, as "a photo of {}"; of several the mean.'),
    space: Path = typer.Option(Path("runs/demo/space"), help="A space's folder, or a hub id."),
    k: int = typer.Option(1, "--answers", "-k", min=1, help="How many classes for each item, best first."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object: the answers, and the scores if any."),
) -> None:
    """Classify files or lines of text without training: by the names of classes, or by a few examples of each.

    Examples:

    antiphon classify my/pictures --as image --class cat --class dog --template "a picture of a {}"

    antiphon classify asked.csv --as text --examples known.csv --label intent --space my/run/space
    """
    import json

    from antiphon.cli.items import items_of
    from antiphon.encoders.space import Space

    if bool(names) + bool(classes) + bool(examples) != 1:
        raise UserError("classify wants classes in one way: --class NAME ..., or --classes FILE, or --examples FILE")
    items = items_of(inputs, signal, label=label)
    loaded = Space.load(space, only=[signal] if examples else sorted({signal, "text"}))
    if examples is None:
        known = _names(names, classes)
        of_classes = _of_names(loaded, known, template)
    else:
        known, of_classes = _of_examples(loaded, signal, examples, label)
    vectors = _embedded(loaded, signal, items)
    answers = _answers(items, known, vectors @ of_classes.T, k)
    measures = _measures(items, known, vectors, of_classes, label)
    if as_json:
        typer.echo(json.dumps({"answers": answers, "measures": measures}, ensure_ascii=False))
        return
    _show(answers, measures)


def _names(names: list[str], file: Path | None) -> list[str]:
    from antiphon.cli.items import lines_of

    found = [line.strip() for line in lines_of(file) if line.strip()] if file else names
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice or not found:
        raise UserError(f"the class {twice[0]!r} is given twice" if twice else f"{file}: no names of classes there")
    return found


def _of_names(space: Space, names: list[str], templates: list[str]) -> Tensor:
    from antiphon.evaluation.zeroshot import class_vectors

    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong:
        raise UserError(f"--template {wrong[0]!r} wants exactly one {{}}, where the class's name goes")
    return class_vectors(lambda prompts: space.embed(text=prompts), names, templates)


def _of_examples(space: Space, signal: str, examples: Path, label: str) -> tuple[list[str], Tensor]:
    import torch
    from torch.nn.functional import normalize

    from antiphon.cli.items import items_of
    from antiphon.evaluation.clustering import cluster_means

    known = [item for item in items_of([examples], signal, label=label) if item.label is not None]
    if not known:
        raise UserError(f"{examples}: no row has a class in a column {label!r}: say which with --label COLUMN")
    names = sorted({str(item.label) for item in known})
    numbers = torch.tensor([names.index(str(item.label)) for item in known])
    means, _ = cluster_means(_embedded(space, signal, known), numbers, len(names))
    return names, normalize(means, dim=1)


def _embedded(space: Space, signal: str, items: list[Item]) -> Tensor:
    from antiphon.progress import bar

    with bar(f"embedding {signal}", len(items)) as advance:
        return space.embed_column(signal, [item.value for item in items], progress=advance)


def _answers(items: list[Item], known: list[str], scores: Tensor, k: int) -> list[dict[str, Any]]:
    best = scores.topk(min(k, len(known)))
    found = []
    for item, places, cosines in zip(items, best.indices.tolist(), best.values.tolist(), strict=True):
        classes = [{"class": known[at], "score": score} for at, score in zip(places, cosines, strict=True)]
        found.append({"row": item.row, "show": item.show, "classes": classes, "label": item.label})
    return found


def _measures(
    items: list[Item], known: list[str], vectors: Tensor, of_classes: Tensor, label: str
) -> dict[str, float] | None:
    """Accuracies on the items whose class is known; None where none is."""
    import torch

    from antiphon.evaluation.zeroshot import zero_shot

    asked = [at for at, item in enumerate(items) if item.label is not None]
    strangers = sorted({str(items[at].label) for at in asked} - set(known))
    if strangers:
        raise UserError(f"inputs are {strangers[0]!r} by their column {label!r}, which is none of the classes")
    if not asked:
        return None
    numbers = torch.tensor([known.index(str(items[at].label)) for at in asked])
    return zero_shot(vectors[asked], of_classes, numbers).as_dict()


def _show(answers: list[dict[str, Any]], measures: dict[str, float] | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("row", "what", "class", "score", *(["label"] if measures else []))
    for answer in answers:
        best = answer["classes"]
        table.add_row(
            answer["row"],
            Path(answer["show"]).name if Path(answer["show"]).is_absolute() else answer["show"],
            "\n".join(one["class"] for one in best),
            "\n".join(f"{one['score']:.3f}" for one in best),
            *([answer["label"] or ""] if measures else []),
        )
    Console().print(table)
    if measures:
        typer.echo(
            f"accuracy {measures['accuracy']:.3f} of {measures['n']:.0f}, "
            f"over classes {measures['balanced_accuracy']:.3f} "
            f"(chance {measures['chance']:.3f}, the most frequent class {measures['majority']:.3f})"
        )
