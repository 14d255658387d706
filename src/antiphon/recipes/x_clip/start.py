"""The start of X-CLIP: single frames against their captions, and the vectors of texts that stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data.cache import cache_folder
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, encode_once
from antiphon.encoders.space import Branch
from antiphon.encoders.video import VideoTower
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Padded, Views


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
