"""The learning rate by step, against closed forms."""

import math

import pytest

from antiphon.training.schedule import rate_at


def _rates(**changes):
    settings = {"steps": 101, "peak": 2.0, "warmup": 0, "shape": "cosine", "floor": 0.0} | changes
    return [rate_at(step, **settings) for step in range(settings["steps"])]


def test_cosine():
    rates = _rates()
    assert rates[0] == 2.0
    assert rates[50] == pytest.approx(1.0)
    assert rates[25] == pytest.approx(1 + math.sqrt(0.5))
    assert rates[100] == pytest.approx(0.0)


def test_linear_and_constant():
    assert _rates(shape="linear")[75] == pytest.approx(0.5)
    assert set(_rates(shape="constant")) == {2.0}


def test_warmup_rises_to_the_peak_once():
    rates = _rates(warmup=10)
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10] == 2.0
    assert max(rates) == 2.0


def test_the_floor_is_a_share_of_the_peak():
    assert _rates(floor=0.1)[-1] == pytest.approx(0.2)


def test_one_step():
    assert rate_at(0, steps=1, peak=3.0) == 3.0
