"""Texts that many rows ask for, encoded once where their encoder is frozen.

Axes: N texts, E width of the space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features, encode_once
from antiphon.encoders.heads import unit
from antiphon.encoders.space import Branch
from antiphon.progress import bar


class Items:
    """What stands in a row in the place of a text: what a frozen encoder makes of it, or the text itself.

    Args:
        encoder: of texts.
        texts: all that will be asked for.
        cache: of the frozen encoder's vectors; None: it is not frozen, and texts stand for themselves.
        keep: so many means of stretches of the tokens are kept of a text; 0 keeps every token.
    """

    def __init__(self, encoder: Encoder, texts: Iterable[str], cache: FeatureCache | None, *, keep: int = 1) -> None:
        self.encoder, self.locked = encoder, cache is not None
        known = list(dict.fromkeys(texts))
        found: Sequence[Any] = known
        if cache is not None:
            with bar("encoding texts", len(known)) as advance:
                found = encode_once(encoder, known, cache, keep=keep, size=len, progress=advance)
        self.of: Mapping[str, Any] = dict(zip(known, found, strict=True))

    def stand_in(self) -> Encoder:
        """What reads these items in a learner."""
        return Features(self.encoder.width, signal="text") if self.locked else self.encoder

    @torch.inference_mode()
    def vectors(self, branch: Branch, texts: Sequence[str]) -> Float[Tensor, "n e"]:
        """Unit vectors of these texts by a branch over what stands for them."""
        was = branch.training
        branch.eval()
        device = next(branch.head.parameters()).device
        parts = [[self.of[text] for text in texts[at : at + 256]] for at in range(0, len(texts), 256)]
        found = [unit(branch(branch.encoder.collate(part).to(device))).cpu() for part in parts]
        branch.train(was)
        return torch.cat(found)
