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
        f"| {row['row']} | {row['ratio']:.3g} | {row['want']} {row['reach']:.3g} | {_yes(row['reached'])} "
        f"| {_short(row['ours'])} | {_short(row['peer'])} | {row['unit']} | {row['peer_name']} |"
        for row in rows
    ]
    head = f"| row | ratio | wanted | reached | ours | peer | unit | measured against |\n|{'---|' * 8}\n"
    bounds = "\n".join(f"- {row['row']}: {row['bound']}." for row in rows)
    return head + "\n".join(lines) + "\n\nWhat limits ours:\n\n" + bounds


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cards(folder: Path) -> str:
    """A table of every measured claim, from the JSON files of a folder; each recipe's own page has the seeds."""
    found = [card for file in sorted(folder.glob("*.json")) for card in json.loads(file.read_text(encoding="utf-8"))]
    lines = [
        f"| [{card['recipe']}](recipes/{card['recipe']}.md) | {card['claim']} | {card['verdict']} | {card['metric']} "
        f"| {card['mean']:+.3f} [{card['low']:+.3f}, {card['high']:+.3f}] | {len(card['seeds'])} |"
        for card in found
    ]
    head = f"| recipe | claim | verdict | metric | difference, 95 % interval | seeds |\n|{'---|' * 6}\n"
    return head + "\n".join(lines) if lines else "No claim is measured yet."
