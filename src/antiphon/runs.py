"""The folder of one run: its resolved config, seed, versions, metrics, checkpoints and result.

A run is named by its recipe, its seed and a hash of what differs from the recipe's defaults, so that the same
config finds the same folder, and resumes what it finds there.

    runs/clip-1f0c9a2e-seed0/
        config.yaml    every field, resolved        run.json      seed, what differs, versions, git commit
        metrics.jsonl  one JSON object a line       result.json   the measures, written when the recipe ends
        checkpoints/   step folders                 quarantine.jsonl   inputs left out, with reasons
        pictures/      what a person would look at, as figures in HTML
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from markupsafe import Markup

from antiphon.config import Config
from antiphon.distributed import rank
from antiphon.errors import UserError

Measures = dict[str, float]
"""What a recipe's `run` returns: named numbers, for tables, claims and cards."""

_PACKAGES = ("antiphon", "torch", "transformers", "datasets", "accelerate", "numpy")


class RunError(UserError, RuntimeError):
    """A run folder that cannot be used, in one line."""


class OtherVersions(UserWarning):
    """A run goes on under other versions than it began with, so its numbers may differ in their last bits."""


class Waiting(UserWarning):
    """A run waits for a part that another process trains."""


class Run:
    """The folder of one run.

    Args:
        folder: created where absent; its parents too.
        config: the recipe's resolved config.
        recipe: the recipe's name.
        seed: where every randomness of the run comes from.
        changed: go on in a folder whose config is another one; the new one is kept, and the old result dropped.
        shared: other runs begin with this one, so a second process waits until the first has trained it.

    Raises:
        RunError: the folder holds a run of another recipe or seed, or of another config (each difference is shown)
            without `changed`; or it cannot be written.
    """

    def __init__(
        self, folder: str | Path, config: Config, *, recipe: str = "run", seed: int = 0, changed: bool = False,
        shared: bool = False,
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        self.config = config
        self.recipe = recipe
        self.seed = seed
        self.changed = changed
        self.shared = shared
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim_folder()
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror}): choose another with --runs") from None

    @classmethod
    def of(cls, recipe: str, config: Config, *, seed: int = 0, root: str | Path = "runs") -> Run:
        """The run of this recipe, config and seed below `root`; the same ones find the same folder."""
        return cls(Path(root) / f"{recipe}-{config.fingerprint()}-seed{seed}", config, recipe=recipe, seed=seed)

    def part(self, name: str, config: Config, *, seed: int | None = None) -> Run:
        """The run of a part, as of a start that arms have in common; its folder lies beside this one.

        Args:
            name: of the part.
            config: what it depends on (`Config.only`), and is named by.
            seed: its seed; this run's where None.
        """
        recipe, number = f"{self.recipe}_{name}", self.seed if seed is None else seed
        folder = self.folder.parent / f"{recipe}-{config.fingerprint()}-seed{number}"
        return Run(folder, config, recipe=recipe, seed=number, changed=self.changed, shared=True)

    def once(self, measure: Callable[[], Measures]) -> Measures:
        """The measures of a part: as they were kept, or measured now; a second process waits for the first."""
        with self.lock() if rank() == 0 else nullcontext():
            found = None if self.changed else self.result
            return found or self.finish(measure())

    def seed_all(self) -> None:
        """Seed torch, numpy and Python's `random` from the run's seed: a recipe's first line, before weights."""
        import random

        import numpy as np
        import torch

        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002  (what libraries draw from)
        torch.manual_seed(self.seed)

    def lock(self) -> FileLock:
        """A lock to hold while training: a second process is told so at once; it waits where the run is `shared`."""
        return _RunLock(self.folder / ".lock", timeout=-1 if self.shared else 0)  # -1: without end

    def log(self, step: int, **values: float) -> None:
        """Append one line to `metrics.jsonl`."""
        _append(self.folder / "metrics.jsonl", {"step": step, **values})

    def metrics(self) -> list[dict[str, float]]:
        """The logged lines, oldest first; a last line that a crash cut off is dropped."""
        path = self.folder / "metrics.jsonl"
        return read_jsonl(path) if path.exists() else []

    def rewind(self, step: int) -> None:
        """Drop logged lines after `step`: what a resumed run is about to log again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        write_atomically(self.folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def quarantine(self, column: str, row: str, reason: str) -> None:
        """Note an input that was left out, with the reason."""
        _append(self.folder / "quarantine.jsonl", {"column": column, "row": row, "reason": reason})

    def quarantined(self) -> set[tuple[str, str]]:
        """Columns and rows of the inputs that were left out so far."""
        path = self.folder / "quarantine.jsonl"
        return {(line["column"], line["row"]) for line in read_jsonl(path)} if path.exists() else set()

    def picture(self, name: str, drawing: Markup, caption: str) -> None:
        """Keep a picture of the result: a figure in `pictures/<name>.html`, which pages show as it is.

        Args:
            name: of the file, lower-case words joined by hyphens.
            drawing: SVG or HTML; what came from rows must have been escaped, as `markupsafe` does.
            caption: what is seen, one or two sentences.
        """
        folder = self.folder / "pictures"
        folder.mkdir(exist_ok=True)
        figure = Markup("<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n").format(drawing, caption)
        write_atomically(folder / f"{name}.html", re.sub(r"\n\s*\n", "\n", figure))

    def pictures(self) -> dict[str, str]:
        """The figures that were kept, by name."""
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("pictures/*.html"))}

    @property
    def result(self) -> Measures | None:
        """The measures of a run that has ended, else None."""
        path = self.folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, measures: Mapping[str, float]) -> Measures:
        """Keep the measures; a run that has a result need not run again."""
        write_atomically(self.folder / "result.json", json.dumps(dict(measures), indent=1) + "\n")
        return dict(measures)

    def _claim_folder(self) -> None:
        path = self.folder / "run.json"
        described = {"recipe": self.recipe, "seed": self.seed, "changed": self.config.changed()}
        if not path.exists():
            self._describe(path, described)
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        asked = {key: (found.get(key), described[key]) for key in ("recipe", "seed")}
        other = [f"{key} {was}, not {new}" for key, (was, new) in asked.items() if was != new]
        if other:
            raise RunError(f"{self.folder} holds another run ({', '.join(other)}): choose another folder, or delete it")
        was = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        differs = differences(was, self.config)
        if differs and not self.changed:
            raise RunError(
                f"{self.folder} holds a run of another config ({'; '.join(differs)}): choose another folder, or go on "
                "there with the new config by --changed"
            )
        if differs:
            self._describe(path, described | {"earlier": [*found.pop("earlier", []), found]})
            (self.folder / "result.json").unlink(missing_ok=True)
        elif self.result is None:
            self._compare_versions(found.get("versions", {}))

    def _describe(self, path: Path, described: dict[str, Any]) -> None:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        described = described | {"started": started, "versions": versions(), "commit": git_commit()}
        write_atomically(self.folder / "config.yaml", self.config.to_yaml())
        write_atomically(path, json.dumps(described, indent=1, ensure_ascii=False) + "\n")

    def _compare_versions(self, before: Mapping[str, str]) -> None:
        now = versions()
        other = [f"{name} {was} -> {now.get(name)}" for name, was in before.items() if now.get(name) != was]
        if other and (self.folder / "checkpoints").exists():
            said = f"{self.folder} goes on under other versions ({'; '.join(other)}): equal, but not to the bit"
            warnings.warn(said, OtherVersions, stacklevel=4)


def differences(before: Mapping[str, Any], config: Config) -> list[str]:
    """What differs between a kept config and this one, field by field: `train.lr: 0.001 -> 0.002`.

    A field that the kept config lacks, since an older version wrote it, counts as at its default.
    """
    now, default = (yaml.safe_load(each.to_yaml()) for each in (config, type(config)()))
    return _differences(before, now, default, "")


def _differences(before: Any, now: Any, default: Any, path: str) -> list[str]:
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return [] if before == now else [f"{path}: {_short(before)} -> {_short(now)}"]
    default = default if isinstance(default, Mapping) else {}
    found = []
    for key in dict.fromkeys([*now, *before]):
        inner = f"{path}.{key}" if path else str(key)
        was = before.get(key, default.get(key, _NONE))
        found += _differences(was, now.get(key, _NONE), default.get(key), inner)
    return found


class _Nothing:
    def __repr__(self) -> str:
        return "(nothing)"


_NONE = _Nothing()


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, _Nothing) else json.dumps(value, ensure_ascii=False)


class _RunLock(FileLock):
    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """Take the lock; say who holds the folder, and wait for it where the lock does."""
        folder = Path(self.lock_file).parent
        try:
            if self.timeout < 0:
                with suppress(Timeout):
                    return super().acquire(timeout=0)
                warnings.warn(f"{folder}: another process is training here: waiting for it", Waiting, stacklevel=3)
            return super().acquire(*args, **kwargs)
        except Timeout:
            raise RunError(f"{folder}: another process is training here: wait for it, or change the seed") from None
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror}): choose another with --runs") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a last line that a crash cut off is dropped, any other bad line is an error."""
    lines = path.read_text(encoding="utf-8").splitlines()
    objects = []
    for number, line in enumerate(lines, start=1):
        try:
            objects.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise RunError(f"{path}:{number} is not JSON: {line[:60]!r}") from None
    return objects


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line, in one write; what a crash left of a line before it is cut off."""
    try:
        with path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}): mend that, and the same command goes on from the last "
            "checkpoint"
        ) from None


def write_atomically(path: Path, text: str) -> None:
    """Write beside, flush to disk, rename: a reader sees the old text or the new, never half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def versions() -> dict[str, str]:
    """Python, platform, and the packages whose versions change numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """The commit of the source tree that runs, `+changes` if it is dirty; None outside a git checkout."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
