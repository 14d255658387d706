"""`fit`: the loop. Batches, clip, schedule, log, checkpoint, resume; one process or many, by accelerate.

What every accelerate user must know, and what is done about it here:
the scheduler is a pure function of the step and is never `prepare`d (it would step once per process); batches are cut
per process here, not dispatched; gathers with a gradient are in `distributed.py`; the unwrapped state dict is saved.

The order of rows is a pure function of (seed, epoch), and a row's augmentation of (seed, epoch, row): so a
resumed run needs no state of the data, and the number of workers changes nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from antiphon.config import Config
from antiphon.data.sampling import batches
from antiphon.distributed import rank, world_size
from antiphon.errors import Stopped, UserError
from antiphon.progress import bar
from antiphon.runs import Run
from antiphon.training import checkpoint
from antiphon.training.gradcache import cached_backward
from antiphon.training.learner import Batch, Learner, batch_size, to_device
from antiphon.training.schedule import Shape, rate_at

Collate = Callable[[list[dict[str, Any]]], Batch]


class Train(Config):
    """How parameters move."""

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 128
    """Rows of a step, over all processes."""
    bucket: NonNegativeInt = 50
    """Where the rows' sizes are known: so many batches' worth of shuffled rows are sorted by size before they are cut,
    which saves padding; 0 leaves them as they are."""
    microbatch: PositiveInt | None = None
    """Rows embedded at a time, with GradCache; None embeds the batch at once."""
    lr: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.01
    """On matrices only: not on biases, norms and scalars."""
    warmup: float = 0.05
    """Share of the steps."""
    schedule: Shape = "cosine"
    clip_norm: PositiveFloat | None = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    workers: NonNegativeInt = 0
    log_every: PositiveInt = 10
    save_every: PositiveInt = 500
    keep: PositiveInt = 2
    """Checkpoints kept."""
    patience: PositiveInt = 5
    """Steps in a row whose gradient is not finite (each is skipped and reported) before the run stops."""
    quarantine_share: float = 0.05
    """The run stops when more than this share of the items seen could not be decoded."""


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
    rows: Sequence[Any],
    cfg: Train,
    run: Run,
    *,
    collate: Collate,
    sizes: Sequence[float] | None = None,
    every: Sequence[Every] = (),
) -> None:
    """Train `learner` on `rows` in place, going on from the run's newest whole checkpoint.

    Args:
        learner: its losses are summed and minimised by AdamW.
        rows: anything with a length that gives a dict by index (a `datasets.Dataset`, a list).
        cfg: how.
        run: where metrics, checkpoints and the quarantine list go; its seed orders the rows.
        collate: rows to a batch (`data.collate.by_column`); it may add "quarantine", a list of what it left out.
        sizes: of the rows (seconds, tokens), to batch like with like.
        every: callbacks.

    Raises:
        TrainingError: no rows, too many bad inputs, or too many steps without a finite gradient.
        RunError: another process trains in this folder.
        Stopped: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    if sizes is not None and len(sizes) != len(rows):
        raise ValueError(f"{len(sizes)} sizes for {len(rows)} rows: give one for each")
    if len(rows) == 0:
        raise TrainingError("no rows to train on: look at the split and at the columns that rows must have")
    with run.lock() if rank() == 0 else _nothing(), _asked_to_stop() as asked:
        loop = _Loop(learner, rows, cfg, run, collate, sizes)
        start = loop.resume()
        with bar(f"training {run.recipe}", cfg.steps) as advance:
            advance(start)
            for step, batch in enumerate(loop.batches_from(start), start=start):
                losses = loop.step(step, batch)
                done = step + 1
                loop.log(done, losses)
                for callback in every:
                    if done % callback.steps == 0:
                        callback.call(Moment(done, losses, batch, learner))
                stop = loop.any_process(asked.is_set())
                if done % cfg.save_every == 0 or done == cfg.steps or stop:
                    loop.save(done)
                advance(1)
                if stop:
                    raise Stopped(f"stopped and saved after step {done}: the same command goes on from here")


