"""Configs: words over YAML over defaults, every error at once, and a name for what differs."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from antiphon.config import Config, ConfigError, parse


class Train(Config):
    """A sub-config."""

    steps: int = 100
    lr: float = 1e-3
    note: str | None = None


class Recipe(Config):
    """A config with a sub-config."""

    width: int = 8
    train: Train = Train()
    options: dict[str, int] = {}


def test_words_reach_into_sub_configs():
    cfg = parse(Recipe(), ["train.steps=5", "train.lr=1e-4", "width=16", "options.rows=3"])
    assert (cfg.train.steps, cfg.train.lr, cfg.width, cfg.options) == (5, 1e-4, 16, {"rows": 3})


def test_words_stand_over_files_over_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("width: 32\ntrain:\n  steps: 7\n")
    cfg = parse(Recipe(), ["width=64"], [file])
    assert (cfg.width, cfg.train.steps, cfg.train.lr) == (64, 7, 1e-3)


def test_every_error_at_once_with_its_path():
    with pytest.raises(ConfigError) as caught:
        parse(Recipe(), ["train.steps=many", "train.stpes=5", "width=wide"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any(line.startswith("train.stpes: unknown key; known here: lr, note, steps") for line in lines)
    assert any(line.startswith("train.steps: ") and "'many'" in line for line in lines)
    assert any(line.startswith("width: ") for line in lines)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("width", "is not key=value"),
        ("=3", "is not key=value"),
        ("width.more=3", "width is a single value"),
        ("width=[1", "is not a YAML value"),
    ],
)
def test_words_that_are_no_settings(word, message):
    with pytest.raises(ConfigError, match=message):
        parse(Recipe(), [word])


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "holds a list"), ("a: [1", "not readable as YAML"), ("widht: 3\n", "unknown key")],
)
def test_files_that_are_no_configs(tmp_path, text, message):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        parse(Recipe(), [], [file])


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        parse(Recipe(), [], [tmp_path / "none.yaml"])


def test_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().width = 3


def test_but_validates():
    assert Recipe().but(train__steps=3).train.steps == 3
    with pytest.raises(ConfigError, match="unknown key"):
        Recipe().but(train__stpes=3)


def test_named_by_what_differs():
    assert Recipe().changed() == {}
    assert Recipe().but(train__steps=3).changed() == {"train.steps": 3}
    assert Recipe().but(width=8).fingerprint() == Recipe().fingerprint()
    assert Recipe().but(width=9).fingerprint() != Recipe().fingerprint()
    assert Recipe().but(options={"rows": 1}).fingerprint() != Recipe().fingerprint()


def test_yaml_round_trip(tmp_path):
    cfg = Recipe().but(train__lr=3e-5, train__note="a: b")
    (tmp_path / "c.yaml").write_text(cfg.to_yaml())
    assert parse(Recipe(), [], [tmp_path / "c.yaml"]) == cfg


def test_text_that_looks_like_a_number_stays_text():
    assert parse(Recipe(), ["train.note=nan"]).train.note == "nan"


class WithPart(Config):
    part: Train | None = None


def test_a_sub_config_that_is_not_there_is_made(tmp_path):
    """A file or a word gives its fields; what they leave out has its default."""
    assert parse(WithPart(), ["part.steps=7"]).part == Train(steps=7)
    (tmp_path / "one.yaml").write_text("part:\n  steps: 9\n")
    assert parse(WithPart(), [], [tmp_path / "one.yaml"]).part == Train(steps=9)
    assert parse(WithPart(part=Train(steps=3)), ["part=null"]).part is None


class Rows(Config):
    source: str = "made"
    options: dict[str, int] = {}
    limit: int | None = None
    width: int = 8
    anew: ClassVar[Mapping[str, tuple[str, ...]]] = {"source": ("options", "limit")}


class WithRows(Config):
    rows: Rows = Rows(options={"most": 3}, limit=40, width=9)


def test_what_belongs_to_another_value_starts_anew(tmp_path):
    """Whatever the order of the words; what is given stays, and so does all where nothing changes."""
    wanted = Rows(source="folder", options={"depth": 2}, width=9)
    words = ["rows.source=folder", "rows.options.depth=2"]
    assert parse(WithRows(), words).rows == parse(WithRows(), words[::-1]).rows == wanted
    assert parse(WithRows(), [*words, "rows.limit=5"]).rows == wanted.but(limit=5)
    assert parse(WithRows(), ["rows.source=made", "rows.options.depth=2"]).rows.options == {"most": 3, "depth": 2}
    (tmp_path / "one.yaml").write_text("rows:\n  source: folder\n  options:\n    depth: 2\n")
    assert parse(WithRows(), [], [tmp_path / "one.yaml"]).rows == wanted
    assert parse(WithRows(), ["rows.limit=7"], [tmp_path / "one.yaml"]).rows == wanted.but(limit=7)
