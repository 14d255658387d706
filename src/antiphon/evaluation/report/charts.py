"""Charts as inline SVG, by `Markup.format`, which escapes all that is put in.

Colours come from the page's style by class: `c0` to `c7` for what is told apart by colour, `other` for the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from antiphon.evaluation.report.parts import Curve, Direction, Mark, Panel, Plane

COLOURS = 8
"""How many groups are told apart by colour; more would not be told apart by eye."""
LAYERS = ("recording", "caption", "picture")
"""Kinds of marks on the map, the lowest first."""


@dataclass(frozen=True)
class _Scale:
    """Values to places along one axis, from `start` to `end`."""

    ticks: list[float]
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(self.start + share * (self.end - self.start), 1)


def lines(panel: Panel) -> Markup:
    """Curves over steps, each with its name and last value at its end; values that are not finite are gaps."""
    width, height, left, right, top, bottom = 360, 210, 36, 96, 12, 28
    steps = [step for curve in panel.curves for step in curve.steps]
    values = [value for curve in panel.curves for value in curve.values if math.isfinite(value)]
    across = _Scale(ticks(min(steps), max(steps)), left, width - right)
    up = _Scale(ticks(min([0.0, *values]), max([0.0, *values])), height - bottom, top)
    last = [up(curve.values[-1]) if math.isfinite(curve.values[-1]) else top for curve in panel.curves]
    drawn = [
        _curve(curve, f"c{at % COLOURS}", across, up, end)
        for at, (curve, end) in enumerate(zip(panel.curves, apart(last, 28), strict=True))
    ]
    return Markup('<svg class="lines" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        width, height, f"{panel.title} by training step", _axes(across, up), Markup("").join(drawn)
    )


def _axes(across: _Scale, up: _Scale) -> Markup:
    rules = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" class="end">{}</text>').format(
            across.start, across.end, up(tick), up(tick), across.start - 7, up(tick) + 4, short(tick)
        )
        for tick in up.ticks
    ]
    steps = [
        Markup('<text x="{}" y="{}" class="mid">{}</text>').format(across(tick), up.start + 18, short(tick))
        for tick in across.ticks
    ]
    return Markup("").join(rules + steps)


def _curve(curve: Curve, colour: str, across: _Scale, up: _Scale, end: float) -> Markup:
    places = [
        (across(step), up(value), step, value)
        for step, value in zip(curve.steps, curve.values, strict=True)
        if math.isfinite(value)
    ]
    points = [
        Markup('<circle class="hit {}" cx="{}" cy="{}" r="6"><title>{}, step {}: {}</title></circle>').format(
            colour, x, y, curve.name, step, f"{value:.4g}"
        )
        for x, y, step, value in places
    ]
    label = Markup(
        '<circle class="dot {0}" cx="{1}" cy="{2}" r="4"/><text x="{3}" y="{4}" class="name">{5}</text>'
        '<text x="{3}" y="{6}">{7}</text>'
    ).format(colour, across.end + 12, end - 4, across.end + 21, end, curve.name, end + 13, f"{curve.values[-1]:.3g}")
    path = "M" + "L".join(f"{x} {y}" for x, y, _, _ in places) if places else ""
    return Markup('<path class="line {}" d="{}"/>{}{}').format(colour, path, Markup("").join(points), label)


def bar(direction: Direction) -> Markup:
    """Nested bars, the longest for the largest k, with a tick where chance would end each."""
    ks = sorted(direction.recall)
    shades = {f"r{at}": direction.recall[k] for at, k in reversed(list(enumerate(ks)))}
    return _bar(shades, {f"chance of R@{k}": direction.chance[k] for k in ks if k in direction.chance})


def share(value: float, floors: dict[str, float]) -> Markup:
    """One bar, with named ticks."""
    return _bar({"r1": value}, floors)


def _bar(shades: dict[str, float], floors: dict[str, float]) -> Markup:
    rect = Markup('<rect class="{}" y="3" height="14" width="{}"/>')
    tick = Markup(
        '<line class="halo" x1="{0}" x2="{0}" y1="3" y2="17"/>'
        '<line class="chance" x1="{0}" x2="{0}" y1="0" y2="20"><title>{1}: {2}</title></line>'
    )
    bars = [rect.format(name, percent(value)) for name, value in {"track": 1.0, **shades}.items()]
    marks = [tick.format(percent(floor), name, f"{floor:.3f}") for name, floor in floors.items()]
    return Markup('<svg class="bar" width="100%" height="20" aria-hidden="true">{}</svg>').format(
        Markup("").join(bars + marks)
    )


def groups(plane: Plane) -> list[tuple[str, str, int]]:
    """Groups of the map: name, class of its colour, how many marks; the largest first, colours to the first eight."""
    counts = Counter(mark.group for mark in plane.marks)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return [
        (name, f"c{place}" if place < COLOURS else "other", counts[name]) for place, name in enumerate(ordered)
    ]  # fmt: skip


def plane(plane: Plane) -> Markup:
    """The map: recordings below, captions above, pictures on top; in each layer one `<g>` a group, to show and hide."""
    margin, side = 26, 34
    xs, ys = [mark.x for mark in plane.marks], [mark.y for mark in plane.marks]
    wide, high = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    scale = min(950 / wide, 720 / high)  # one for both axes, so that distances can be compared
    layers = []
    for kind in LAYERS:
        shown = []
        for number, (name, colour, _) in enumerate(groups(plane)):
            marks = [
                _mark(
                    mark,
                    round(margin + (mark.x - min(xs)) * scale, 1),
                    round(margin + (max(ys) - mark.y) * scale, 1),
                    side,
                )
                for mark in plane.marks
                if mark.kind == kind and mark.group == name
            ]
            if marks:
                shown.append(
                    Markup('<g class="{}" data-group="{}">{}</g>').format(colour, number, Markup("").join(marks))
                )
        layers.append(Markup('<g data-kind="{}">{}</g>').format(kind, Markup("").join(shown)))
    width, height = (round(span * scale) + 2 * margin for span in (wide, high))
    return Markup(
        '<svg class="plane" viewBox="0 0 {0} {1}" style="max-width:{0}px" role="img" aria-label="map of the space">{2}'
        "</svg>"
    ).format(width, height, Markup("").join(layers))


def _mark(mark: Mark, x: float, y: float, side: int) -> Markup:
    title = f"{mark.title} ({mark.kind}, {mark.group})" if mark.group else f"{mark.title} ({mark.kind})"
    if mark.kind == "picture" and mark.picture is not None:
        half = side / 2
        shape = Markup(
            '<rect class="tile" x="{0}" y="{1}" width="{2}" height="{2}" rx="6"/>'
            '<image x="{3}" y="{4}" width="{5}" height="{5}" href="{6}"/>'
        ).format(round(x - half, 1), round(y - half, 1), side, round(x - half + 4, 1), round(y - half + 4, 1), side - 8,
                 mark.picture.uri)  # fmt: skip
    elif mark.kind == "picture":
        shape = Markup('<circle class="fill" cx="{}" cy="{}" r="7"/>').format(x, y)
    elif mark.kind == "caption":
        shape = Markup('<rect class="fill" x="{}" y="{}" width="9" height="9"/>').format(
            round(x - 4.5, 1), round(y - 4.5, 1)
        )
    else:
        shape = Markup('<path class="fill faint" d="M{} {}l4.5 8h-9z"/>').format(x, round(y - 5, 1))
    return Markup('<g class="mark"><title>{}</title>{}</g>').format(title, shape)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span `low` to `high`: at least two, about `count`."""
    span = (high - low) or 1.0
    size = 10 ** math.floor(math.log10(span / count))
    step = next(size * times for times in (1, 2, 2.5, 5, 10) if size * times * count >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def apart(places: list[float], gap: float) -> list[float]:
    """The places moved up and down until they stand at least `gap` from each other, in their order."""
    order = sorted(range(len(places)), key=lambda at: places[at])
    moved = list(places)
    for before, at in pairwise(order):
        moved[at] = max(moved[at], moved[before] + gap)
    over = (moved[order[-1]] - places[order[-1]]) / 2 if order else 0.0
    return [round(place - over, 1) for place in moved]


def short(value: float) -> str:
    """A number for an axis."""
    return f"{value:,.6g}"


def percent(value: float) -> str:
    """A share as a length."""
    return f"{100 * value:.2f}%"
