"""A report of a trained space: one HTML page that holds all it shows, and opens without a network.

Plain data in (`Report` and its parts), a file out; nothing here knows a learner, a tensor or a data set.
"""

from __future__ import annotations

from antiphon.evaluation.report.page import html, write
from antiphon.evaluation.report.parts import (
    Answer,
    Classes,
    Curve,
    Direction,
    Fact,
    Figure,
    Grid,
    Group,
    Item,
    Mark,
    Media,
    Panel,
    Plane,
    Query,
    Report,
)

__all__ = [
    "Answer",
    "Classes",
    "Curve",
    "Direction",
    "Fact",
    "Figure",
    "Grid",
    "Group",
    "Item",
    "Mark",
    "Media",
    "Panel",
    "Plane",
    "Query",
    "Report",
    "html",
    "write",
]
