"""The table `fault | promise | kept`, printed when the fault tests have run; and disks that are full or read-only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_FAULT = "fault and promise"


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(fault, promise): a line of the table of faults")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("fault")
        if mark is not None:
            item.user_properties.append((_FAULT, list(mark.args)))


def pytest_terminal_summary(terminalreporter):
    lines: dict[tuple[str, str], list[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == _FAULT and (report.when == "call" or outcome != "passed"):
                    lines.setdefault(tuple(value), []).append(_said(outcome, report))
    if not lines:
        return
    wide = [max(len(line[place]) for line in [*lines, ("fault", "promise")]) for place in (0, 1)]
    terminalreporter.section("faults")
    for (fault, promise), kept in [(("fault", "promise"), ["kept"]), *sorted(lines.items())]:
        terminalreporter.write_line(f"{fault:<{wide[0]}} | {promise:<{wide[1]}} | {_together(kept)}")


def _said(outcome, report):
    if outcome == "skipped":
        return f"not run ({report.longrepr[2].removeprefix('Skipped: ')})"
    return "yes" if outcome == "passed" else "NO"


def _together(kept):
    if len(set(kept)) == 1:
        return kept[0] if len(kept) == 1 else f"{kept[0]}, {len(kept)} of {len(kept)}"
    return ", ".join(f"{kept.count(each)} {each}" for each in dict.fromkeys(kept))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """Makes a folder read-only, also for root; and what it gives ends that."""
    mounted: list[Path] = []

    def lock(folder: Path):
        _mount("--bind", str(folder), str(folder))
        mounted.append(folder)
        _mount("-o", "remount,bind,ro", str(folder))
        return unlock

    def unlock():
        while mounted:
            subprocess.run(["umount", str(mounted.pop())], check=True)

    yield lock
    unlock()


def _mount(*words: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
