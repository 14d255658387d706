"""Gen2Embed's claims: SaHa's clusters against others, rules at two levels against fewer, of texts and of pictures."""

from __future__ import annotations

from antiphon.data.pairs import Pairs
from antiphon.evaluation.claims import Arm, Claim
from antiphon.recipes.mllm_embedder.prompts import Level
from antiphon.recipes.mllm_embedder.saha import Rule

_ZERO_SHOT = {"negatives": "off", "wording": None, "drawn": True}


def _untasked(text: str, worse: Level) -> Claim:
    shared = {"instruction": False, **_ZERO_SHOT}
    better, other = Arm(prompt="both", **shared), Arm(prompt=worse, **shared)
    return Claim(text, better=better, worse=other, metric="test/sts", floor="tfidf/test/sts")


def _prompted(text: str, worse: Level, metric: str = "test/sts", better: Level = "both") -> Claim:
    return Claim(
        text, better=Arm(prompt=better, **_ZERO_SHOT), worse=Arm(prompt=worse, **_ZERO_SHOT), metric=metric,
        floor=f"tfidf/{metric}",
    )  # fmt: skip


def _mined(text: str, worse: Rule, metric: str, floor: str, *, higher: bool = True) -> Claim:
    return Claim(text, better=Arm(), worse=Arm(negatives=worse), metric=metric, floor=floor, higher=higher)


_STAMPS = Pairs(source="stamps", columns=("image", "text")).model_dump()
_PICTURES = {"data": _STAMPS, "most": None, "test": (), "intents": None, "drawn": True, **_ZERO_SHOT}


def _seen(text: str, better: Arm, worse: Arm) -> Claim:
    return Claim(text, better=better, worse=worse, metric="test/R@10", floor="chance/test/R@10")


def _mined_pictures(text: str, worse: Rule, metric: str, floor: str, *, higher: bool = True) -> Claim:
    better, other = (Arm(**(_PICTURES | {"negatives": rule, "wording": 0})) for rule in ("saha", worse))
    return Claim(text, better=better, worse=other, metric=metric, floor=floor, higher=higher)


CLAIMS = [
    _mined("Clusters by SaHa teach more than any pairs of a batch (R@1).", "batch", "tuned/test/R@1", "test/R@1"),
    _mined("Clusters by SaHa teach more than the nearest documents (R@1).", "top", "tuned/test/R@1", "test/R@1"),
    _mined("Clusters by SaHa teach more than those behind the nearest (R@1).", "skip", "tuned/test/R@1", "test/R@1"),
    _mined("The sort by owners teaches more than none (R@1).", "unsorted", "tuned/test/R@1", "test/R@1"),
    _mined(
        "SaHa's negatives are false less often than the nearest documents.",
        "top", "clusters/false_negatives", "clusters/chance", higher=False,
    ),
    _mined(
        "The sort by owners takes false negatives away.",
        "unsorted", "clusters/false_negatives", "clusters/chance", higher=False,
    ),
    _mined(
        "SaHa's negatives are of the query's intent less often than the nearest utterances.",
        "top", "intents/false_negatives", "intents/chance", higher=False,
    ),
    _prompted("Rules at both levels beat the bare text at similarity (the headline).", "none"),
    _prompted("Both levels beat the user's alone.", "user"),
    _prompted("Both levels beat the system's alone.", "system"),
    _prompted("Both levels beat the chat template alone.", "chat"),
    _prompted("Both levels beat a one-word prompt without a chat.", "word"),
    _prompted("Both levels beat the mean of the bare text's tokens at similarity.", "mean"),
    _prompted("They find another utterance of the intent more often than the bare text.", "none", "intents/R@1"),
    _prompted("They do so more often than the mean of the bare text's tokens.", "mean", "intents/R@1"),
    _prompted("They beat the bare text also where the mean vector is taken away.", "none", "centred/test/sts"),
    # Pictures (with captions that training never saw), by a connector: arms as of the texts' claims, fixed before.
    _seen(
        "Pictures find their captions more often by rules at both levels than bare (the headline, for images).",
        Arm(prompt="both", **_PICTURES), Arm(prompt="none", **_PICTURES),
    ),
    _seen(
        "For pictures both levels beat the user's alone.",
        Arm(prompt="both", **_PICTURES), Arm(prompt="user", **_PICTURES),
    ),
    _seen(
        "For pictures both levels beat the system's alone.",
        Arm(prompt="both", **_PICTURES), Arm(prompt="system", **_PICTURES),
    ),
    _seen(
        "A connector that learned captions beats one that did not.",
        Arm(prompt="both", **_PICTURES), Arm(prompt="both", shown="untrained", **_PICTURES),
    ),
    _seen(
        "The same pairs teach a linear map into a text encoder's space more than the connector (an upper reference).",
        Arm(prompt="both", shown="linear", **_PICTURES), Arm(prompt="both", **_PICTURES),
    ),
    _mined_pictures(
        "Pictures and captions, both ways: clusters by SaHa teach more than any pairs of a batch (R@10).",
        "batch", "tuned/test/both/R@10", "chance/test/both/R@10",
    ),
    _mined_pictures(
        "Pictures and captions, both ways: clusters by SaHa teach more than the nearest ones (R@10).",
        "top", "tuned/test/both/R@10", "chance/test/both/R@10",
    ),
    _mined_pictures(
        "SaHa's negatives of pictures and captions are false less often than the nearest ones.",
        "top", "clusters/false_negatives", "clusters/chance", higher=False,
    ),
    # Added when the claims above were known, by a look at dev: exploratory.
    _untasked("Without a task in front, both levels beat the user's alone.", "user"),
    _untasked("Without a task in front, both levels beat the system's alone.", "system"),
    _untasked("Without a task in front, both levels beat a one-word prompt without a chat.", "word"),
    Claim(
        "The task in front of a text takes away from similarity.",
        better=Arm(prompt="both", instruction=False, **_ZERO_SHOT), worse=Arm(prompt="both", **_ZERO_SHOT),
        metric="test/sts", floor="tfidf/test/sts",
    ),
]  # fmt: skip
