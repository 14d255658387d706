"""Pictures for pages: every point is where its value says, every name is escaped."""

import re

import pytest

from antiphon.evaluation.report.figures import curves, histogram


def test_a_curve_goes_through_its_points_and_names_are_escaped():
    drawn = str(curves({"a <b>": [(0.0, 0.0), (10.0, 1.0)], "c": [(0.0, 1.0), (10.0, 0.0)]}, x="step", y="loss"))
    rising, falling = (
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'points="([^"]*)"', drawn)
    )
    assert rising[0][1] > rising[1][1]  # up the page is a smaller y
    assert falling == [(rising[0][0], rising[1][1]), (rising[1][0], rising[0][1])]
    assert "a &lt;b&gt;: 1</title>" in drawn


def test_bins_hold_shares():
    drawn = str(histogram({"a": [0.0, 0.0, 0.0, 1.0]}, x="value", bins=2))
    heights = [float(point.split(",")[1]) for point in re.findall(r'points="([^"]*)"', drawn)[0].split()]
    base, first, second = heights[0], heights[1], heights[3]
    assert (base - first) / (base - second) == pytest.approx(3.0, abs=0.01)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="curves of a: every series needs a point"):
        curves({"a": []}, x="x", y="y")
    with pytest.raises(ValueError, match="histogram of nothing"):
        histogram({}, x="x")


def test_long_names_are_shown_whole_and_have_room():
    name = "all-MiniLM-L6-v2 (reference)"
    drawn = curves({name: [(0, 0), (1, 1)], "a": [(0, 1), (1, 2)]}, x="x", y="y")
    assert f">{name}<title>" in drawn
    short = curves({"a": [(0, 0), (1, 1)]}, x="x", y="y")
    widths = [int(re.search(r'viewBox="0 0 (\d+)', each)[1]) for each in (drawn, short)]
    assert widths[0] > widths[1] + 6 * (len(name) - 1)
    assert f">{'b' * 43}…<title>" in curves({"b" * 50: [(0, 0), (1, 1)]}, x="x", y="y")
