"""The page: a Jinja template, a style and a script of this folder, filled with a report.

A content security policy in the page forbids every load from elsewhere, so that it is the same without a network.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from antiphon.evaluation.report import charts
from antiphon.evaluation.report.parts import Report
from antiphon.runs import write_atomically

_HERE = "antiphon.evaluation.report"


def html(report: Report) -> str:
    """The page as text; the same report gives the same text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"share": "{:.3f}".format, "percent": _percent, "rank": "{:g}".format}
    return environment.from_string(_read("page.html.jinja")).render(
        report=report,
        charts=charts,
        style=Markup(_read("page.css")),
        script=Markup(_read("page.js")),
        kinds={"picture": "pictures", "caption": "captions", "recording": "recordings"},
    )


def write(report: Report, path: str | Path) -> Path:
    """Write the page to a file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(Path(path), html(report))
    return Path(path)


def _read(name: str) -> str:
    return files(_HERE).joinpath(name).read_text(encoding="utf-8")


def _percent(value: float) -> str:
    """Whole percents; one decimal below ten, where chance lives."""
    return f"{100 * value:.1f} %" if 0 < value < 0.0995 else f"{100 * value:.0f} %"
