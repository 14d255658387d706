"""Every module loads, every public name is there, nobody imports upwards, files stay short."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import walk_packages

import pytest

import antiphon

SOURCES = Path(antiphon.__file__).parent
MODULES = sorted(module.name for module in walk_packages(antiphon.__path__, "antiphon."))
BANNED = {"core", "common", "utils", "misc", "helpers", "base", "manager"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
"""Lines; the aim is 300 and 40, and what lies between is for a reviewer to judge."""


@pytest.mark.parametrize("name", [name for name in MODULES if name != "antiphon.__main__"])
def test_every_module_loads_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


def test_every_public_name_is_there():
    assert antiphon.__all__ == ["__version__", *sorted(set(antiphon.__all__) - {"__version__"})]
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = antiphon.nothing


def test_no_room_has_a_name_that_says_nothing():
    assert not {path.stem for path in SOURCES.rglob("*")} & BANNED


def test_nobody_imports_upwards():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed (make check installs it)")
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent)}
    root = SOURCES.parents[1]
    done = subprocess.run([linter, "--no-cache"], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_files_and_functions_stay_short():
    over = []
    for path in sorted(SOURCES.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > LONGEST_FILE:
            over.append(f"{path.relative_to(SOURCES)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION:
                over.append(f"{path.relative_to(SOURCES)}:{node.name}: {node.end_lineno - node.lineno + 1} lines")
    assert not over, "\n".join(over)
