"""Items to vectors in batches of like size: texts by characters, recordings by the seconds of their headers.

A batch is cut where its padded size (items x the longest) would pass a budget, so that short items come many at a time
and long ones alone, and what is padded is a few per cent. Texts are read many batches at a time, and cut into batches
by their number of tokens. The order of the items comes back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from antiphon.decode import BadInput
from antiphon.decode.probing import cached_seconds
from antiphon.encoders import Encoder
from antiphon.errors import WrongValue
from antiphon.types import InputCut, Padded

BUDGETS = {"text": 4500.0, "speech": 8.0, "audio": 8.0}
"""Padded size of a batch: characters (about a thousand tokens), seconds. On a processor larger batches are slower, as
what passes between layers no longer fits its cache."""
WINDOW, TOKENS = 16, 1024
"""So many budgets of texts are read at once; then cut into batches of so many tokens, padded."""
DEVICE = 32
"""So many times the budget goes to a device that is no processor."""
MOST = {"text": 512, "speech": 64, "audio": 64}
"""Most items of a batch where the caller names none; 32 of every other signal, whose items are all of one size."""


@torch.inference_mode()
def embed_items(
    encoder: Encoder,
    items: Sequence[Any],
    *,
    forward: Callable[[Padded], Float[Tensor, "b d"]] | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    workers: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda _: None,
) -> Float[Tensor, "n d"]:
    """A vector `(N, D)` for each item, in the items' order; an item's does not depend on the others.

    Args:
        encoder: put into evaluation for the while.
        items: as `encoder.collate` takes them; None gives a zero vector.
        forward: from a batch to a vector each; without it, the encoder's own pooled vector.
        batch_size: most items of a batch; None leaves it to the items' sizes.
        precision: what the model computes in: "float32", or "bfloat16" where the processor or device multiplies it.
        workers: processes that read and decode items, ahead of the model; 0 does it here.
        device: where `forward` runs.
        progress: called with the number of items done since the last call.

    Raises:
        BadInput: an item that cannot be decoded.
        WrongValue: a precision or a number that cannot be.
    """
    if precision not in ("float32", "bfloat16") or workers < 0 or (batch_size is not None and batch_size < 1):
        raise WrongValue(
            f"precision={precision!r}, workers={workers}, batch_size={batch_size}: "
            "wanted float32 or bfloat16, none or more workers, and at least one item"
        )
    call = forward or (lambda batch: encoder(batch).pooled)
    times = 1 if torch.device(device).type == "cpu" else DEVICE
    plan = _plan(items, encoder.signal, batch_size, times)
    half = torch.autocast(torch.device(device).type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
    parts, order = [], []
    with evaluating(encoder), half:
        for places, batch in zip(plan, _collated(encoder, items, plan, workers), strict=True):
            for rows, part in _by_tokens(batch, batch_size, times) if encoder.signal == "text" else [(None, batch)]:
                parts.append(call(part.to(device)).float().cpu())
                order += places if rows is None else [places[row] for row in rows]
                progress(len(part))
        if not parts:
            parts.append(call(encoder.collate([None]).to(device)).float().cpu()[:0])
    return torch.cat(parts)[torch.tensor(order, dtype=torch.int64).argsort()]


def item_sizes(items: Sequence[Any], signal: str) -> list[float]:
    """A cheap size of each item: characters of a text, seconds of a recording by its header; 0 for other signals.

    Raises:
        BadInput: a recording whose header cannot be read.
    """
    if signal == "text":
        return [float(len(item)) if isinstance(item, str) else 0.0 for item in items]
    if signal in ("speech", "audio"):
        return [0.0 if item is None else _seconds(item) for item in items]
    return [0.0] * len(items)


def like_with_like(
    sizes: Sequence[float], signal: str, *, batch_size: int | None = None, times: int = 1
) -> list[list[int]]:
    """Batches of places, from the largest item to the smallest, each within `times` the signal's padded budget.

    An item that is larger than the budget is a batch by itself.
    """
    most = batch_size or times * MOST.get(signal, 32)
    budget = times * BUDGETS.get(signal, float("inf"))
    plan: list[list[int]] = []
    longest = 0.0
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if not plan or len(plan[-1]) == most or (len(plan[-1]) + 1) * longest > budget:
            plan.append([])
            longest = sizes[place]
        plan[-1].append(place)
    return plan


def _plan(items: Sequence[Any], signal: str, batch_size: int | None, times: int) -> list[list[int]]:
    sizes = item_sizes(items, signal)
    if signal == "text":
        return like_with_like(sizes, signal, batch_size=WINDOW * (batch_size or MOST[signal]), times=WINDOW * times)
    return like_with_like(sizes, signal, batch_size=batch_size, times=times)


def _by_tokens(texts: Padded, batch_size: int | None, times: int) -> Iterator[tuple[list[int], Padded]]:
    """Rows of like length, and the batch they make, no wider than its longest."""
    order = texts.lengths.argsort(descending=True, stable=True).tolist()
    lengths = texts.lengths.tolist()
    while order:
        longest = max(1, lengths[order[0]])
        most = min(batch_size or len(order), max(1, times * TOKENS // longest))
        rows, order = order[:most], order[most:]
        yield rows, Padded(texts.values[rows, :longest], texts.lengths[rows])


def _seconds(item: Any) -> float:
    return len(item) / 16_000 if isinstance(item, Tensor) else cached_seconds(item)


def _collated(encoder: Encoder, items: Sequence[Any], plan: list[list[int]], workers: int) -> Iterator[Padded]:
    if workers == 0:
        yield from (encoder.collate([items[place] for place in places]) for places in plan)
        return
    ahead = DataLoader(_Batches(encoder, items, plan), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    for batch, reason, cut in ahead:
        for message in cut:
            warnings.warn(message, InputCut, stacklevel=3)
        if reason is not None:
            raise BadInput(reason)
        yield batch


class _Batches(Dataset[tuple[Padded | None, str | None, list[str]]]):
    """Batches as a worker makes them: a refusal and the warnings travel as text, to be told in the first process."""

    def __init__(self, encoder: Encoder, items: Sequence[Any], plan: list[list[int]]) -> None:
        self.encoder, self.items, self.plan = encoder, items, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, at: int) -> tuple[Padded | None, str | None, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InputCut)
            try:
                batch, reason = self.encoder.collate([self.items[place] for place in self.plan[at]]), None
            except BadInput as error:
                batch, reason = None, str(error)
        return batch, reason, [str(warning.message) for warning in caught if warning.category is InputCut]


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each part goes back to the mode it had."""
    before = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, mode in before.items():
            part.training = mode
