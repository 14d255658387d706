"""The sweeps over tiles that `tiled` is made of: autograd functions that make each tile, use it, and forget it.

`LogSums` gives the log of the sum of exponentials of every row and column. One exponential a tile serves both: tiles
are taken relative to one number, and the sums are exact as long as every row's and column's lies within the range of
the format below it (a width of about e^120 in float32); that is checked, and else each is taken by itself.
`SigmoidSums` knows its gradient at sight of a tile, so it has one sweep only.

Axes: Q queries (rows), K keys (columns), D width; R and C rows and columns of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from antiphon.objectives.tiles import Exchange, OffDiagonal, Pairs, Tile, tiles


@dataclass(frozen=True)
class Plan:
    """What the sweeps of one loss share."""

    pairs: Pairs
    meet: Exchange
    size: int
    """Rows and columns of a tile."""
    half: torch.dtype | None
    """The type in which tiles are multiplied; None: that of the vectors."""
    device: torch.device
    symmetric: bool = True
    gradients: bool = True
    """Whether any will be wanted: inside an autograd function this cannot be seen."""

    def without_own(self) -> Plan:
        """The same plan, but query i does not meet key i."""
        pairs = Pairs(self.pairs.targets, (*self.pairs.masks, OffDiagonal(device=self.device)))
        return replace(self, pairs=pairs)

    def cast(self, vectors: Tensor) -> Tensor:
        """Vectors as they are multiplied."""
        return vectors.detach() if self.half is None else vectors.detach().to(self.half)


class LogSums(torch.autograd.Function):
    """(vectors, 1 / how much a key is wanted) -> log-sums of rows and of columns, and the rows' mean score under the
    targets, as it is and with each key divided by how much it is wanted (without targets: the own score, and zero)."""

    @staticmethod
    def forward(
        ctx: Any, scaled_QD: Tensor, keys_KD: Tensor, inverse_K: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One sweep; keeps the log-sums."""
        queries_QD, own_keys_KD = plan.cast(scaled_QD), plan.cast(keys_KD)
        log_Q = scaled_QD.new_full((len(scaled_QD),), -math.inf)
        own_log_K = scaled_QD.new_full((len(keys_KD),), -math.inf)
        answers_Q2 = scaled_QD.new_zeros(len(scaled_QD), 2)
        carried = (own_keys_KD, inverse_K, *plan.pairs.carried)
        for own, (keys, inverse, *side), (log_K,) in plan.meet.circulate(carried, (own_log_K,)):
            if not (len(queries_QD) and len(keys)):  # of several processes one may have no row
                continue
            block = _Block(plan, queries_QD, keys, own, tuple(side), scaled_QD.dtype)
            row_Q, column_K, answered_Q2 = block.log_sums(inverse)
            log_Q = torch.logaddexp(log_Q, row_Q)
            log_K.copy_(torch.logaddexp(log_K, column_K))
            answers_Q2 += answered_Q2
        ctx.save_for_backward(queries_QD, own_keys_KD, inverse_K, log_Q, own_log_K)
        ctx.plan, ctx.dtype = plan, scaled_QD.dtype
        return log_Q, own_log_K, answers_Q2

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_Q: Tensor, own_grad_K: Tensor, grad_Q2: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        """One sweep; makes each tile again."""
        queries_QD, own_keys_KD, own_inverse_K, log_Q, own_log_K = ctx.saved_tensors
        into_QD = torch.zeros_like(queries_QD, dtype=ctx.dtype) if ctx.needs_input_grad[0] else None
        own_into_KD = torch.zeros_like(own_keys_KD, dtype=ctx.dtype) if ctx.needs_input_grad[1] else None
        carried = (own_keys_KD, own_inverse_K, own_log_K, own_grad_K, *ctx.plan.pairs.carried)
        sums = () if own_into_KD is None else (own_into_KD,)
        for own, (keys, inverse, log_K, grad_K, *side), into in ctx.plan.meet.circulate(carried, sums):
            if not (len(queries_QD) and len(keys)):
                continue
            block = _Block(ctx.plan, queries_QD, keys, own, tuple(side), ctx.dtype)
            block.gradients(log_Q, grad_Q, log_K, grad_K, inverse, grad_Q2, into_QD, into[0] if into else None)
        return into_QD, own_into_KD, None, None


