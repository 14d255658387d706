"""`antiphon demo`: pictures, words and speech in eight languages in one space, and how well they find each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from antiphon.cli.exhibit import Shown


def demo(
    folder: Path | None = typer.Option(None, help="The unpacked stamps, where the Debian package cannot be fetched."),
    settings: list[str] | None = typer.Argument(None, help="Settings of the clip recipe, as key.sub=value."),
    seed: int = typer.Option(0, help="Every randomness of the run comes from it, the split too."),
    runs: Path = typer.Option(Path("runs"), help="Where the run's folder is made."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line."),
) -> None:
    """Build a space of pictures, captions and spoken captions, test it on captions never trained on, write a report.

    Fetches about 160 MB of pictures and recordings at the first run; their features are kept, so that later runs
    start at once. Example: antiphon demo, then: antiphon search "a big cat"
    """
    import json
    import shutil
    import time

    from antiphon.cli.exhibit import exhibit
    from antiphon.config import parse
    from antiphon.recipes import clip
    from antiphon.runs import Run

    started = time.perf_counter()
    own = [] if folder is None else [("data.options.folder", str(folder))]
    cfg = parse(clip.demo(), [*own, *(settings or [])])
    run_folder = Run.of("clip", cfg, seed=seed, root=runs).folder
    shutil.rmtree(run_folder)  # a demo shows its work: it trains again, from cached features
    run = Run.of("clip", cfg, seed=seed, root=runs)
    trained = clip.train(cfg, run)
    shown = exhibit(trained, run)
    link = _link(runs / "demo", run.folder)
    seconds = {**trained.seconds, "total": time.perf_counter() - started}
    run.finish({f"test/{way}/{name}": value for way, found in shown.retrieval.items() for name, value in found.items()})
    _print_tables(shown)
    typer.echo(f"\nreport: {link / 'report.html'}\nspace:  {link / 'space'}\n")
    typer.echo(f"features {seconds['features']:.1f} s, training {seconds['train']:.1f} s, all {seconds['total']:.1f} s")
    typer.echo('next:   antiphon search "a big cat"')
    if as_json:
        typer.echo(json.dumps({**shown.as_json(), "seconds": seconds, "space": str(link / "space")}))


def _link(link: Path, folder: Path) -> Path:
    """Let `runs/demo` mean this run."""
    if link.is_symlink() or not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        return link
    return folder


def _print_tables(shown: Shown) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("direction", "R@1", "R@5", "R@10", "median rank", "queries", "keys", title="Unseen captions")
    between = [way for way in shown.retrieval if way.startswith("speech") and "->speech" in way]
    ways = sorted(set(shown.retrieval) - set(between), key=_order)
    for before, way in zip([None, *ways], ways, strict=False):
        if before and _order(before)[:2] != _order(way)[:2]:
            table.add_section()
        if shown.retrieval[way]["n"]:
            table.add_row(way, *_cells(shown.retrieval[way]))
    table.add_section()
    if shown.between_languages:
        table.add_row("speech->speech, mean", *_cells(shown.between_languages))
    table.add_row("chance, image->text", *_cells(shown.chance["image->text"]), style="dim")
    console.print(table)
    if between:
        console.print(_grid(between, shown))
    table = Table("zero-shot", "accuracy", "balanced", "chance", "largest folder", "n", title="Into the top folders")
    for column, found in shown.zero_shot.items():
        shares = [f"{found[name]:.3f}" for name in ("accuracy", "balanced_accuracy", "chance", "majority")]
        table.add_row(column, *shares, f"{found['n']:.0f}")
    console.print(table)


def _order(way: str) -> tuple[bool, str, str, str]:
    """Pictures and words first, then speech, one signal to one signal at a time."""
    source, _, target = way.partition("->")
    signals = f"{source.split('_')[0]}->{target.split('_')[0]}"
    return "speech" in way, signals, source, target


def _grid(between: list[str], shown: Shown) -> Table:
    """R@10 from the language of the row to that of the column."""
    from rich.table import Table

    languages = sorted({way.partition("->")[0].removeprefix("speech_") for way in between})
    table = Table("R@10", *(f"->{language}" for language in languages), title="Speech to speech")
    for source in languages:
        cells = [shown.retrieval.get(f"speech_{source}->speech_{target}", {}).get("R@10") for target in languages]
        table.add_row(source, *("" if cell is None else f"{cell:.2f}" for cell in cells))
    return table


def _cells(found: dict[str, Any]) -> list[str]:
    shares = [f"{found[name]:.3f}" for name in ("R@1", "R@5", "R@10")]
    return [
        *shares,
        f"{found['median_rank']:.1f}",
        *(f"{found[name]:.0f}" if name in found else "" for name in ("n", "keys")),
    ]
