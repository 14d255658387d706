"""Every command explains itself with an example, quickly; the version is told."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import antiphon
from antiphon.cli.app import app

SOURCES = Path(antiphon.__file__).parents[1]
ALLOWANCE = float(os.environ.get("ANTIPHON_SLOW_MACHINE", "2"))
"""How many times slower than the aim (help in 0.3 s, import in 0.2 s of processor time) a shared machine may be."""


def _commands(group=None, words=()):
    group = typer.main.get_command(app) if group is None else group
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


@pytest.mark.parametrize(("words", "found"), [pytest.param(w, c, id="-".join(w)) for w, c in _commands()])
def test_every_command_says_what_it_does_with_an_example(words, found, command):
    answer = command(*words, "--help")
    assert answer.code == 0
    plain = " ".join(answer.out.split())
    assert f"antiphon {' '.join(words)}" in plain.replace("python -m ", "")
    if found.params and words != ("data", "list"):
        assert "Example" in plain


def test_every_option_says_what_it_is():
    for words, found in _commands():
        for parameter in found.params:
            assert getattr(parameter, "help", None), f"{' '.join(words)}: {parameter.name} has no help"


def test_the_version_is_told(command):
    assert command("--version").out == f"antiphon {antiphon.__version__}\n"


def test_no_words_show_the_help(command):
    assert "antiphon demo" in command().out + command().err


@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        ("import antiphon", 0.2),
        ("import sys; sys.argv = ['antiphon', '--help']; from antiphon.cli.app import main; main()", 0.3),
    ],
)
def test_starting_is_quick_and_loads_no_torch(code, seconds):
    watched = (
        "import atexit, sys; atexit.register(lambda: print('HEAVY', [m for m in "
        f"('torch', 'transformers', 'datasets', 'numpy') if m in sys.modules]))\n{code}"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # not the clock: other tests run beside this one
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert done.returncode == 0, done.stderr
        assert "HEAVY []" in done.stdout
    assert min(took) < seconds * ALLOWANCE, took
