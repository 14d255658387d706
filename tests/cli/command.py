"""Runs a command as `main` does, in this process: exit code, standard output, standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from antiphon.cli.app import main


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class Command:
    """`command("train", "clip")` is `antiphon train clip`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.capsys, self.patch = capsys, patch

    def __call__(self, *words: object) -> Answer:
        self.patch.setattr(sys, "argv", ["antiphon", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = self.capsys.readouterr()
        return Answer(int(left.value.code or 0), said.out, said.err)

    def refused(self, *words: object) -> str:
        """The one line that a user's mistake gets."""
        answer = self(*words)
        assert answer.code == 1, answer
        assert answer.err.startswith("antiphon: ")
        assert answer.err.count("\n") == 1, answer.err
        assert "Traceback" not in answer.err
        return answer.err
