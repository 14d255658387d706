"""What ProtoCLIP does to pictures: its augmentation, and the picture of its prototypes."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Bool, Float, Int
from markupsafe import Markup
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.data.augment import uniform
from antiphon.data.augment.image import colour_jitter, crop, flip
from antiphon.decode import BadInput, decode_image
from antiphon.recipes.protoclip.episodes import Groups
from antiphon.runs import Run
from antiphon.types import Views

SIDE = 44
"""Of a thumbnail, in pixels: thirty of them are some 50 KB."""


def changed(item: Any, generator: torch.Generator) -> Image.Image:
    """The paper's augmentation: a part of half the area or more, turned; sometimes other colours, grey, or blurred."""
    picture = flip(crop(decode_image(item), generator, size=256, scale=(0.5, 1.0)), generator)
    if uniform(0, 1, generator) < 0.2:
        picture = colour_jitter(picture, generator)
    if uniform(0, 1, generator) < 0.2:
        picture = ImageOps.grayscale(picture).convert("RGB")
    if uniform(0, 1, generator) < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(uniform(0.5, 2.0, generator)))
    return picture


def keep_prototypes(run: Run, group: Groups, views: Views, rows: Dataset) -> None:
    """A picture of the text side's clusters as prototypes of pictures: those nearest to each.

    Args:
        run: where it is kept.
        group: the text side's clusters of an episode.
        views: of its rows.
        rows: the same, as the source gives them.
    """
    places = nearest(
        group.labels, group.prototypes("image"), views["further_image"], views["has_image"], most=6
    )  # fmt: skip
    drawn = [[rows[place] for place in members] for members in places]
    shown = [([row["image"] for row in members[:6]], [row["text"] for row in members]) for members in drawn]
    said = "What the image side is to guess: the means of its own vectors over the six largest clusters of captions."
    run.picture("prototypes", prototypes(shown), said)


def prototypes(rows: Sequence[tuple[Sequence[Any], Sequence[str | None]]]) -> Markup:
    """A line for each prototype: its members' most frequent words, and thumbnails.

    Args:
        rows: of each prototype its members' pictures and captions, the nearest first.
    """
    lines = []
    for pictures, captions in rows:
        words = Counter(
            word for caption in captions if caption for word in dict.fromkeys(caption.lower().replace(",", " ").split())
        )
        often = ", ".join(word for word, _ in words.most_common(5))
        row = '<tr><td>{}</td><td style="white-space:nowrap;min-width:18em">{}</td></tr>'
        line = Markup(row).format(often, Markup("").join(map(_thumbnail, pictures)))
        lines.append(line)
    head = Markup("<tr><th>the captions' words</th><th>pictures nearest to the prototype</th></tr>")
    return Markup("<table>{}{}</table>").format(head, Markup("").join(lines))


def nearest(
    labels_M: Int[Tensor, " m"],
    prototypes_KD: Float[Tensor, "k d"],
    vectors_MD: Float[Tensor, "m d"],
    there_M: Bool[Tensor, " m"],
    *,
    most: int,
) -> list[list[int]]:
    """The members of the `most` largest clusters, those nearest to the prototype first; such as are not there last."""
    cosines_M = (vectors_MD * normalize(prototypes_KD, dim=1)[labels_M]).sum(1).masked_fill(~there_M, -torch.inf)
    found = []
    for cluster in torch.bincount(labels_M).argsort(descending=True, stable=True)[:most]:
        members = (labels_M == cluster).nonzero()[:, 0]
        found.append(members[cosines_M[members].argsort(descending=True, stable=True)].tolist())
    return found


def _thumbnail(item: Any) -> Markup:
    if item is None:
        return Markup("")
    try:
        picture = ImageOps.pad(decode_image(item, size=2 * SIDE), (SIDE, SIDE), color="white")
    except BadInput:
        return Markup("")
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=70, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    # inline: the pages' theme puts every picture of a figure on a line of its own
    shown = '<img alt="" style="display:inline" width="{0}" height="{0}" src="data:image/jpeg;base64,{1}">'
    return Markup(shown).format(SIDE, data)
