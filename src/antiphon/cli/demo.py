"""`antiphon demo`: pictures, words and speech in eight languages in one space, and how well they find each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
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
    table = Table(
        "direction", "R@1", "R@5", "R@10", "median rank", "queries", "keys", title="Captions never trained on"
    )
    for way, found in shown.retrieval.items():
        if found["n"] and not (way.startswith("speech") and "->speech" in way):
            table.add_row(way, *_cells(found))
    if shown.between_languages:  # one line for 56 directions: each is in the report
        table.add_row("speech->speech (mean)", *_cells(shown.between_languages))
    table.add_row("chance, image->text", *_cells(shown.chance["image->text"]), style="dim")
    console.print(table)
    table = Table("zero-shot, into folders", "accuracy", "balanced", "chance", "largest folder", "n")
    for column, found in shown.zero_shot.items():
        shares = [f"{found[name]:.3f}" for name in ("accuracy", "balanced_accuracy", "chance", "majority")]
        table.add_row(column, *shares, f"{found['n']:.0f}")
    console.print(table)


def _cells(found: dict[str, Any]) -> list[str]:
    shares = [f"{found[name]:.3f}" for name in ("R@1", "R@5", "R@10")]
    return [
        *shares,
        f"{found['median_rank']:.1f}",
        *(f"{found[name]:.0f}" if name in found else "" for name in ("n", "keys")),
    ]
