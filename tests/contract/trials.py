"""Runs of a recipe's `tiny()`, each made once and shared: whole, cut and resumed, in one process and two."""

from __future__ import annotations

import math
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from antiphon import recipes
from antiphon.runs import Measures, Run
from antiphon.training import checkpoint
from tests.processes import run_in_processes

FEW = 6
"""Steps of a run in one and in two processes: enough to show a wrong gradient, too few for rounding to grow."""


class PowerCut(Exception):
    """What stops a run that is to be resumed."""


@dataclass(frozen=True)
class Trial:
    """What a run left."""

    run: Run
    measures: Measures
    seconds: float

    @property
    def lines(self) -> list[dict[str, float]]:
        """The logged lines, without times."""
        return [{key: value for key, value in line.items() if key != "seconds"} for line in self.run.metrics()]

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in self.lines]

    @property
    def untimed(self) -> Measures:
        """The measures, without times."""
        return {name: value for name, value in self.measures.items() if not name.startswith("seconds/")}

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Of the last checkpoint."""
        newest = checkpoint.newest(self.run.folder / "checkpoints")
        assert newest is not None, f"{self.run.folder} has no checkpoint"
        return load_file(newest / "model.safetensors")


class Trials:
    """The runs of all recipes below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[tuple[str, str], Trial] = {}
        self.before_the_cut: dict[str, list[dict[str, float]]] = {}
        self.pairs: dict[str, list[list[float] | str]] = {}

    def whole(self, name: str, **study: str) -> Trial:
        """Uninterrupted; of another study (`study="tail"`), where a recipe has several."""
        kind = "/".join(["whole", *study.values()])
        return self._once(name, kind, lambda: _trial(name, self.folder / "whole", **study))

    def resumed(self, name: str) -> Trial:
        """Cut off at three quarters of its logged lines, and run again."""
        return self._once(name, "resumed", lambda: self._cut_and_resumed(name))

    def alone(self, name: str) -> list[float]:
        """Losses and gradients of a few steps without dropout, in this process."""
        return self._once(name, "alone", lambda: few_steps(name, str(self.folder / "alone")))

    def together(self, name: str, names: list[str]) -> list[list[float] | str]:
        """The same in two processes, by rank; all of `names` in one go, since processes take long to start."""
        if not self.pairs:
            by_rank = run_in_processes(2, _several, names, str(self.folder / "together"))
            self.pairs = {each: [found[each] for found in by_rank] for each in names}
        return self.pairs[name]

    def _once(self, name, kind, make):
        if (name, kind) not in self.found:
            self.found[name, kind] = make()
        return self.found[name, kind]

    def _cut_and_resumed(self, name: str) -> Trial:
        last = math.ceil(0.75 * len(self.whole(name).lines))
        with _cut_after(last):
            try:
                _trial(name, self.folder / "resumed")
            except PowerCut:
                run = _run(name, self.folder / "resumed")
                self.before_the_cut[name] = Trial(run, {}, 0.0).lines
                start = checkpoint.newest(run.folder / "checkpoints")
                assert start is not None, f"{name}: tiny() must save before its last quarter (train.save_every)"
            else:
                raise AssertionError(f"{name}: tiny() logged fewer lines at its second run")
        return _trial(name, self.folder / "resumed")


def few_steps(name: str, folder: str) -> list[float]:
    """Losses, then sizes of gradients, of `FEW` steps of `tiny()` without dropout; other processes may take part."""
    with _no_dropout():
        config = recipes.get(name).tiny().but(train__steps=FEW, train__log_every=1)
        run = Run.of(name, config, root=folder)
        recipes.get(name).run(config, run)
    lines = run.metrics()
    return [line["loss"] for line in lines] + [line["grad_norm"] for line in lines]


def _several(names: list[str], folder: str) -> dict[str, list[float] | str]:
    warnings.simplefilter("ignore")
    found: dict[str, list[float] | str] = {}
    for name in names:
        try:
            found[name] = few_steps(name, folder)
        except Exception:  # the other recipes' tests go on; this one shows the text
            found[name] = traceback.format_exc()
    return found


def _run(name: str, folder: Path, **study: str) -> Run:
    return Run.of(name, recipes.get(name).tiny().but(**study), root=folder)


def _trial(name: str, folder: Path, **study: str) -> Trial:
    run = _run(name, folder, **study)
    started = time.process_time()
    measures = recipes.get(name).run(run.config, run)
    return Trial(run, measures, time.process_time() - started)


@contextmanager
def _cut_after(lines: int):
    """A power cut after so many logged lines."""
    log, count = Run.log, 0

    def counted(self, step, **values):
        nonlocal count
        log(self, step, **values)
        count += 1
        if count == lines:
            raise PowerCut

    Run.log = counted
    try:
        yield
    finally:
        Run.log = log


@contextmanager
def _no_dropout():
    """Dropout draws from each process's own generator, so only without it can two processes equal one."""
    functional = torch.nn.functional
    kept = functional.dropout, functional.scaled_dot_product_attention

    def attention(*tensors, dropout_p=0.0, **options):
        return kept[1](*tensors, **options)

    functional.dropout = lambda values, *_, **__: values
    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.dropout, functional.scaled_dot_product_attention = kept
