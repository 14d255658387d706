"""What ProtoCLIP trains: towers and heads by their settings, or a checkpoint's."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.data.pairs import signal_of
from antiphon.encoders import Encoder
from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head
from antiphon.encoders.pretrained import clip_space
from antiphon.encoders.space import Branch
from antiphon.encoders.towers import Towers
from antiphon.errors import UserError

Branches = dict[str, Branch]
"""As they are trained, by signal, the image side first."""
Encoders = dict[str, Encoder]
"""Those that the saved space has, by signal."""


def two_signals(columns: Sequence[str], *, teacher: str | None, prototypes: str) -> list[str]:
    """The signals of the two columns, the image side first.

    Args:
        columns: named by their signals.
        teacher: as of the settings: it reads texts, and has no vectors of the other side.
        prototypes: as of the settings.

    Raises:
        UserError: other columns, or a teacher that does not go with the rest.
    """
    signals = [signal_of(column) for column in columns]
    if signals != list(columns) or len(set(signals)) != 2:
        raise UserError(f"protoclip pairs two columns named by their signals, data.columns holds {tuple(columns)}")
    if teacher and ("text" not in signals or prototypes == "own"):
        raise UserError(
            f"teacher={teacher} reads a text column and wants prototypes=translated or none: data.columns holds "
            f"{', '.join(signals)}, and prototypes={prototypes}"
        )
    return signals


def checkpoint(name: str, signals: Sequence[str], locked: Sequence[str]) -> tuple[Branches, Encoders, float]:
    """A CLIP's branches, trained whole, and its temperature.

    Raises:
        UserError: it reads other signals, or towers are to be locked.
    """
    space, temperature = clip_space(name)
    if sorted(signals) != sorted(space.branches) or locked:
        raise UserError(
            f"{name} reads {', '.join(sorted(space.branches))} and is trained whole: data.columns holds "
            f"{', '.join(signals)}, and locked={list(locked)}"
        )
    branches = {signal: space.branch(signal) for signal in signals}
    return branches, {signal: branch.encoder for signal, branch in branches.items()}, temperature


def opened(towers: Towers, signals: Sequence[str], locked: Sequence[str], width: int) -> tuple[Branches, Encoders]:
    """Towers with heads of this width; of a locked one the branch reads cached features."""
    encoders = {name: towers.of(name).open(name) for name in signals}
    inputs = {name: Features(one.width, signal=name) if name in locked else one for name, one in encoders.items()}
    heads = {name: Head(one.width, width, towers.of(name).head) for name, one in encoders.items()}
    return {name: Branch(inputs[name], heads[name]) for name in signals}, encoders
