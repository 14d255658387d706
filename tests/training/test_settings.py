"""`Train`: values that cannot be are refused by name."""

import pytest

from antiphon.config import ConfigError
from antiphon.training.settings import Train


@pytest.mark.parametrize("words", [{"ema": 1.0}, {"ema": 0.0}, {"worker_timeout": -1}, {"score_every": 0}, {"lr": 0}])
def test_refused(words):
    (name,) = words
    with pytest.raises(ConfigError, match=f"^{name}: "):
        Train().but(**words)


def test_the_average_is_off_by_default():
    assert Train().ema is None
    assert Train().but(ema=0.999).ema == 0.999
