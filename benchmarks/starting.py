"""Start-up in fresh interpreters: `import antiphon` and `antiphon --help`, against `import sentence_transformers`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from benchmarks.measuring import Row, version


def importing() -> Row:
    """The package."""
    return _row(["-c", "import antiphon"], 0.2)


def helping() -> Row:
    """The command line's help."""
    return _row(["-m", "antiphon", "--help"], 0.3)


def _row(words: list[str], most: float) -> Row:
    peer = ["-c", "import sentence_transformers"]
    took = [[_seconds(side) for side in (words, peer, ["-c", "pass"])] for _ in range(4)][1:]
    ours, theirs, bare = (min(column) for column in zip(*took, strict=True))
    if ours > most:
        raise SystemExit(f"{' '.join(words)} takes {ours:.2f} s of processor time, {most} s are allowed")
    return Row(
        ours=ours,
        peer=theirs,
        unit="s of processor time",
        peer_name=version("sentence-transformers"),
        reach=1 / 25,
        want="at most",
        bound=f"a bare interpreter takes {bare:.3f} s",
        details={"allowed": most},
    )


def _seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


ROWS = {"import": importing, "help": helping}
