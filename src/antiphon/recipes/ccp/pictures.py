"""What a run of CCP looks like: bars in groups, as SVG that needs no style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from antiphon.evaluation.report.charts import ticks
from antiphon.evaluation.report.figures import COLOURS
from antiphon.runs import Measures, Run

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 260, 56, 150, 24, 30


def draw(run: Run, measures: Measures, pivot: str, languages: Sequence[str]) -> None:
    """Accuracy of each language before and after calibration, beside its floors."""
    series = {"as it is": "none/", "centred": "centre/", "whitened": "whiten/", "n-gram TF-IDF": "tfidf/"}
    for name, said in (("test", "Held-out documents"), ("test/outside", "Sentences of another kind")):
        keys = {label: (f"{name}/{kind}" if kind != "tfidf/" else f"tfidf/{name}/") for label, kind in series.items()}
        codes = [code for code in languages if all(f"{key}accuracy/{code}" in measures for key in keys.values())]
        if codes:
            groups = {code: {label: measures[f"{key}accuracy/{code}"] for label, key in keys.items()} for code in codes}
            caption = f"{said}: translations to and from {pivot} found at rank one, by language and calibration."
            run.picture(name.replace("/", "-"), bars(groups, y="accuracy"), caption)


def bars(groups: Mapping[str, Mapping[str, float]], *, y: str) -> Markup:
    """A group of bars for each name, from zero up, each bar with its value as a title; a legend to the right.

    Args:
        groups: values of zero or more by series, by group; all groups have the same series, at most six.
        y: what the vertical axis shows.

    Raises:
        ValueError: no groups, or groups of unequal series.
    """
    series = list(next(iter(groups.values()))) if groups else []
    if not series or any(list(group) != series for group in groups.values()):
        raise ValueError("bars want one group or more, all with the same series")
    marks = ticks(0.0, max(value for group in groups.values() for value in group.values()))

    def up(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / marks[-1] * (_HEIGHT - _TOP - _BOTTOM)

    step = (_WIDTH - _LEFT - _RIGHT) / len(groups)
    wide = 0.8 * step / len(series)
    drawn = [
        Markup(
            '<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}" stroke="currentColor" stroke-opacity="0.15"/>'
            '<text x="{3}" y="{4:.1f}" text-anchor="end">{5:g}</text>'
        ).format(_LEFT, _WIDTH - _RIGHT, up(mark), _LEFT - 6, up(mark) + 4, mark)
        for mark in marks
    ]
    for at, (name, group) in enumerate(groups.items()):
        start = _LEFT + (at + 0.1) * step
        for place, (label, value) in enumerate(group.items()):
            drawn.append(
                Markup(
                    '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}">'
                    "<title>{}, {}: {:.4g}</title></rect>"
                ).format(
                    start + place * wide, up(value), wide - 1, up(0) - up(value), COLOURS[place], name, label, value
                )
            )
        drawn.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                _LEFT + (at + 0.5) * step, _HEIGHT - 10, name
            )
        )
    for place, label in enumerate(series):
        drawn.append(
            Markup('<text x="{}" y="{}" style="fill:{}">{}</text>').format(
                _WIDTH - _RIGHT + 10, _TOP + 10 + 18 * place, COLOURS[place], label
            )
        )
    return Markup(
        '<svg viewBox="0 0 {0} {1}" style="width:{0}px;max-width:100%" font-size="12" fill="currentColor" role="img" '
        'aria-label="{2} by group"><text x="4" y="12">{2}</text>{3}</svg>'
    ).format(_WIDTH, _HEIGHT, y, Markup("").join(drawn))
