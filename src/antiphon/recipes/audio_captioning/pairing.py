"""The space that stands in for CLAP: a head for sounds, against a fixed map of a frozen text model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn

from antiphon.data.cache import cache_folder
from antiphon.data.collate import Collate
from antiphon.data.pairs import expand
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.space import Branch, branches_of
from antiphon.encoders.towers import encode_columns, prepare_heads
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.runs import Run
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

VARIANTS = 30
"""So many captions of a kind take turns as the text of its sounds."""


class Pairing(ContrastiveLearner):
    """The space, over encoded items.

    Args:
        inputs: by signal, in the place of the frozen encoders.
        width: of the space.
        temperature: where the scale starts.
    """

    def __init__(self, inputs: Mapping[str, Encoder], width: int, temperature: float) -> None:
        super().__init__()
        heard = HeadConfig(norm="standard", hidden=256, dropout=0.1)
        heads = {
            name: Head(one.width, width, HeadConfig(norm="none", map="pca") if name == "text" else heard)
            for name, one in inputs.items()
        }
        self.branches = nn.ModuleDict({name: Branch(one, heads[name]) for name, one in inputs.items()})
        self.scale = Scale(temperature)

    def embed(self, batch: Batch) -> Views:
        """Unit views of both, and the kind."""
        views: Views = {name: branch(batch[name]) for name, branch in branches_of(self.branches).items()}
        both = torch.stack([batch[name].present for name in self.branches]).all(0)
        return views | {"label": batch["label"], "both": both}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Symmetric InfoNCE; rows of one kind are positives of each other."""
        both, (sound, text) = views["both"], (views[name] for name in self.branches)
        scores = self.scale(sound[both] @ text[both].T)
        return {"contrast": symmetric_contrast(scores, same_label(views["label"][both]))}


def paired_rows(
    learner: Pairing,
    sounds: Dataset,
    texts: Dataset,
    towers: Mapping[str, Encoder],
    *,
    classes: str | None,
    keep: Mapping[str, int],
    run: Run,
) -> tuple[list[dict[str, Any]], Collate]:
    """Rows of a sound and the texts that take turns beside it, encoded; and what makes batches of them.

    Args:
        learner: its heads see the rows, where they measure them.
        sounds: of training.
        texts: captions by kind; without `classes`, the same rows as `sounds`.
        towers: the frozen encoders, by signal.
        classes: the column of kinds; None pairs each sound with its own text.
        keep: how many means of stretches of tokens are cached, by signal.
        run: where what cannot be read is noted.
    """
    (sound,) = set(towers) - {"text"}
    rows, cache = list(sounds.select_columns(["id", "label"])), FeatureCache(cache_folder() / "features")
    written: list[dict[str, Any]] = [{"id": str(at)} for at in range(len(texts))]
    (column, *_) = expand((sound,), sounds.column_names)
    for signal, of, data, name in ((sound, rows, sounds, column), ("text", written, texts, "text")):
        encode_columns(
            {"train": of}, {"train": data}, [name], towers[signal], cache, keep=keep[signal], refused=run.quarantine
        )
    branches = branches_of(learner.branches)
    prepare_heads({"text": branches["text"]}, written, {"text": "text"})
    prepare_heads({sound: branches[sound]}, rows, {column: sound})
    if classes is None:
        for row, text in zip(rows, written, strict=True):
            row["text_0"] = text["text"]
        names: tuple[str, ...] = ("text_0",)
    else:
        names = _by_kind(rows, list(sounds[classes]), [text["text"] for text in written], list(texts[classes]))
    inputs = {name: Features(one.width, signal=name) for name, one in towers.items()}
    return rows, Collate(inputs, keep=("label",), of={sound: column, "text": names}, seed=run.seed)


def _by_kind(rows: list[dict[str, Any]], own: list[str], texts: list[Tensor], kinds: list[str]) -> tuple[str, ...]:
    """Put up to `VARIANTS` texts of its kind into each row; rows of one kind have one label. Gives the columns."""
    by_kind: dict[str, list[Tensor]] = {}
    for text, kind in zip(texts, kinds, strict=True):
        by_kind.setdefault(kind, []).append(text)
    kept = {kind: of_one[:: max(1, len(of_one) // VARIANTS)][:VARIANTS] for kind, of_one in by_kind.items()}
    names = sorted(set(own))
    for row, kind in zip(rows, own, strict=True):
        found = kept.get(kind, [])
        row.update({f"text_{at}": found[at] if at < len(found) else None for at in range(VARIANTS)})
        row["label"] = names.index(kind)
    return tuple(f"text_{at}" for at in range(VARIANTS))
