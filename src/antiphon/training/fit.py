"""`fit`: the loop. Batches, clip, schedule, average, log, score, checkpoint, resume; one process or many.

It runs on accelerate. What every accelerate user must know, and what is done about it here:
the scheduler is a pure function of the step and is never `prepare`d (it would step once per process); batches are cut
per process in `feeding.py`, not dispatched; gathers with a gradient are in `distributed.py`; the unwrapped state dict
is saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from antiphon.data.streaming import Stream
from antiphon.distributed import rank, world_size
from antiphon.errors import Stopped, UserError
from antiphon.progress import bar
from antiphon.runs import Run
from antiphon.training import checkpoint
from antiphon.training.averaging import Average
from antiphon.training.feeding import Collate, Feed, Place, Sizes, worker_faults_in_words
from antiphon.training.gradcache import cached_backward
from antiphon.training.learner import Batch, Learner, batch_size, to_device
from antiphon.training.schedule import rate_at
from antiphon.training.settings import Train
from antiphon.training.stopping import asked_to_stop

__all__ = ["Collate", "Every", "Moment", "Score", "Train", "TrainingError", "fit"]

Score = Callable[[Learner], float]
"""How good a learner is, on rows that it is not trained on; higher is better."""


class TrainingError(UserError, RuntimeError):
    """Training cannot go on; one line that says why."""


@dataclass(frozen=True)
class Moment:
    """What a callback sees after a step."""

    step: int
    losses: dict[str, float]
    batch: Batch
    learner: Learner


@dataclass(frozen=True)
class Every:
    """Call `call(moment)` after every `steps` steps."""

    steps: int
    call: Callable[[Moment], None]


def fit(
    learner: Learner,
    rows: Sequence[Any] | Stream,
    cfg: Train,
    run: Run,
    *,
    collate: Collate,
    sizes: Sizes | None = None,
    every: Sequence[Every] = (),
    score: Score | None = None,
) -> None:
    """Train `learner` on `rows` in place, going on from the run's newest whole checkpoint.

    With `cfg.ema` the learner carries the averaged parameters when `fit` returns, and while it is scored; callbacks see
    the parameters of the step. Without it, it carries those of the last step. It is left in training mode.

    Args:
        learner: its losses are summed and minimised by AdamW.
        rows: anything with a length that gives a dict by index (a `datasets.Dataset`, a list), or a `Stream`.
        cfg: how.
        run: where metrics, checkpoints and the quarantine list go; its seed orders the rows.
        collate: rows to a batch (`data.collate.by_column`); it may add "quarantine", a list of what it left out.
        sizes: of the rows (seconds, tokens), or a function of a row, to batch like with like.
        every: callbacks.
        score: called every `cfg.score_every` steps and at the end, in every process, without gradients and in
            evaluation mode. The best-scored checkpoint is kept; `checkpoint.load_best` loads it.

    Raises:
        TrainingError: too many bad inputs, or too many steps without a finite gradient; or the checkpoint is of other
            data, and the run was not told so (`Run(..., changed=True)`).
        FeedError: no rows, or a data worker died or hangs.
        CheckpointError: a checkpoint could not be written, or is of another learner.
        RunError: another process trains in this folder.
        BadInput: a shard is broken.
        Stopped: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    with run.lock() if rank() == 0 else nullcontext(), asked_to_stop() as asked, worker_faults_in_words():
        loop = _Loop(learner, rows, cfg, run, collate, sizes)
        start = loop.resume()
        with bar(f"training {run.recipe}", cfg.steps) as advance:
            advance(start)
            for step, batch in enumerate(loop.feed.batches(cfg.steps - start), start=start):
                batch = to_device(batch, loop.accelerator.device)
                losses = loop.step(step, batch)
                done = step + 1
                loop.log(done, losses)
                for callback in every:
                    if done % callback.steps == 0:
                        callback.call(Moment(done, losses, batch, learner))
                best = score is not None and loop.score(done, score)
                stop = loop.any_process(asked.is_set())
                if done % cfg.save_every == 0 or done == cfg.steps or stop or best:
                    loop.save(done)
                advance(1)
                if stop:
                    raise Stopped(f"stopped and saved after step {done}: the same command goes on from here")
        if loop.average is not None:
            loop.average.give()