class _Block:
    """The queries of this process against one block of keys."""

    def __init__(
        self, plan: Plan, queries_QD: Tensor, keys_KD: Tensor, own: bool, side: tuple[Tensor, ...], dtype: torch.dtype
    ) -> None:
        self.plan, self.queries_QD, self.keys_KD, self.side = plan, queries_QD, keys_KD, side
        self.tiles = list(tiles(len(queries_QD), len(keys_KD), plan.size, own))
        self.dtype = dtype
        self.soft = plan.pairs.targets is not None
        self.room = [_room(queries_QD, keys_KD, plan.size, dtype) for _ in range(2)]
        # exp(-reach) is the smallest normal number; a sum no smaller than exp(-depth) has lost nothing of its terms.
        self.reach = -math.log(torch.finfo(dtype).tiny)
        count = max(len(queries_QD), len(keys_KD), 1)
        self.depth = self.reach + math.log(torch.finfo(dtype).eps) - math.log(count)

    def _view(self, number: int, tile: Tile) -> Tensor:
        rows, columns = tile.shape
        return self.room[number][: rows * columns].view(rows, columns)

    def scores(self, tile: Tile) -> Tensor:
        """The scores of a tile, masked pairs too."""
        scores_RC = self._view(0, tile)
        queries_RD, keys_CD = self.queries_QD[tile.rows], self.keys_KD[tile.columns]
        if queries_RD.dtype == self.dtype:
            return torch.mm(queries_RD, keys_CD.T, out=scores_RC)
        return scores_RC.copy_(queries_RD @ keys_CD.T)

    def mask(self, scores_RC: Tensor, tile: Tile) -> None:
        """Scores of pairs that may not be compared become -inf."""
        allowed_RC = self.plan.pairs.allowed(tile, self.side)
        if allowed_RC is not None:
            scores_RC.masked_fill_(~allowed_RC, -math.inf)

    def log_sums(self, inverse_K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-sums of rows and columns, and what the targets make of the scores."""
        bound = float(self.queries_QD.norm(dim=1).amax() * self.keys_KD.norm(dim=1).amax())
        reference = max(bound - 0.7 * self.reach, 0.0)
        row_Q, column_K, answers_Q2 = self._sums(inverse_K, reference)
        least = row_Q.amin().minimum(column_K.amin()) if self.plan.symmetric else row_Q.amin()
        if bool(least >= math.exp(-self.depth)):
            return row_Q.log_().add_(reference), column_K.log_().add_(reference), answers_Q2
        return self._careful_sums(answers_Q2)

    def _sums(self, inverse_K: Tensor, reference: float) -> tuple[Tensor, Tensor, Tensor]:
        row_Q = inverse_K.new_zeros(len(self.queries_QD))
        column_K, answers_Q2 = torch.zeros_like(inverse_K), inverse_K.new_zeros(len(self.queries_QD), 2)
        for tile in self.tiles:
            scores_RC = self.scores(tile)
            if self.soft:
                shares_RC = self.plan.pairs.shares(tile, self.side, scores_RC).mul_(scores_RC)
                answers_Q2[tile.rows, 0] += shares_RC.sum(1)
                answers_Q2[tile.rows, 1] += shares_RC @ inverse_K[tile.columns]
            elif (own := tile.diagonal(scores_RC)) is not None:
                start = max(tile.rows.start, tile.columns.start)
                answers_Q2[start : start + len(own), 0] = own
            self.mask(scores_RC, tile)
            _exponentials(scores_RC, reference)
            row_Q[tile.rows] += scores_RC.sum(1)
            if self.plan.symmetric:
                column_K[tile.columns] += scores_RC.sum(0)
        return row_Q, column_K, answers_Q2

    def _careful_sums(self, answers_Q2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For scores so far apart, or rows so empty, that one reference does not do."""
        row_Q = answers_Q2.new_full((len(self.queries_QD),), -math.inf)
        column_K = answers_Q2.new_full((len(self.keys_KD),), -math.inf)
        for tile in self.tiles:
            scores_RC = self.scores(tile)
            self.mask(scores_RC, tile)
            row_Q[tile.rows] = torch.logaddexp(row_Q[tile.rows], scores_RC.logsumexp(1))
            if self.plan.symmetric:
                column_K[tile.columns] = torch.logaddexp(column_K[tile.columns], scores_RC.logsumexp(0))
        return row_Q, column_K, answers_Q2

    def gradients(
        self,
        log_Q: Tensor,
        grad_Q: Tensor,
        log_K: Tensor,
        grad_K: Tensor,
        inverse_K: Tensor,
        grad_Q2: Tensor,
        into_QD: Tensor | None,
        into_KD: Tensor | None,
    ) -> None:
        """Add the gradients by the vectors, given those by what `log_sums` gave."""
        # A row without gradient may be of any kind, nan too: a log-sum of +inf makes its probabilities zero.
        log_Q, log_K = (torch.where(grad != 0, log, math.inf) for log, grad in ((log_Q, grad_Q), (log_K, grad_K)))
        softmax = self._softmax(log_Q, grad_Q, log_K, grad_K)
        for tile in self.tiles:
            scores_RC = self.scores(tile)
            self.mask(scores_RC, tile)
            softmax(scores_RC, tile)
            if self.soft:
                factors_RC = torch.addcmul(
                    grad_Q2[tile.rows, :1], grad_Q2[tile.rows, 1:], inverse_K[tile.columns], out=self._view(1, tile)
                )
                scores_RC.addcmul_(self.plan.pairs.shares(tile, self.side, scores_RC), factors_RC)
            elif (own := tile.diagonal(scores_RC)) is not None:
                start = max(tile.rows.start, tile.columns.start)
                own.add_(grad_Q2[start : start + len(own), 0])
            half_RC = scores_RC.to(self.queries_QD.dtype)
            if into_QD is not None:
                _add_product(into_QD[tile.rows], half_RC, self.keys_KD[tile.columns])
            if into_KD is not None:
                _add_product(into_KD[tile.columns], half_RC.T, self.queries_QD[tile.rows])

    def _softmax(self, log_Q: Tensor, grad_Q: Tensor, log_K: Tensor, grad_K: Tensor) -> Any:
        """What turns scores, in place, into the sum of both softmaxes, each times its gradient."""
        logs = torch.cat([log_Q, log_K])
        least, most = torch.stack([logs.amin(), torch.where(logs.isinf(), -math.inf, logs).amax()]).tolist()
        reference = max(most - 0.45 * self.reach, 0.0)
        # Here too one exponential serves both, if all log-sums that count lie within reach of the reference.
        if not (least >= reference - self.depth and reference < math.inf):
            return lambda scores_RC, tile: self._careful(scores_RC, tile, log_Q, grad_Q, log_K, grad_K)
        times_Q, times_K = grad_Q * (reference - log_Q).exp(), grad_K * (reference - log_K).exp()

        def at_once(scores_RC: Tensor, tile: Tile) -> None:
            _exponentials(scores_RC, reference)
            if self.plan.symmetric:
                factors_RC = self._view(1, tile)
                scores_RC.mul_(torch.add(times_Q[tile.rows, None], times_K[tile.columns], out=factors_RC))
            else:
                scores_RC.mul_(times_Q[tile.rows, None])

        return at_once

    def _careful(
        self, scores_RC: Tensor, tile: Tile, log_Q: Tensor, grad_Q: Tensor, log_K: Tensor, grad_K: Tensor
    ) -> None:
        other_RC = torch.sub(scores_RC, log_K[tile.columns], out=self._view(1, tile)).exp_().mul_(grad_K[tile.columns])
        scores_RC.sub_(log_Q[tile.rows, None]).exp_().mul_(grad_Q[tile.rows, None]).add_(other_RC)


class Turned(torch.autograd.Function):
    """`targets.T @ columns`, for a few columns of numbers a query."""

    @staticmethod
    def forward(ctx: Any, columns_QN: Tensor, keys: int, plan: Plan) -> Tensor:
        """One sweep of the targets."""
        own_sums_KN = columns_QN.new_zeros(keys, columns_QN.shape[1])
        for tile, side, (sums_KN,) in walk(plan, len(columns_QN), keys, sums=(own_sums_KN,)):
            sums_KN[tile.columns] += plan.pairs.shares(tile, side, columns_QN).T @ columns_QN[tile.rows]
        ctx.plan, ctx.rows = plan, len(columns_QN)
        return own_sums_KN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_KN: Tensor) -> tuple[Tensor, None, None]:
        """The same sweep, the other way."""
        into_QN = grad_KN.new_zeros(ctx.rows, grad_KN.shape[1])
        for tile, (grads_KN, *side), _ in walk(ctx.plan, ctx.rows, len(grad_KN), before=(grad_KN.contiguous(),)):
            into_QN[tile.rows] += ctx.plan.pairs.shares(tile, tuple(side), grad_KN) @ grads_KN[tile.columns]
        return into_QN, None, None


