"""One GradCache step of MiniLM on 1,024 pairs of ragged sentences, against sentence-transformers' cached loss.

Both embed twice, 32 texts at a time (ours 16 pairs, the peer 32 of one side), and take one step of AdamW; neither step
counts tokenisation. Both cut the padding that all texts of a micro-batch share; ours also takes the pairs in the order
of their length, which the loss does not depend on. The peer's trainer keeps the order it is given.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.encoders.text import TransformersText
from antiphon.encoders.weights import wheel_path
from antiphon.objectives.tiled import contrast_tiled
from antiphon.training.gradcache import cached_backward
from antiphon.training.learner import Batch, ContrastiveLearner, split
from antiphon.types import Views
from benchmarks.measuring import Row, extra_memory, seconds

PAIRS, TEXTS, SCALE = 1024, 32, 20.0
MODEL = "all-MiniLM-L6-v2"
PEER = "CachedMultipleNegativesRankingLoss in the trainer of sentence-transformers"


def sentences() -> tuple[list[str], list[str]]:
    """Pairs of sentences of about the same meaning, drawn from the STS sets.

    Raises:
        FileNotFoundError: no folder of data is named.
    """
    folder = Path(os.environ.get("ANTIPHON_DATA", "nowhere")) / "sts"
    if not folder.is_dir():
        raise FileNotFoundError("this row needs the STS sets: ANTIPHON_DATA=FOLDER, with FOLDER/sts/*.tsv")
    lines = [
        line.split("\t") for path in sorted(folder.glob("*.tsv")) for line in path.read_text("utf-8").splitlines()[1:]
    ]
    chosen = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))[:PAIRS].tolist()
    return [lines[row][-2] for row in chosen], [lines[row][-1] for row in chosen]


class Sentences(ContrastiveLearner):
    """MiniLM, and the symmetric loss that the peer is given too."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TransformersText(MODEL)

    def embed(self, batch: Batch) -> Views:
        return {name: normalize(self.encoder(column).pooled, dim=1) for name, column in batch.items()}

    def losses(self, views: Views) -> dict[str, Tensor]:
        return {"contrast": contrast_tiled(views["left"], views["right"], scale=SCALE)}


def ours() -> Callable[[], float]:
    """Gives the seconds of one step."""
    learner = Sentences().train()
    left, right = sentences()
    batch = {"left": learner.encoder.collate(left), "right": learner.encoder.collate(right)}
    optimiser = torch.optim.AdamW(learner.parameters(), lr=5e-5)
    accelerator = Accelerator(cpu=True)

    def step() -> None:
        cached_backward(learner, batch, TEXTS // 2, accelerator)
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return lambda: seconds(step)


def peer() -> Callable[[], float]:
    """Gives the seconds of one step of its trainer, without what comes before and after."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import TrainerCallback

    transformer = Transformer(str(wheel_path(MODEL)))
    model = SentenceTransformer(modules=[transformer, Pooling(384, pooling_mode="mean")], device="cpu")
    loss = CachedMultipleNegativesRankingLoss(
        model, scale=SCALE, mini_batch_size=TEXTS, directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )  # fmt: skip
    took: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *given: Any, **named: Any) -> None:
            took.append(-time.perf_counter())

        def on_step_end(self, *given: Any, **named: Any) -> None:
            took[-1] += time.perf_counter()

    def step() -> float:
        left, right = sentences()
        with tempfile.TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder, per_device_train_batch_size=PAIRS, max_steps=1, report_to="none", use_cpu=True,
                save_strategy="no", logging_strategy="no", disable_tqdm=True,
            )  # fmt: skip
            SentenceTransformerTrainer(
                model=model, args=arguments, train_dataset=Dataset.from_dict({"left": left, "right": right}), loss=loss,
                callbacks=[Clock()],
            ).train()  # fmt: skip
        return took[-1]

    return step


def padding() -> tuple[float, float]:
    """Positions over tokens: in our micro-batches, and in those of the given order."""
    encoder = TransformersText(MODEL)
    batch = {name: encoder.collate(texts) for name, texts in zip(("left", "right"), sentences(), strict=True)}
    tokens = sum(int(column.lengths.sum()) for column in batch.values())
    ours = sum(column.values.numel() for part in split(batch, TEXTS // 2) for column in part.values())
    theirs = sum(int(part.max()) * len(part) for column in batch.values() for part in column.lengths.split(TEXTS))
    return ours / tokens, theirs / tokens


def step() -> Row:
    """Seconds of one step; the memory of both is in the details."""
    mine, theirs = ours(), peer()
    took, peer_took = (min(times) for times in zip(*[(mine(), theirs()) for _ in range(2)], strict=True))
    memory, peer_memory = extra_memory("gradcache:ours"), extra_memory("gradcache:peer")
    waste, peer_waste = padding()
    return Row(
        took, peer_took, "s", PEER, 0.6, "at most",
        bound=f"two forward passes and a backward one over the real tokens, which ours pads to {waste:.3f} times as "
        f"many positions, and the given order to {peer_waste:.3f}",
        details={"memory_mib": memory, "peer_memory_mib": peer_memory, "pairs": PAIRS, "texts_at_a_time": TEXTS},
    )  # fmt: skip


ROWS: dict[str, Callable[[], Row]] = {"gradcache-minilm-1024": step}
