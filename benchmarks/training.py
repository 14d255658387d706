"""Training steps: two towers on ragged pairs of texts, against the trainer of sentence-transformers; and `fit` bare."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from antiphon.data.cache import DataError
from benchmarks.measuring import Row, in_turns, paired_ratio, seconds, version
from benchmarks.sentences import docstrings, sts_pairs

BATCH, STEPS = 32, 12


def step() -> Row:
    """MiniLM on both sides of a pair, cosines x 20, softmax over the batch: both train one epoch of the same rows."""
    from antiphon.encoders.text import TransformersText

    pairs, source = _pairs(STEPS * BATCH)
    encoder = TransformersText("all-MiniLM-L6-v2", max_tokens=256)
    took, theirs = in_turns(lambda: _fit(encoder, pairs, STEPS), _their_trainer(pairs), rounds=2, warm=0)
    return Row(
        ours=STEPS * BATCH / took,
        peer=STEPS * BATCH / theirs,
        unit="pairs/s",
        peer_name=version("sentence-transformers"),
        reach=1.3,
        want="at least",
        bound="the products of matrices of forward and backward, on padded tokens: see padded_over_real",
        details={"texts": source, "batch": BATCH, "steps": STEPS, "padded_over_real": _waste(pairs)},
    )


def overhead() -> Row:
    """`fit` against a hand-written loop over the same batches, the same steps of AdamW and the same clipping.

    One thread, processor time: the checkpoint that `fit` writes at its end is flushed to the disk, which takes a time
    that no loop changes; its seconds are in the details.
    """
    from antiphon.encoders.text import ByteText

    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder, steps = ByteText("tiny", dropout=0.0), 40
    pairs, source = _pairs(steps * BATCH)
    sides: list[Callable[[], Any]] = [lambda: _fit(encoder, pairs, steps), lambda: _bare(encoder, pairs, steps)]
    ratio = paired_ratio(*sides, rounds=7, clock=time.process_time)
    return Row(
        ours=ratio,
        peer=1.0,
        unit="x the processor time of the bare loop (median of pairs)",
        peer_name="a hand-written loop",
        reach=1.03,
        want="at most",
        bound="what `fit` adds to a step: the line of metrics, the check of the gradient, the row's place",
        details={"texts": source, "steps": steps, "batch": BATCH, "wall_seconds": [seconds(side) for side in sides]},
    )


def _pairs(count: int) -> tuple[list[tuple[str, str]], str]:
    try:
        pairs, source = sts_pairs(), "STS pairs"
    except DataError:
        pairs, source = [(name, said[:600]) for name, said in docstrings()], "docstrings of the standard library"
    random.Random(0).shuffle(pairs)
    return pairs[:count], source


def _sizes(pairs: list[tuple[str, str]]) -> list[float]:
    return [float(max(len(one), len(other))) for one, other in pairs]


def _learner(encoder: Any) -> Any:
    from antiphon.encoders.heads import unit
    from antiphon.objectives.contrast import contrast
    from antiphon.training.learner import Batch, ContrastiveLearner
    from antiphon.types import Views

    class Pairs(ContrastiveLearner):
        def __init__(self) -> None:
            super().__init__()
            self.text = encoder

        def embed(self, batch: Batch) -> Views:
            return {side: unit(self.text(batch[side]).pooled) for side in ("one", "other")}

        def losses(self, views: Views) -> dict[str, torch.Tensor]:
            return {"loss": contrast(20.0 * views["one"] @ views["other"].T)}

    return Pairs()


def _rows(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"one": one, "other": other} for one, other in pairs]


def _train(steps: int) -> Any:
    from antiphon.training.fit import Train

    return Train(steps=steps, batch_size=BATCH, lr=2e-5, warmup=0.0, log_every=500, save_every=10_000)


def _fit(encoder: Any, pairs: list[tuple[str, str]], steps: int) -> None:
    from antiphon.config import Config
    from antiphon.data.collate import by_column
    from antiphon.runs import Run
    from antiphon.training.fit import fit

    with TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", Config())
        collate = by_column(one=encoder, other=encoder)
        fit(_learner(encoder).train(), _rows(pairs), _train(steps), run, collate=collate, sizes=_sizes(pairs))


def _bare(encoder: Any, pairs: list[tuple[str, str]], steps: int) -> None:
    from antiphon.data.sampling import batches

    learner = _learner(encoder).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-5)
    plan = batches(_sizes(pairs), batch_size=BATCH, seed=0, epoch=0, drop_last=True, bucket=50)
    for places in plan[:steps]:
        rows = [pairs[place] for place in places]
        batch = {"one": encoder.collate([row[0] for row in rows]), "other": encoder.collate([row[1] for row in rows])}
        loss = learner(batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def _their_trainer(pairs: list[tuple[str, str]]) -> Callable[[], Any]:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from antiphon.encoders.weights import wheel_path

    model = SentenceTransformer(str(wheel_path("all-MiniLM-L6-v2")), device="cpu")
    rows = Dataset.from_dict({"one": [one for one, _ in pairs], "other": [other for _, other in pairs]})

    def run() -> None:
        with TemporaryDirectory() as folder:
            how = SentenceTransformerTrainingArguments(
                output_dir=folder, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=2e-5,
                report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
            )  # fmt: skip
            loss = MultipleNegativesRankingLoss(model)
            SentenceTransformerTrainer(model=model, args=how, train_dataset=rows, loss=loss).train()

    return run


def _waste(pairs: list[tuple[str, str]]) -> dict[str, float]:
    from antiphon.data.sampling import batches, padding_waste

    found = {}
    for name, bucket in (("ours", 50), ("theirs", None)):
        plan = batches(_sizes(pairs), batch_size=BATCH, seed=0, epoch=0, drop_last=True, bucket=bucket)
        sides = [padding_waste(plan, [float(len(pair[side])) for pair in pairs]) for side in (0, 1)]
        found[name] = sum(sides) / 2
    return found


ROWS = {"train-step": step, "fit-overhead": overhead}