def walk(
    plan: Plan, queries: int, keys: int, *, before: tuple[Tensor, ...] = (), sums: tuple[Tensor, ...] = ()
) -> Iterator[tuple[Tile, tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """Every tile of every block, with what is carried of its keys (`before` it, what the caller adds)."""
    # The keys' number goes along, as a tensor without width: masks and targets need not carry anything.
    count = torch.empty(keys, 0, device=plan.device)
    for own, (rows, *carried), block_sums in plan.meet.circulate((count, *before, *plan.pairs.carried), sums):
        for tile in tiles(queries, len(rows), plan.size, own):
            yield tile, tuple(carried), block_sums


class SigmoidSums(torch.autograd.Function):
    """(vectors, bias, weights) -> the weighted sum of the rows' losses, and (without gradient) these losses."""

    @staticmethod
    def forward(
        ctx: Any, scaled_QD: Tensor, keys_KD: Tensor, bias: Tensor, weights_Q: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor]:
        """One sweep, for the losses and for their gradients."""
        queries_QD, own_keys_KD = plan.cast(scaled_QD), plan.cast(keys_KD)
        trust_Q1 = weights_Q[:, None].to(queries_QD.dtype)
        into_QD, own_into_KD = (
            torch.zeros_like(vectors) if needed and plan.gradients else None
            for vectors, needed in zip((scaled_QD, keys_KD), ctx.needs_input_grad, strict=False)
        )
        losses_Q, slopes_Q = weights_Q.new_zeros(2, len(weights_Q))
        sums = () if own_into_KD is None else (own_into_KD,)
        for own, (keys, *side), into in plan.meet.circulate((own_keys_KD, *plan.pairs.carried), sums):
            block = _Block(plan, queries_QD, keys, own, tuple(side), scaled_QD.dtype)
            for tile in block.tiles:
                slopes_RC = _sigmoid_tile(block, tile, bias, losses_Q, slopes_Q)
                if into_QD is not None:
                    _add_product(into_QD[tile.rows], slopes_RC, keys[tile.columns])
                if into:
                    _add_product(into[0][tile.columns], slopes_RC.T, queries_QD[tile.rows] * trust_Q1[tile.rows])
        if into_QD is not None:
            into_QD.mul_(weights_Q[:, None])
        ctx.save_for_backward(into_QD, own_into_KD, slopes_Q @ weights_Q)
        ctx.mark_non_differentiable(losses_Q)
        return losses_Q @ weights_Q, losses_Q

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, None, None]:
        """The gradients, times the loss's own."""
        into_QD, into_KD, slope = ctx.saved_tensors
        of_queries, of_keys = (None if into is None else into * grad for into in (into_QD, into_KD))
        return of_queries, of_keys, slope * grad, None, None


def _sigmoid_tile(block: _Block, tile: Tile, bias: Tensor, losses_Q: Tensor, slopes_Q: Tensor) -> Tensor:
    """Adds the tile's losses to their rows, and gives their derivatives by the scores."""
    logits_RC = block.scores(tile).add_(bias)
    positive_RC = None
    if block.soft:
        positive_RC = block.plan.pairs.weights(tile, block.side) > 0
        torch.where(positive_RC, -logits_RC, logits_RC, out=logits_RC)
    elif (own := tile.diagonal(logits_RC)) is not None:
        own.neg_()
    block.mask(logits_RC, tile)
    # log(1 + exp(x)); beyond the threshold it is x to the last digit.
    lost_RC = torch.ops.aten.softplus.out(logits_RC, 1, 40, out=block._view(1, tile))
    losses_Q[tile.rows] += lost_RC.sum(1)
    logits_RC.sigmoid_()
    if positive_RC is not None:
        torch.where(positive_RC, -logits_RC, logits_RC, out=logits_RC)
    elif (own := tile.diagonal(logits_RC)) is not None:
        own.neg_()
    slopes_Q[tile.rows] += logits_RC.sum(1)
    return logits_RC.to(block.queries_QD.dtype)


def _exponentials(scores_RC: Tensor, reference: float) -> None:
    if reference != 0:
        scores_RC.sub_(reference)
    scores_RC.exp_()


def _add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    if into.dtype == left.dtype:
        into.addmm_(left, right)
    else:
        into.add_(left @ right)


def _room(queries_QD: Tensor, keys_KD: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    rows, columns = min(size, len(queries_QD)), min(size, len(keys_KD))
    return torch.empty(rows * columns, dtype=dtype, device=queries_QD.device)
