"""TeminAL's claims: two stages against one, the time-reversal loss against none, and what it hears beyond training."""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim

_BOTH, _B, _PLAIN = (
    Arm(stages="ab"),
    Arm(stages="b"),
    Arm(stages="b", alpha_same=0.0, alpha_cross=0.0, beta=0.0, gamma=0.0),
)
_SINGLES, _JOINT, _A = Arm(stages="singles"), Arm(stages="joint"), Arm(stages="a")


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"test/{floor}")


# Every arm starts from the same start, and takes as many steps on the same rows.
CLAIMS = [
    _claim(
        "Post-training A then B beats as many more steps on single events at telling the order of two (before, after).",
        _BOTH, _SINGLES, "order", "order/chance",
    ),
    _claim("TNCE beats plain InfoNCE on forward pairs at telling the order.", _B, _PLAIN, "order", "order/chance"),
    _claim(
        "TNCE beats plain InfoNCE on forward pairs at telling before, after and while apart.",
        _B, _PLAIN, "relation", "relation/chance",
    ),
    _claim("A then B beats B alone at telling the order (the paper's two stages).", _BOTH, _B, "order", "order/chance"),
    _claim("A then B beats A and B in every step at telling the order.", _BOTH, _JOINT, "order", "order/chance"),
    _claim("Stage A alone beats single events at finding both of two events.", _A, _SINGLES, "both", "both/chance"),
    _claim(
        "Post-training costs plain classification, as the paper's does (82 to 75 %).",
        _SINGLES, _BOTH, "single", "single/chance",
    ),
    _claim(
        "The order is told also in pairs of kinds that no training sentence joined.",
        _BOTH, _SINGLES, "order/unseen pairs", "order/chance",
    ),
    _claim(
        "The order is told also with connectives that were never trained (followed by, then, preceded by).",
        _BOTH, _SINGLES, "order/unseen connectives", "order/chance",
    ),
]  # fmt: skip
