"""What TeminAL goes on from: GRUs over frozen encoders, trained here, or the towers of a CLAP checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.encoders import Encoder
from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.pretrained import clap_space
from antiphon.encoders.sequence import Recurrent
from antiphon.encoders.space import Branch, branches_of
from antiphon.recipes.teminal.rows import Encode, as_they_are, from_cache


@dataclass(frozen=True)
class Start:
    """Branches that learn, and what stands in a row in the place of each signal's items."""

    branches: dict[str, Branch]
    encode: dict[str, Encode]
    temperature: float
    towers: Mapping[str, Encoder]
    """What gives the GRUs their tokens; of a checkpoint none, for its towers learn as a whole."""

    def whole(self) -> dict[str, Branch]:
        """The branches over the items themselves, as a space keeps them."""
        return {
            name: Branch(branch.encoder.over(self.towers[name]), branch.head)
            if isinstance(branch.encoder, Recurrent)
            else branch
            for name, branch in self.branches.items()
        }


def grown(towers: Mapping[str, Encoder], *, inner: int, width: int, temperature: float) -> Start:
    """GRUs of width `inner` over the tokens of frozen encoders, which are cached."""
    grus = {
        name: Recurrent(Features(one.width, signal=name), inner, pooling="max" if name == "text" else "mean")
        for name, one in towers.items()
    }
    branches = {name: Branch(one, Head(inner, width, HeadConfig(norm="none"))) for name, one in grus.items()}
    return Start(branches, {name: from_cache(one) for name, one in towers.items()}, temperature, towers)


def checkpoint(name: str) -> Start:
    """The towers of a CLAP checkpoint, by hub id or folder."""
    space, temperature = clap_space(name)
    branches = branches_of(space.branches)
    return Start(branches, dict.fromkeys(branches, as_they_are), temperature, {})