class _Loop:
    """The state of one call of `fit`."""

    def __init__(
        self,
        learner: Learner,
        rows: Sequence[Any],
        cfg: Train,
        run: Run,
        collate: Collate,
        sizes: Sequence[float] | None,
    ) -> None:
        mixed = {"float32": "no", "bfloat16": "bf16"}[cfg.precision]
        self.accelerator = Accelerator(mixed_precision=mixed)
        self.learner, self.rows, self.cfg, self.run, self.collate = learner, rows, cfg, run, collate
        self.sizes = sizes if cfg.bucket else None
        learner.to(self.accelerator.device)
        self.optimizer = torch.optim.AdamW(_groups(learner, cfg.weight_decay), lr=cfg.lr)
        self.wrapped: nn.Module = self.accelerator.prepare_model(learner)
        self.folder = run.folder / "checkpoints"
        self.skipped = self.seen = self.left_out = 0
        self.clock = time.perf_counter()

    def resume(self) -> int:
        """Load the newest whole checkpoint; gives the number of steps done."""
        found = checkpoint.newest(self.folder)
        if found is None:
            return 0
        state = checkpoint.load(found, self.learner, self.optimizer)
        self.seen, self.left_out = state["seen"], state["left_out"]
        if rank() == 0:
            self.run.rewind(state["step"])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Write a checkpoint, once for all processes."""
        if rank() == 0:
            counts = {"seen": self.seen, "left_out": self.left_out}
            checkpoint.save(self.folder, step, self.learner, self.optimizer, keep=self.cfg.keep, **counts)
        self.accelerator.wait_for_everyone()

    def batches_from(self, step: int) -> Iterator[Batch]:
        """This process's part of every batch from `step` on, epoch after epoch."""
        while step < self.cfg.steps:
            epoch, skip = divmod(step, self._per_epoch)
            plan = self._plan(epoch)[skip : skip + self.cfg.steps - step]
            loader = DataLoader(
                _Rows(self.rows, epoch),
                batch_sampler=[_share(batch) for batch in plan],
                collate_fn=self.collate,
                num_workers=self.cfg.workers,
                generator=torch.Generator().manual_seed(0),  # the loader draws a seed that nothing here uses
            )
            for batch in loader:
                yield to_device(batch, self.accelerator.device)
            step += len(plan)

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
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch)
        norm = float(nn.utils.clip_grad_norm_(self.learner.parameters(), self.cfg.clip_norm or float("inf")))
        if norm == norm and norm != float("inf"):
            self.optimizer.step()
            self.skipped = 0
        else:
            self._skip(step, batch)
        values = {name: float(loss) for name, loss in losses.items()}
        return {"loss": sum(values.values()), **values, "lr": rate, "grad_norm": norm}

    def log(self, step: int, losses: dict[str, float]) -> None:
        """One line of metrics, every `log_every` steps and at the end."""
        if rank() == 0 and (step % self.cfg.log_every == 0 or step in (1, self.cfg.steps)):
            now, last = time.perf_counter(), self.clock
            self.clock = now
            self.run.log(step, **losses, **self.learner.levels(), seconds=now - last)

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process, known to all."""
        if world_size() == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor([float(flag)], device=self.accelerator.device))[0] > 0)

    @property
    def _per_epoch(self) -> int:
        return len(self._plan(0))

    def _plan(self, epoch: int) -> list[list[int]]:
        size = min(self.cfg.batch_size, len(self.rows))
        seed = self.run.seed
        if self.sizes is None:
            return batches(len(self.rows), batch_size=size, seed=seed, epoch=epoch, drop_last=True)
        bucket = self.cfg.bucket
        return batches(self.sizes, batch_size=size, seed=seed, epoch=epoch, drop_last=True, bucket=bucket)

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        if self.cfg.microbatch is not None:
            return cached_backward(self.wrapped, batch, self.cfg.microbatch, self.accelerator)
        with self.accelerator.autocast():
            losses: dict[str, Tensor] = self.wrapped(batch)
        self.accelerator.backward(torch.stack(list(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def _skip(self, step: int, batch: Batch) -> None:
        self.skipped += 1
        if rank() == 0:
            rows = batch["row"].tolist() if isinstance(batch.get("row"), Tensor) else "not kept"
            self.run.quarantine("*", str(rows), f"step {step + 1}: the gradient is not finite, step skipped")
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


class _Rows(Dataset[dict[str, Any]]):
    """Rows that know their place and epoch, for per-row seeds."""

    def __init__(self, rows: Sequence[Any], epoch: int) -> None:
        self.rows, self.epoch = rows, epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.rows[index], "__index__": index, "__epoch__": self.epoch}


def _share(batch: list[int]) -> list[int]:
    """This process's contiguous part of a batch: gathered in the order of ranks, the parts are the batch again."""
    start, end = (len(batch) * part // world_size() for part in (rank(), rank() + 1))
    return batch[start:end]


def _groups(learner: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    if not trained:
        raise TrainingError("nothing to train: every parameter of the learner is frozen")
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    others = [parameter for parameter in trained if parameter.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets: the loop ends after the step it is in, with a checkpoint."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: asked.set())
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
