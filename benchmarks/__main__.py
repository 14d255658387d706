"""`python -m benchmarks [ROW | list]`: one JSON line of a row; or all rows, into results.json, and a table."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import THREADS, Row

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def rows() -> dict[str, Callable[[], Row]]:
    """Every row of the folder, by name."""
    found: dict[str, Callable[[], Row]] = {}
    for path in sorted(HERE.glob("*.py")):
        if path.stem not in ("__init__", "__main__", "measuring"):
            more = importlib.import_module(f"benchmarks.{path.stem}").ROWS
            if twice := sorted(set(found) & set(more)):
                raise SystemExit(f"{path.name} has rows {twice}, which another module has: a row's name is its own")
            found |= more
    return found


def measure(name: str) -> dict[str, Any]:
    """One row, in this process."""
    import torch

    torch.set_num_threads(THREADS)
    known = rows()
    if name not in known:
        raise SystemExit(f"no row {name!r}: there are {', '.join(known)}")
    started = time.perf_counter()
    described = known[name]().described(name)
    return described | {"seconds": round(time.perf_counter() - started, 1), "machine": machine()}


def machine() -> str:
    """The processor's name where the system tells it, else its kind, and how many there are."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} processors"


def measure_all() -> int:
    """All rows, each in a process of its own; gives the number of rows that failed to run."""
    from rich.console import Console

    console, results, failed = Console(), [], 0
    for name in rows():
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", name], capture_output=True, text=True, cwd=HERE.parent
        )
        if done.returncode != 0:
            failed += 1
            console.print(f"[red]{name}: {(done.stderr.splitlines() or ['no message'])[-1]}")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        results.append(row)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        sign = "reached" if row["reached"] else "NOT reached"
        console.print(f"{name}: {row['ratio']:.3g} of {row['peer_name']} ({row['want']} {row['reach']:.3g}): {sign}")
    return failed


if __name__ == "__main__":
    if sys.argv[1:] == ["list"]:
        print("\n".join(rows()))
    elif len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
    elif len(sys.argv) == 1:
        raise SystemExit(measure_all())
    else:
        raise SystemExit(__doc__)
