"""A training under a launcher: `python -m tests.faults.elastic FOLDER [STEP]`; with STEP, rank 1 dies there, once."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from tests.faults.trainings import train

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    dies = len(sys.argv) > 2 and os.environ["RANK"] == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
    train(Path(sys.argv[1]), "stream, averaged, GradCache", plain=True, die_at=int(sys.argv[2]) if dies else None)