class _Loop:
    """The state of one call of `fit`."""

    def __init__(
        self,
        learner: Learner,
        rows: Sequence[Any] | Stream,
        cfg: Train,
        run: Run,
        collate: Collate,
        sizes: Sizes | None,
    ) -> None:
        self.feed = Feed(
            rows, batch_size=cfg.batch_size, seed=run.seed, collate=collate, sizes=sizes, bucket=cfg.bucket,
            workers=cfg.workers, timeout=cfg.worker_timeout,
        )  # fmt: skip
        mixed = {"float32": "no", "bfloat16": "bf16"}[cfg.precision]
        self.accelerator = Accelerator(mixed_precision=mixed)
        kind = self.accelerator.distributed_type.value
        if kind != "NO" and not kind.startswith("MULTI_"):
            raise TrainingError(
                f"accelerate is set up for {kind}, and fit trains whole copies of a learner (DDP): take a config with "
                "distributed_type MULTI_GPU or MULTI_CPU, and train.microbatch where memory is short"
            )
        self.learner, self.cfg, self.run = learner, cfg, run
        learner.to(self.accelerator.device)
        self.optimizer = torch.optim.AdamW(_groups(learner, cfg.weight_decay), lr=cfg.lr)
        self.wrapped: nn.Module = self.accelerator.prepare_model(learner)
        self.average = None if cfg.ema is None else Average(learner, cfg.ema)
        self.folder = run.folder / "checkpoints"
        self.skipped = self.seen = self.left_out = 0
        self.scored: tuple[int, float] | None = None
        self.best: tuple[int, float] | None = None
        self.clock = time.perf_counter()

    def resume(self) -> int:
        """Load the newest whole checkpoint; gives the number of steps done."""
        found = checkpoint.newest(self.folder)
        if found is None:
            if rank() == 0:
                self.run.rewind(0)
            return 0
        state, average = checkpoint.load(found, self.learner, self.optimizer)
        if self.average is not None:
            self.average.load(average) if average else self.average.restart()
        self.seen, self.left_out, self.skipped = state["seen"], state["left_out"], state["skipped"]
        self.best = state["best"] and tuple(state["best"])
        if state["step"] > self.cfg.steps:
            raise TrainingError(f"{found} is past train.steps={self.cfg.steps}: ask for more, or take another folder")
        place = Place.from_json(state["place"])
        self.feed.place = place if self._same_data(state["data"], found.name) else Place(place.epoch + 1)
        if rank() == 0:
            self.run.rewind(state["step"])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Write a checkpoint, once for all processes."""
        if rank() == 0:
            state = {
                "seen": self.seen,
                "left_out": self.left_out,
                "skipped": self.skipped,
                "place": self.feed.place.to_json(),
                "data": self.feed.describe(),
                "score": self.scored[1] if self.scored and self.scored[0] == step else None,
                "best": self.best,
            }
            checkpoint.save(
                self.folder, step, self.learner, self.optimizer, state=state, keep=self.cfg.keep,
                average=self.average.values if self.average is not None else None, best=self.best and self.best[0],
            )  # fmt: skip
        self.accelerator.wait_for_everyone()

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """Move the parameters by one batch; gives the losses."""
        self._note_quarantine(batch)
        self.wrapped.train()
        if world_size() > 1:  # else every process would draw the same dropout masks, and a resumed one others
            torch.manual_seed((self.run.seed * self.cfg.steps + step) * world_size() + rank())
        warmup = round(self.cfg.warmup * self.cfg.steps)
        rate = rate_at(step, steps=self.cfg.steps, peak=self.cfg.lr, warmup=warmup, shape=self.cfg.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = {name: buffer.clone() for name, buffer in self.learner.named_buffers()}
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch)
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, self.cfg.clip_norm or float("inf")))
        if math.isfinite(norm):
            self.optimizer.step()
            self.skipped = 0
            if self.average is not None:
                self.average.update()
        else:
            self._skip(step, batch, before)
        values = {name: float(loss) for name, loss in losses.items()}
        return {"loss": sum(values.values()), **values, "lr": rate, "grad_norm": norm}

    def log(self, step: int, losses: dict[str, float]) -> None:
        """One line of metrics, every `log_every` steps and at the end."""
        if rank() == 0 and (step % self.cfg.log_every == 0 or step in (1, self.cfg.steps)):
            now, last = time.perf_counter(), self.clock
            self.clock = now
            self.run.log(step, **losses, **self.learner.levels(), seconds=now - last)

    def score(self, step: int, score: Score) -> bool:
        """Score the learner where it is time to; True where it is the best so far."""
        if step % self.cfg.score_every and step != self.cfg.steps:
            return False
        self.learner.eval()
        with torch.no_grad(), self.average.given() if self.average is not None else nullcontext():
            found = float(score(self.learner))
        self.learner.train()
        self.scored = (step, found)
        if not math.isfinite(found) or (self.best is not None and found <= self.best[1]):
            return False
        self.best = self.scored
        return True

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process, known to all."""
        if world_size() == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor([float(flag)], device=self.accelerator.device))[0] > 0)

    def _same_data(self, before: dict[str, Any], name: str) -> bool:
        now = self.feed.describe()
        if now == before:
            return True
        if not self.run.changed:
            other = [f"{key}: {before.get(key)} -> {now.get(key)}" for key in now if now[key] != before.get(key)]
            raise TrainingError(
                f"{self.run.folder}: {name} was trained on other data ({'; '.join(other)}): put the rows back, take "
                "another folder, or go on with a new epoch of these by --changed"
            )
        return False

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        if self.cfg.microbatch is not None:
            return cached_backward(self.wrapped, batch, self.cfg.microbatch, self.accelerator)
        with self.accelerator.autocast():
            losses: dict[str, Tensor] = self.wrapped(batch)
        self.accelerator.backward(torch.stack(list(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def _skip(self, step: int, batch: Batch, buffers: dict[str, Tensor]) -> None:
        """Leave the parameters as they are, put back what the forward pass did to the buffers, and tell the rows."""
        for name, buffer in self.learner.named_buffers():
            buffer.copy_(buffers[name])
        self.skipped += 1
        names = ", ".join(self.feed.names(batch)) or "not kept"
        self.run.quarantine("*", names, f"step {step + 1}: the gradient is not finite, step skipped")
        if self.skipped >= self.cfg.patience:
            raise TrainingError(
                f"the gradient was not finite in {self.skipped} steps in a row, up to step {step + 1}: "
                f"lower train.lr, or look at the rows listed in {self.run.folder / 'quarantine.jsonl'}"
            )

    def _note_quarantine(self, batch: Batch) -> None:
        left_out = batch.pop("quarantine", [])
        for item in left_out:
            self.run.quarantine(item["column"], item["row"], item["reason"])
        self.left_out += len(left_out)
        self.seen += batch_size(batch) * max(1, sum(hasattr(column, "lengths") for column in batch.values()))
        if self.left_out > self.cfg.quarantine_share * self.seen and self.left_out > 3:
            raise TrainingError(
                f"{self.left_out} of {self.seen} inputs could not be decoded, more than train.quarantine_share="
                f"{self.cfg.quarantine_share:g}: see {self.run.folder / 'quarantine.jsonl'}"
            )


def _groups(learner: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    if not trained:
        raise TrainingError("nothing to train: every parameter of the learner is frozen")
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    others = [parameter for parameter in trained if parameter.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
