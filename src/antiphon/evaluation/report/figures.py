"""Pictures for pages, in SVG that needs no style sheet: curves and histograms of named series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from antiphon.evaluation.report.charts import apart, ticks

COLOURS = ("#2a78d6", "#eb6834", "#2f9e6e", "#9357c9", "#b88a00", "#888888")

_LEFT, _END, _HEIGHT, _TOP, _BOTTOM = 56, 490, 260, 24, 40
"""Where the frame begins and ends from the left; the whole's height, and the frame's room above and below."""
_LETTER, _LONGEST = 6.4, 44
"""Width of a letter of a name, and how many are shown."""


def curves(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Markup:
    """Lines through (x, y) points, each named at its end.

    Args:
        series: points by name, with rising x; up to six are told apart by colour.
        x: what the horizontal axis shows, with its unit.
        y: the same of the vertical one.

    Raises:
        ValueError: a series without a point.
    """
    empty = [name for name, points in series.items() if not points]
    if empty or not series:
        raise ValueError(f"curves of {', '.join(empty) or 'nothing'}: every series needs a point")
    frame = _Frame(
        [px for points in series.values() for px, _ in points], [py for points in series.values() for _, py in points]
    )
    lines = _named_lines(frame, series, [frame.up(points[-1][1]) for points in series.values()])
    return frame.drawn(lines, x, y, list(series))


def _named_lines(
    frame: _Frame, series: Mapping[str, Sequence[tuple[float, float]]], heights: Sequence[float]
) -> Markup:
    """Lines, and their names to the right of the frame, as near to these heights as they find room."""
    ends = apart(list(heights), 15)
    drawn = []
    for at, ((name, points), end) in enumerate(zip(series.items(), ends, strict=True)):
        colour = COLOURS[at % len(COLOURS)]
        path = " ".join(f"{frame.across(px)},{frame.up(py)}" for px, py in points)
        drawn.append(
            Markup(
                '<polyline points="{0}" fill="none" stroke="{1}" stroke-width="2"/>'
                '<text x="{2}" y="{3}" style="fill:{1}">{4}<title>{5}: {6}</title></text>'
            ).format(path, colour, _END + 8, round(end + 4, 1), _shown(name), name, f"{points[-1][1]:.4g}")
        )
    return Markup("").join(drawn)


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def histogram(series: Mapping[str, Sequence[float]], *, x: str, bins: int = 30) -> Markup:
    """Shares of each series in equal bins of one axis, drawn as steps on top of each other.

    Args:
        series: values by name; up to six are told apart by colour.
        x: what the values are, with their unit.
        bins: how many.

    Raises:
        ValueError: a series without a value.
    """
    empty = [name for name, values in series.items() if len(values) == 0]
    if empty or not series:
        raise ValueError(f"histogram of {', '.join(empty) or 'nothing'}: every series needs a value")
    pooled = [value for values in series.values() for value in values]
    low, high = min(pooled), max(pooled)
    size = (high - low) / bins or 1.0
    stairs: dict[str, list[tuple[float, float]]] = {}
    for name, values in series.items():
        counts = [0] * bins
        for value in values:
            counts[min(int((value - low) / size), bins - 1)] += 1
        shares = [count / len(values) for count in counts]
        steps = [
            (low + (at + side) * size, share) for at, share in enumerate(shares) for side in (0, 1)
        ]  # fmt: skip
        stairs[name] = [(low, 0.0), *steps, (low + bins * size, 0.0)]
    points = [point for stair in stairs.values() for point in stair]
    frame = _Frame([px for px, _ in points], [py for _, py in points])
    return frame.drawn(_named_lines(frame, stairs, [float(_TOP)] * len(stairs)), x, "share", list(series))


class _Frame:
    """Axes that hold these points, zero not forced in."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.xs, self.ys = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))

    def across(self, value: float) -> float:
        share = (value - self.xs[0]) / (self.xs[-1] - self.xs[0])
        return round(_LEFT + share * (_END - _LEFT), 1)

    def up(self, value: float) -> float:
        share = (value - self.ys[0]) / (self.ys[-1] - self.ys[0])
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def drawn(self, inside: Markup, x: str, y: str, names: Sequence[str]) -> Markup:
        rules = [
            Markup(
                '<line x1="{0}" x2="{1}" y1="{2}" y2="{2}" stroke="currentColor" stroke-opacity="0.15"/>'
                '<text x="{3}" y="{4}" text-anchor="end">{5}</text>'
            ).format(_LEFT, _END, self.up(tick), _LEFT - 6, self.up(tick) + 4, f"{tick:g}")
            for tick in self.ys
        ]
        feet = [
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                self.across(tick), _HEIGHT - _BOTTOM + 16, f"{tick:g}"
            )
            for tick in self.xs
        ]
        axes = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text><text x="{}" y="12">{}</text>').format(
            (_LEFT + _END) // 2, _HEIGHT - 6, x, 4, y
        )
        width = _END + 8 + round(_LETTER * max(len(_shown(name)) for name in names)) + 4
        return Markup(
            '<svg viewBox="0 0 {0} {1}" style="width:{0}px;max-width:100%" font-size="12" fill="currentColor" '
            'role="img" aria-label="{2} by {3}">{4}{5}{6}{7}</svg>'
        ).format(width, _HEIGHT, y, x, Markup("").join(rules), Markup("").join(feet), axes, inside)
