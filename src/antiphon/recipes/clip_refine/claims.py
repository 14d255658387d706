"""CLIP-Refine's claims: what refining forgets and closes, against plain training and against each term alone."""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim

_REFINED, _PLAIN = Arm(align="random", alpha=0.5), Arm(align="none", alpha=1.0)
_START = Arm(align="none", alpha=0.0)  # distilling from itself alone, the start stays what it is

CLAIMS = [
    Claim(
        "Refining forgets less of the start's own rows than plain contrastive training of the same steps.",
        better=_REFINED,
        worse=_PLAIN,
        metric="test/old/R@10",
        floor="test/old/chance R@10",
    ),
    Claim(
        "Refining keeps more zero-shot accuracy on the start's own rows than plain contrastive training.",
        better=_REFINED,
        worse=_PLAIN,
        metric="test/old/zero_shot/accuracy",
        floor="test/old/zero_shot/chance",
    ),
    Claim(
        "Refining raises zero-shot accuracy on the start's own rows (the paper's headline).",
        better=_REFINED,
        worse=_START,
        metric="test/old/zero_shot/accuracy",
        floor="test/old/zero_shot/chance",
    ),
    Claim(
        "Refining narrows the gap between the signals that the start has on the new rows.",
        better=_REFINED,
        worse=_START,
        metric="test/new/gap",
        floor="start/test/new/gap",
        higher=False,
    ),
    Claim(
        "Refining narrows that gap further than plain contrastive training of the same steps.",
        better=_REFINED,
        worse=_PLAIN,
        metric="test/new/gap",
        floor="start/test/new/gap",
        higher=False,
    ),
    Claim(
        "A random reference narrows that gap further than a reference of zero.",
        better=_REFINED,
        worse=Arm(align="zero", alpha=0.5),
        metric="test/new/gap",
        floor="start/test/new/gap",
        higher=False,
    ),
    Claim(
        "The random reference narrows that gap further than hybrid labels alone.",
        better=_REFINED,
        worse=Arm(align="none", alpha=0.5),
        metric="test/new/gap",
        floor="start/centred/test/new/gap",
        higher=False,
    ),
    Claim(
        "Beside hybrid labels, the random reference forgets less of the start's own rows than pulling pairs together.",
        better=_REFINED,
        worse=Arm(align="pairs", alpha=0.5),
        metric="test/old/R@10",
        floor="test/old/chance R@10",
    ),
    Claim(
        "Refining forgets less also than plain contrastive training at twice the temperature.",
        better=_REFINED,
        worse=Arm(align="none", alpha=1.0, warmth=2.0),
        metric="test/old/R@10",
        floor="test/old/chance R@10",
    ),
    Claim(
        "Refining forgets less also than plain contrastive training at half the temperature.",
        better=_REFINED,
        worse=Arm(align="none", alpha=1.0, warmth=0.5),
        metric="test/old/R@10",
        floor="test/old/chance R@10",
    ),
]
