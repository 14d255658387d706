"""The claims of the text-contrast recipe."""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"{floor}/test/{metric}")


_WORDS, _TEXTS = Arm(pairing="words"), Arm(pairing="texts")
_LABEL, _CLASS = Arm(pairing="label"), Arm(pairing="class")

CLAIMS = [
    _claim(
        "Without labels, input-label contrast (a text and its words) beats input-input contrast (two views of it) at "
        "classification by the classes' names: the primer's thesis.",
        _WORDS, _TEXTS, "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "The same from five examples of each class.", _WORDS, _TEXTS, "few_shot/5", "tfidf",
    ),
    _claim(
        "With labels, input-label contrast (a text and its label's words) beats input-input contrast (texts of one "
        "class) at classification by the names of classes that training never saw.",
        _LABEL, _CLASS, "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "With labels, input-input contrast beats input-label contrast from five examples of classes never seen.",
        _CLASS, _LABEL, "few_shot/5", "tfidf",
    ),
    _claim(
        "Among many keys, ranking beats binary noise contrast at classification by names.",
        _WORDS, Arm(pairing="words", loss="binary"), "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "Deleting words makes better views than dropout alone, from five examples of each class.",
        _TEXTS, Arm(pairing="texts", view="none"), "few_shot/5", "random",
    ),
]  # fmt: skip
