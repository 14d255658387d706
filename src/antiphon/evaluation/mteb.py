"""A space as a model of MTEB, the field's benchmark of embeddings (arXiv 2210.07316), so that its tasks measure it.

    results = mteb.evaluate(MtebModel(Space.load("runs/x/space")), mteb.get_tasks(["STS13"]))

An input of several signals (a picture and its caption) is the mean of its signals' unit vectors, made unit again.
Prompts and instructions of tasks are left out: a space has none.

Axes: N inputs, E width of the space.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data import sources
from antiphon.decode.videos import middles
from antiphon.encoders.heads import identity_head
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space
from antiphon.errors import UserError

SIGNALS = ("text", "image", "audio", "video")
FRAMES = 64
"""At so many even times a video is looked at; an encoder takes those that it wants of them."""


class MtebModel:
    """What `mteb.evaluate` and `mteb.mock_run` take for a model (mteb's `EncoderProtocol`).

    Args:
        space: its branches decide which tasks fit. A branch of speech hears `audio` where there is none of sound.
        name: how the results are called, "owner/name".
    """

    def __init__(self, space: Space, name: str = "antiphon/space") -> None:
        from mteb.models.model_meta import ModelMeta

        self.space = space
        heard = "audio" if "audio" in space.branches else "speech"
        self.branches = {"text": "text", "image": "image", "audio": heard, "video": "video"}
        present = [signal for signal in SIGNALS if self.branches[signal] in space.branches]
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": name, "modalities": present, "embed_dim": space.width, "framework": ["PyTorch"]}
        )

    def encode(self, inputs: Iterable[Mapping[str, Any]], **given: Any) -> Float[np.ndarray, "n e"]:
        """Unit vectors of batches of inputs, in their order.

        Args:
            inputs: batches, each a mapping from signals to as many items.
            given: what mteb tells about the task; none of it changes a vector.

        Raises:
            UserError: inputs of a signal that the space has not, or of none.
        """
        parts = [self._vectors(batch) for batch in inputs]
        return torch.cat(parts).numpy() if parts else np.zeros((0, self.space.width), dtype=np.float32)

    def similarity(self, first: Any, second: Any) -> Float[Tensor, "n m"]:
        """Cosines of all pairs."""
        return _unit(first) @ _unit(second).T

    def similarity_pairwise(self, first: Any, second: Any) -> Float[Tensor, " n"]:
        """Cosines of pairs."""
        return (_unit(first) * _unit(second)).sum(-1)

    def _vectors(self, batch: Mapping[str, Any]) -> Tensor:
        given = [signal for signal in SIGNALS if signal in batch]
        if not given or any(self.branches[signal] not in self.space.branches for signal in given):
            raise UserError(
                f"inputs of {', '.join(sorted(batch))}: the space has {', '.join(sorted(self.space.branches))}"
            )
        found = [
            self.space.embed_column(self.branches[signal], [_item(signal, one) for one in batch[signal]])
            for signal in given
        ]
        return normalize(torch.stack(found).mean(0), dim=1)


def _item(signal: str, item: Any) -> Any:
    """An item as an encoder of the signal takes it: what torchcodec holds, as `datasets` decodes it, is unpacked."""
    if signal == "audio" and hasattr(item, "get_all_samples"):
        samples = item.get_all_samples()
        return {"array": samples.data.mean(0).numpy(), "sampling_rate": samples.sample_rate}
    if signal == "video" and hasattr(item, "get_frames_played_at"):
        times = middles(item.metadata.duration_seconds, FRAMES)
        return item.get_frames_played_at(times).data.permute(0, 2, 3, 1)
    return item


def _unit(vectors: Any) -> Tensor:
    """Unit vectors in rows; a single vector is one row."""
    rows = torch.as_tensor(vectors).float()
    return normalize(rows.reshape(-1, rows.shape[-1]), dim=1)


def bare_space(name: str) -> Space:
    """A published text encoder as a space of its own: its head changes nothing.

    Args:
        name: as `open_encoder` takes it.
    """
    encoder = open_encoder("text", name)
    return Space({"text": Branch(encoder, identity_head(encoder.width))}).eval()


def scores(model: MtebModel, names: Sequence[str]) -> dict[str, float]:
    """The main score of each task, times 100; nothing of earlier runs is read, and nothing kept.

    Raises:
        UserError: no task of a name, or one for which the space lacks a signal.
    """
    import mteb

    found = {}
    for name, task in zip(names, tasks_of(names), strict=True):
        lacking = set(task.metadata.modalities) - set(model.mteb_model_meta.modalities or ())
        if lacking:
            raise UserError(f"{name} wants {', '.join(sorted(lacking))}, which the space has not")
        (result,) = mteb.evaluate(model, [task], cache=None, co2_tracker=False, show_progress_bar=False).task_results
        found[name] = 100 * float(result.get_score())
    return found


def mock_scores(model: MtebModel) -> dict[str, float]:
    """For each of mteb's mock tasks that fits the space 100 if it ran, 0 if it failed.

    Raises:
        UserError: a task that needs a package that is not there.
    """
    import mteb
    from mteb.mocks.mock_run import is_dependency_error
    from mteb.results.task_result import TaskError

    found = {}
    for name, status in mteb.mock_run(model).items():
        if isinstance(status, TaskError) and is_dependency_error(status):
            raise UserError(f"{name}: {status.exception}")
        if status is not None:
            found[name] = 0.0 if isinstance(status, TaskError) else 100.0
    return found


LOCAL_STS = {
    "STS13": ("sts2013", "test"), "STS14": ("sts2014", "test"), "STS15": ("sts2015", "test"),
    "STS16": ("sts2016", "test"), "STSBenchmark": ("stsb", "test"),
}  # fmt: skip
"""Tasks whose rows the source `sts` holds whole, where `ANTIPHON_DATA` has them."""


LOCAL_INTENTS = {"Banking77Classification": "banking77", "CLINC150Classification": "clinc150"}
"""Tasks whose rows the source `intents` holds; mteb itself has none of CLINC150, which is measured as Banking77 is.
Where the rows of test are not there, those of validation are asked, or else a third of training's: a warning tells."""


def tasks_of(names: Sequence[str]) -> list[Any]:
    """The tasks of these names, in their order; with rows of `ANTIPHON_DATA` where it holds them.

    Args:
        names: as mteb calls its tasks, and those of `LOCAL_INTENTS`; `Tatoeba(deu-eng)` is one pair of languages of a
            task of many.

    Raises:
        UserError: no task of a name.
    """
    import mteb

    found = []
    for name in names:
        plain, _, subset = name.partition("(")
        subsets = [subset.removesuffix(")")] if subset else None
        try:
            task = _clinc150() if plain == "CLINC150Classification" else mteb.get_task(plain, hf_subsets=subsets)
        except KeyError:
            raise UserError(
                f"mteb has no task {plain!r}: python -c 'import mteb; print(*mteb.get_tasks())' lists them"
            ) from None
        rows = _local(plain, subsets)
        if rows is None and plain == "CLINC150Classification":
            raise UserError("CLINC150Classification wants ANTIPHON_DATA with dialog/clinc150.train.tsv and .test.tsv")
        if rows is not None:
            task.dataset, task.data_loaded = rows, True
        found.append(task)
    return found


def _local(name: str, subsets: list[str] | None) -> dict[str, Any] | None:
    """A task's rows from a local source, in mteb's columns; None where there is no file of them.

    Raises:
        DataError: a file that is there and cannot be read.
    """
    if name in LOCAL_STS:
        task, split = LOCAL_STS[name]
        if not _there("sts", f"{task}.{split}.tsv"):
            return None
        rows = sources.load("sts", task=task, split=split)
        columns = {"sentence1": rows["text_1"], "sentence2": rows["text_2"], "score": rows["score"]}
        return {"test": Dataset.from_dict({key: list(column) for key, column in columns.items()})}
    if name in LOCAL_INTENTS:
        return _intents(LOCAL_INTENTS[name])
    languages = [subset.removesuffix("-eng") for subset in subsets or ()]
    if name == "Tatoeba" and languages and all(_there("tatoeba", f"{code}-eng.tsv") for code in languages):
        return {f"{code}-eng": {"test": _translated(code)} for code in languages}
    return None


def _intents(name: str) -> dict[str, Any] | None:
    """Rows of training and of test, or what stands for it; labels are numbers in the order of the intents' names."""
    there = [split for split in ("train", "test", "val") if _there("dialog", f"{name}.{split}.tsv")]
    if "train" not in there:
        return None
    rows = {split: sources.load("intents", sets=[name], split=split)[:] for split in there}
    known, asked = rows["train"], rows.get("test")
    if asked is None and "val" in rows:
        asked = rows["val"]
        _stands_for_test(name, "its validation rows")
    elif asked is None:
        place = dict.fromkeys(known["intent"], 0)
        held = []
        for intent in known["intent"]:
            place[intent] += 1
            held.append(place[intent] % 3 == 0)
        known, asked = (_where(known, [kept is side for kept in held]) for side in (False, True))
        _stands_for_test(name, "every third training row of an intent, which is held out")
    numbers = {intent: number for number, intent in enumerate(sorted(set(known["intent"])))}
    return {
        split: Dataset.from_dict({"text": part["text"], "label": [numbers[intent] for intent in part["intent"]]})
        for split, part in (("train", known), ("test", asked))
    }


def _stands_for_test(name: str, what: str) -> None:
    warnings.warn(f"ANTIPHON_DATA has no dialog/{name}.test.tsv: asked are {what}", stacklevel=2)


def _where(rows: dict[str, list[Any]], kept: list[bool]) -> dict[str, list[Any]]:
    return {name: list(compress(column, kept)) for name, column in rows.items()}


def _clinc150() -> Any:
    """CLINC150 as a task of mteb: its 150 intents, without what is out of scope."""
    from mteb.abstasks import AbsTaskClassification
    from mteb.abstasks.task_metadata import TaskMetadata

    class CLINC150Classification(AbsTaskClassification):
        metadata = TaskMetadata(
            name="CLINC150Classification",
            description="Utterances to an assistant, labelled by 150 intents.",
            reference="https://aclanthology.org/D19-1131",
            dataset={"path": "clinc/clinc_oos", "revision": "local"},
            type="Classification",
            category="t2c",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="accuracy",
        )
        samples_per_label = 8
        n_experiments = 10

    return CLINC150Classification()


def _there(folder: str, file: str) -> bool:
    return Path(os.environ.get("ANTIPHON_DATA", "nowhere"), folder, file).is_file()


def _translated(language: str) -> Dataset:
    rows = sources.load("tatoeba", languages=[language])
    return Dataset.from_dict({"sentence1": list(rows[f"text_{language}"]), "sentence2": list(rows["text_eng"])})
