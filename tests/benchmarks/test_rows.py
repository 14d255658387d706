"""What `make bench` relies on: rows have names of their own, are listed without peers, and compute what they say."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import rows
from benchmarks.measuring import Row, in_turns, paired_ratio

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__"))
PEERS = ("sentence_transformers", "faiss", "kaldi_native_fbank", "open_clip", "pytorch_metric_learning")
BLOCKED = """
import sys
for peer in {peers!r}:
    sys.modules[peer] = None
from benchmarks.__main__ import rows
print("\\n".join(rows()))
"""


def _row(**changes):
    options = {
        "ours": 3.0,
        "peer": 2.0,
        "unit": "s",
        "peer_name": "x 1",
        "reach": 1.5,
        "want": "at least",
        "bound": "b",
    }
    return Row(**(options | changes))


def test_rows_are_listed_without_any_peer():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(peers=PEERS)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(rows())


def test_every_row_has_a_plain_name():
    for name in rows():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "measuring"])
def test_modules_hold_rows(module):
    assert isinstance(importlib.import_module(f"benchmarks.{module}").ROWS, dict)


def test_a_name_in_two_modules_is_refused(monkeypatch):
    first, second = (importlib.import_module(f"benchmarks.{name}") for name in ("exact_search", "starting"))
    monkeypatch.setattr(second, "ROWS", {next(iter(first.ROWS)): len})
    with pytest.raises(SystemExit, match="a row's name is its own"):
        rows()


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, True),
        ({"ours": 2.9}, False),
        ({"want": "at most"}, True),
        ({"want": "at most", "ours": 3.1}, False),
    ],
)
def test_the_ratio_is_ours_over_the_peers(changes, reached):
    row = _row(**changes)
    assert row.ratio == pytest.approx(row.ours / 2.0)
    assert row.reached is reached
    assert row.described("name")["row"] == "name"
    assert row.described("name")["reached"] is reached


def test_turns_take_the_least_of_each_side():
    times = iter([0, 9, 0, 9, 0, 3, 0, 5, 0, 4, 0, 2])  # a warm round, then 3 and 5, 4 and 2
    assert in_turns(int, int, rounds=2, clock=lambda: next(times)) == [3, 2]


def test_pairs_take_the_median_of_ratios():
    assert paired_ratio(lambda: None, lambda: sum(range(20_000)), rounds=3) < 1
