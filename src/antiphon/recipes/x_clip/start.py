"""The start of X-CLIP: single frames against their captions, and the vectors of texts that stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data.cache import cache_folder
from antiphon.data.collate import INDEX, Collate
from antiphon.encoders import Encoder
from antiphon.encoders.crossframe import Prompts
from antiphon.encoders.features import FeatureCache, Features, encode_once
from antiphon.encoders.pretrained import video_model
from antiphon.encoders.space import Branch
from antiphon.encoders.video import VideoTower
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.recipes.x_clip.rows import Row, holds_vectors
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Padded, Views


@dataclass(frozen=True)
class Start:
    """What is grown: the towers of pictures and texts, prompts where a checkpoint has them, and what reads videos."""

    tower: VideoTower
    text: Branch
    stem: Encoder
    temperature: float
    prompts: Prompts | None
    measures: Measures


def pretrained(
    name: str, frames: int, data: Mapping[str, Dataset], rows: Mapping[str, Sequence[Row]], column: str
) -> Start:
    """A checkpoint's towers, which read videos as they are; each is put into its row, as `video`.

    Args:
        name: of a CLIP or X-CLIP, by hub id or folder.
        frames: of a video.
        data: by split.
        rows: of the same splits.
        column: of videos.

    Raises:
        UserError: the column holds vectors of frames.
    """
    if holds_vectors(data["train"], column):
        raise UserError(f"pretrained={name} reads pixels, {column!r} holds vectors of frames: leave it out")
    model = video_model(name, frames=frames)
    for split, part in data.items():
        for row, item in zip(rows[split], part[column], strict=True):
            row["video"] = item
    model.text.requires_grad_(False)
    return Start(model.tower, model.text, model.tower.stem, model.temperature, model.prompts, {})


class Stills(ContrastiveLearner):
    """The start: single frames against the vectors of their captions."""

    def __init__(self, tower: VideoTower, temperature: float) -> None:
        super().__init__()
        self.tower, self.scale = tower, Scale(temperature)

    def embed(self, batch: Batch) -> Views:
        """Unit views of frames, and what they are of."""
        items: Padded = batch["video"]
        return {
            "still": normalize(self.tower(items).pooled, dim=1),
            "caption": normalize(batch["caption"].values[:, 0], dim=1),
            "label": batch["caption_number"],
            "there": items.present,
        }

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Symmetric InfoNCE; equal captions are positives of each other."""
        views = {name: view[views["there"]] for name, view in views.items()}
        scores = self.scale(views["still"] @ views["caption"].T)
        return {"contrast": symmetric_contrast(scores, same_label(views["label"]))}


@dataclass(frozen=True)
class Captions:
    """What single frames show.

    Args:
        said: by split, of each row.
        numbers: of the distinct captions.
        vectors: `(N, 1, E)`, of each number.
    """

    said: dict[str, list[str]]
    numbers: dict[str, int]
    vectors: Tensor

    @classmethod
    def of(cls, text: Branch, said: dict[str, list[str]]) -> Captions:
        """As the text tower reads them."""
        numbers = {one: at for at, one in enumerate(sorted({one for several in said.values() for one in several}))}
        return cls(said, numbers, vectors_of(text, list(numbers))[:, None])

    def rows(self, split: str, rows: Sequence[Row]) -> list[Row]:
        """The rows with their captions."""
        numbered = [self.numbers[one] for one in self.said[split]]
        return [
            row | {"caption": self.vectors[number], "caption_number": number}
            for row, number in zip(rows, numbered, strict=True)
        ]


def learn_stills(
    stills: Stills, captions: Captions, rows: Mapping[str, Sequence[Row]], run: Run, train: Train, *,
    allowed: Set[str] | None,
) -> Measures:  # fmt: skip
    """Train the start, one frame of each video at a time; gives how well dev's frames find their captions.

    Args:
        captions: of train and dev.
        rows: by split, with `video`.
        run: the start's own.
        train: how it is trained.
        allowed: ids of the training rows that it may see; None for all.
    """
    width = captions.vectors.shape[2]
    collate = Collate(
        {"video": stills.tower.stem, "caption": Features(width, signal="text")}, keep=("caption_number",),
        augment={"video": one_frame(stills.tower.cells)}, seed=run.seed,
    )  # fmt: skip
    told = captions.rows("train", rows["train"])
    fit(stills, [row for row in told if allowed is None or row["id"] in allowed], train, run, collate=collate)
    dev = [row | {INDEX: at} for at, row in enumerate(captions.rows("dev", rows["dev"]))]
    views = views_of(stills, dev, collate)
    found = answers(views["still"], views["caption"], views["label"], views["label"])
    return {f"start/dev/{name}": found[name] for name in ("R@10", "chance R@10")}


def one_frame(cells: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """The cells of a frame by chance."""

    def look(tokens: Tensor, generator: torch.Generator) -> Tensor:
        at = cells * int(torch.randint(len(tokens) // cells, (), generator=generator))
        return tokens[at : at + cells]

    return look


def read(reader: Encoder, texts: list[str]) -> Float[Tensor, "n d"]:
    """The frozen encoder's own vectors of texts, from the cache where they are there."""
    found = encode_once(reader, texts, FeatureCache(cache_folder() / "features"), keep=1)
    return torch.cat([one for one in found if one is not None]).float()


@torch.no_grad()
def vectors_of(text: Branch, texts: list[str]) -> Float[Tensor, "n e"]:
    """Vectors of texts, not of unit length."""
    text.eval()
    parts = [texts[at : at + 64] for at in range(0, len(texts), 64)]
    return torch.cat([text.head(text.encoder(text.encoder.collate(part))) for part in parts])
