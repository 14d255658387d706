"""A mkdocs hook: puts what was measured into pages, so that no number is typed.

`<!-- cards -->` becomes the cards of `claims/*.json`, `<!-- benchmarks -->` the table of `benchmarks/results.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLAIMS = Path(__file__).parents[1] / "claims"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results.json"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls for each page."""
    return markdown.replace("<!-- cards -->", cards(CLAIMS)).replace("<!-- benchmarks -->", benchmarks(RESULTS))


def benchmarks(results: Path) -> str:
    """A table of the rows that `make bench` measured, and below it what limits each."""
    if not results.is_file():
        return "Nothing is measured yet: `make bench` does it."
    rows = json.loads(results.read_text(encoding="utf-8"))
    lines = [
        f"| {row['row']} | {row['ours']:.3g} | {row['peer']:.3g} | {row['unit']} | {row['peer_name']} "
        f"| {row['ratio']:.3g} | {row['want']} {row['reach']:.3g} | {'yes' if row['reached'] else '**no**'} |"
        for row in rows
    ]
    head = f"| row | ours | peer | unit | measured against | ratio | wanted | reached |\n|{'---|' * 8}\n"
    bounds = "\n".join(f"- {row['row']}: {row['bound']}." for row in rows)
    return head + "\n".join(lines) + "\n\nWhat limits ours:\n\n" + bounds


def cards(folder: Path) -> str:
    """One section for each card, from the JSON files of a folder."""
    found = [card for file in sorted(folder.glob("*.json")) for card in json.loads(file.read_text(encoding="utf-8"))]
    return "\n\n".join(_section(card) for card in found) or "No claim is measured yet."


def _section(card: dict[str, Any]) -> str:
    rows = [
        f"| {seed} | {better:.3f} | {worse:.3f} | {floor:.3f} | {difference:+.3f} |"
        for seed, better, worse, floor, difference in zip(
            card["seeds"], *card["values"].values(), card["floor"], card["differences"], strict=True
        )
    ]
    arms = {side: ", ".join(f"{key}={value}" for key, value in arm.items()) for side, arm in card["arms"].items()}
    differs = "".join(f"\n- differs from the paper: {line}" for line in card["differs"])
    return (
        f"### {card['recipe']}: {card['verdict']}\n\n{card['claim']}\n\n"
        f"{card['metric']}: {card['mean']:+.3f}, 95 % interval [{card['low']:+.3f}, {card['high']:+.3f}] "
        f"([{card['paper']['title']}](https://arxiv.org/abs/{card['paper']['arxiv']})).\n\n"
        f"| seed | {arms['better']} | {arms['worse']} | chance | difference |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nMeasured in {card['seconds']:.0f} s of runs, commit {card['commit']}, "
        + f"torch {card['versions']['torch']}.{differs}"
    )
