"""Films of X-CLIP's test split, each as it is and backwards, and what it takes them for."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from antiphon.decode import decode_video
from antiphon.evaluation.report.figures import COLOURS
from antiphon.recipes.x_clip.rows import Classes, Row
from antiphon.runs import Run
from antiphon.training.learner import Batch
from antiphon.types import Padded

Shares = Callable[[Batch], Tensor]
"""`(B, K)` of videos and all classes, each line summing to one."""


@torch.inference_mode()
def keep_films(
    run: Run, items: Sequence[Any], batches: Sequence[Batch], frames: int, names: Sequence[str], shares: Shares
) -> None:
    """Films as they are and backwards, and under each the four prompts that are most like it; of no films none.

    Args:
        run: where the picture is kept.
        items: the videos.
        batches: one for each, of this video alone.
        frames: of a video.
        names: of the classes.
        shares: the learner's.
    """
    films = []
    for item, batch in zip(items, batches, strict=True):
        shown, read = decode_video(item, frames), batch["video"]
        back = read.values.reshape(1, frames, -1).flip(1).reshape(read.values.shape)
        for film, values in ((shown, read.values), (shown.flip(0), back)):
            found = shares({**batch, "video": Padded(values, read.lengths)})[0]
            best = found.topk(min(4, len(found)))
            films.append((film, [(names[k], share) for share, k in zip(*map(Tensor.tolist, best), strict=True)]))
    if films:
        caption = "Two films of the test split, each as it is and backwards, and the prompts that are most like them."
        run.picture("films", film_picture(films), caption)


def reversible(rows: Sequence[Row], classes: Classes, *, most: int) -> list[int]:
    """Places of a few rows, far apart, that have a video whose class has a reverse."""
    there = [at for at, row in enumerate(rows) if row["video"] is not None and row["class"] in classes.reverse]
    return there[:: max(1, len(there) // most)][:most]


def film_picture(films: Sequence[tuple[UInt8[Tensor, "t h w 3"], Sequence[tuple[str, float]]]]) -> Markup:
    """Films as strips of frames, and under each the share of each prompt.

    Args:
        films: frames, and prompts with shares that sum to one.
    """
    parts = []
    for frames, shares in films:
        strip = Image.fromarray(torch.cat(list(frames), dim=1).numpy())
        strip.thumbnail((56 * len(frames), 56))
        file = io.BytesIO()
        strip.save(file, "WEBP", quality=70)
        source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
        bars = Markup("").join(
            Markup(
                '<div style="display:flex;gap:.5em;align-items:center"><span style="width:16em">{}</span>'
                '<span style="background:{};height:.7em;width:{}em"></span><span>{}</span></div>'
            ).format(text, COLOURS[0], round(12 * share, 2), f"{share:.2f}")
            for text, share in shares
        )
        parts.append(
            Markup('<div style="margin-bottom:1em"><img src="{}" alt="{} frames of a film"/>{}</div>').format(
                source, len(frames), bars
            )
        )
    return Markup("").join(parts)
