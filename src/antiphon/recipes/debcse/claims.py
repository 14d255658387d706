"""DebCSE's claims: all parts against SimCSE, and then each part by itself, the others being the same in both arms."""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim

_ALL = Arm()
_SIMCSE = Arm(positives="copy", negatives="none", guard=False)
_GUARDED = Arm(positives="copy", negatives="none")
_COPIES = Arm(positives="copy")
_NEAR = Arm(positives="neighbours")


def _claim(
    text: str, metric: str, worse: Arm, floor: str, *, better: Arm = _ALL, higher: bool = True, whole: str = ""
) -> Claim:
    """`floor` is the kind of the metric's floor, `whole` its key where it is another measure."""
    return Claim(text, better=better, worse=worse, metric=metric, floor=whole or f"{floor}/{metric}", higher=higher)


CLAIMS = [
    _claim(
        "Pairs by inverse propensity, hard negatives and a guard together beat SimCSE at similarity (the headline).",
        "test/sts", _SIMCSE, "tfidf",
    ),
    _claim("They beat SimCSE at what words in common do not tell of similarity.", "test/partial", _SIMCSE, "random"),
    _claim(
        "They put entailments above contradictions more often than SimCSE (SICK).", "test/order", _SIMCSE, "jaccard"
    ),
    _claim(
        "They beat SimCSE among pairs whose lengths differ alike, where lengths tell nothing.",
        "test/sts_even", _SIMCSE, "tfidf",
    ),
    _claim(
        "Cosines of unrelated sentences, which neither arm was trained on, follow their lengths less than SimCSE's.",
        "bias/length", _SIMCSE, "random", higher=False,
    ),
    _claim(
        "The first component of such sentences' vectors follows the frequency of words less than SimCSE's.",
        "bias/frequency", _SIMCSE, "random", higher=False,
    ),
    _claim(
        "The length of such sentences' vectors follows the frequency of words less than SimCSE's.",
        "bias/norm", _SIMCSE, "random", higher=False,
    ),
    _claim("The guard alone: SimCSE with it beats SimCSE.", "test/sts", _SIMCSE, "tfidf", better=_GUARDED),
    _claim(
        "It leaves fewer pairs of one intent among a batch's negatives (CLINC150) than there are without.",
        "false_negatives/left", _SIMCSE, "", better=_GUARDED, higher=False, whole="false_negatives/all",
    ),
    _claim(
        "Hard negatives alone: SimCSE with the guard and negatives by inverse propensity beats SimCSE with the guard.",
        "test/sts", _GUARDED, "tfidf", better=_COPIES,
    ),
    _claim(
        "Positives alone: those by inverse propensity beat copies, with the same guard and negatives.",
        "test/sts", _COPIES, "tfidf",
    ),
    _claim(
        "With these positives and the guard, negatives by inverse propensity beat none.",
        "test/sts", Arm(negatives="none"), "tfidf",
    ),
    _claim(
        "Positives by both weights beat any near neighbour, with the same guard and negatives.",
        "test/sts", _NEAR, "tfidf",
    ),
    _claim(
        "A neighbour drawn by both weights is of the text's own intent (CLINC150) more often than any near one.",
        "drawn/right_positives", _NEAR, "", whole="false_negatives/all",
    ),
    _claim(
        "Weights by both beat those by surface alone, for positives and negatives.",
        "test/sts", Arm(positives="surface", negatives="surface"), "tfidf",
    ),
    _claim(
        "Weights by both beat those by meaning alone, for positives and negatives.",
        "test/sts", Arm(positives="semantic", negatives="semantic"), "tfidf",
    ),
    _claim("Weights that are cut beat those that are not.", "test/sts", Arm(cut=None), "tfidf"),
]  # fmt: skip
