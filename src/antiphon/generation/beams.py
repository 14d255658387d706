"""Beam search's book-keeping: running and finished hypotheses, as `transformers` keeps them (`early_stopping=False`).

Each step looks at the best (1 + number of end tokens, at least 2) * K continuations of the K running ones. Those of the
first K that end are finished, with the sum of their log-probabilities over their length to the power of the length
penalty; the best K of the others run on. A text is over where its best running hypothesis, at its present length, is
below its worst of K finished ones.

Axes: B texts, K beams, M continuations looked at, N new tokens, V words.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEVER = -1.0e9
"""The score of a hypothesis that is not there."""


class Hypotheses:
    """Running and finished continuations of every text.

    Args:
        rows: B.
        beams: K.
        most: the largest N.
        length_penalty: as above.
        spare: M / K.
    """

    def __init__(self, rows: int, beams: int, most: int, length_penalty: float, spare: int) -> None:
        self.beams, self.most, self.length_penalty, self.spare = beams, most, length_penalty, spare
        self.lines: list[list[list[int]]] = [[[]] for _ in range(rows)]  # running ones, best first
        self.scores = torch.zeros(rows, 1)
        self.finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]
        self.open = [True] * rows
        self.length = 0
        self.over = False

    def grow(
        self, logp: Float[Tensor, "b p v"], ended: Callable[[list[int]], bool]
    ) -> tuple[Int[Tensor, "b k"], Int[Tensor, "b k"]]:
        """Take a step; gives for each running beam which one it goes on, and its new token.

        Args:
            logp: log-probabilities of the next token on every running beam (one before the first step).
            ended: whether new token ids end a text.
        """
        device = logp.device
        sums_BM, flat_BM = (logp.cpu() + self.scores[:, :, None]).flatten(1).topk(self.spare * self.beams)
        beams_BM, ids_BM = flat_BM // logp.shape[2], flat_BM % logp.shape[2]
        self.length += 1
        last = self.length == self.most
        chosen: list[list[int]] = []
        for row, (beams, ids) in enumerate(zip(beams_BM.tolist(), ids_BM.tolist(), strict=True)):
            lines = [[*self.lines[row][beam], token] for beam, token in zip(beams, ids, strict=True)]
            ends = [last or ended(line) for line in lines]
            self._finish(row, lines[: self.beams], ends, sums_BM[row].tolist())
            going = [at for at, end in enumerate(ends) if not end]
            places = (going + [at for at, end in enumerate(ends) if end])[: self.beams]
            self.lines[row] = [lines[at] for at in places]
            sums_BM[row, [at for at, end in enumerate(ends) if end]] += NEVER
            chosen.append(places)
        places_BK = torch.tensor(chosen)
        self.scores = sums_BM.gather(1, places_BK)
        self._close()
        self.over = last or not any(self.open)
        return beams_BM.gather(1, places_BK).to(device), ids_BM.gather(1, places_BK).to(device)

    def best(self) -> list[list[int]]:
        """The best finished continuation of every text."""
        return [finished[0][1] for finished in self.finished]

    def _finish(self, row: int, lines: list[list[int]], ends: list[bool], sums: list[float]) -> None:
        if self.open[row]:
            new = [
                (total / self.length**self.length_penalty, line)
                for line, end, total in zip(lines, ends, sums, strict=False)
                if end
            ]
            self.finished[row] = sorted(self.finished[row] + new, key=lambda one: -one[0])[: self.beams]

    def _close(self) -> None:
        """Texts whose running hypotheses cannot come among the finished ones are done."""
        for row, finished in enumerate(self.finished):
            running = float(self.scores[row, 0]) / self.length**self.length_penalty
            if len(finished) == self.beams and running <= finished[-1][0]:
                self.open[row] = False
