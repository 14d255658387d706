"""The claims of the text-contrast recipe."""

from __future__ import annotations

from dataclasses import replace

from antiphon.evaluation.claims import Arm, Claim


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"{floor}/test/{metric}")


def _shown(claim: Claim) -> Claim:
    """With the pictures of both arms on the page."""
    return replace(claim, pictured=("better", "worse"))


_WORDS, _TEXTS = Arm(pairing="words"), Arm(pairing="texts")
_BINARY = Arm(pairing="words", loss="binary")
_LABEL, _CLASS = Arm(pairing="label"), Arm(pairing="class")

_SMALL = {"text__encoder": "scratch-tiny-words"}
_TAIL = {
    "study": "tail", "data__source": "clipart", "data__columns": ("text_title",), "classes": "keywords",
    "loss": "binary", "train__steps": 300, "train__lr": 3e-2,
} | _SMALL  # fmt: skip
_EMBEDDED, _MULTI_HOT = Arm(answers="words", **_TAIL), Arm(answers="numbers", **_TAIL)
_VIEWS = {
    "study": "views", "data__source": "sentences", "data__limit": 4000, "pairing": "texts", "rate": 0.2,
    "train__steps": 80, "train__lr": 1e-2,
} | _SMALL  # fmt: skip
_SWAPS = _VIEWS | {"swept": ("deletion", "synonyms"), "rates": (0.1, 0.2), "opposed": True}
_SPANS = {
    "study": "spans", "data__source": "manuals", "data__split_by": "id", "classes": None, "text__head__pooling": "mean",
    "temperature": 0.05, "train__steps": 200, "train__batch_size": 32,
}  # fmt: skip
_OWN = Arm(near="own", **_SPANS)
_KEYS = {"study": "keys", "train__steps": 100, "train__lr": 1e-2} | _SMALL

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
        "Among many keys, ranking beats binary negative sampling (uncorrected) at classification by names.",
        _WORDS, _BINARY, "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "Binary noise contrast, corrected for how often a word is a key (Ma and Collins), beats binary negative "
        "sampling.",
        Arm(pairing="words", loss="binary", corrected=True), _BINARY, "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "Words that are hidden from the text that is asked for them (a fifth, by chance) make better classification by "
        "names than words that it shows, which can be answered by looking them up.",
        _WORDS, Arm(pairing="words", view="none"), "zero_shot/accuracy", "tfidf",
    ),
    _claim(
        "Deleting words makes better views than dropout alone, from five examples of each class.",
        _TEXTS, Arm(pairing="texts", view="none"), "few_shot/5", "random",
    ),
    _shown(_claim(
        "Labels of a long tail (keywords of Open Clip Art, by title and description): labels as words that the encoder "
        "reads beat labels as numbers (multi-hot) at macro average precision, both by binary cross-entropy.",
        _EMBEDDED, _MULTI_HOT, "ap", "centroid",
    )),
    _claim(
        "Their lead is larger in the tail (the less frequent two fifths of label mass) than in the head (the more "
        "frequent two fifths): average precision of the tail less that of the head.",
        _EMBEDDED, _MULTI_HOT, "tail_less_head", "centroid",
    ),
    _claim(
        "Pre-training by pseudo-labels (words of the texts, by the same loss), 200 steps more, makes labels as words "
        "better in the tail.",
        Arm(answers="words", start=200, **_TAIL), _EMBEDDED, "tail", "centroid",
    ),
    _claim(
        "Labels as words are better learned by binary cross-entropy than by ranking, at macro average precision.",
        _EMBEDDED, Arm(answers="words", **(_TAIL | {"loss": "ranking"})), "ap", "centroid",
    ),
    _shown(_claim(
        "Ranking gains more from many keys than binary negative sampling: accuracy by classes' names with 255 keys a "
        "text, less that with one (which may lie below the untrained encoder's).",
        Arm(loss="ranking", **_KEYS), Arm(loss="binary", **_KEYS), "gain", "random",
    )),
    replace(_claim(
        "How dangerous a view is: one that loses a fifth of the words (deletion) makes worse similarity than one that "
        "keeps them all and repeats a fifth (SICK and STS 2013, after contrast of sentences of Wikipedia).",
        Arm(view="repetition", **_VIEWS), Arm(view="deletion", **_VIEWS), "sts", "jaccard",
    ), pictured=("better",)),
    _claim(
        "A view that exchanges a fifth of the words for synonyms (WordNet's) makes better similarity than one that "
        "loses a fifth.",
        Arm(view="synonyms", **_SWAPS), Arm(view="deletion", **_SWAPS), "sts", "jaccard",
    ),
    _shown(_claim(
        "Spans of long documents (manual pages): positives of the own document beat positives of another, the control, "
        "at finding the other half of a document that was held out.",
        _OWN, Arm(near="other", **_SPANS), "document/R@1", "tfidf",
    )),
    _claim(
        "The same from five examples of each intent of Banking77.",
        _OWN, Arm(near="other", **_SPANS), "probe/5", "tfidf",
    ),
    _claim(
        "Spans make a better encoder of requests than none: five examples of each intent of Banking77, after training "
        "on manual pages, against the encoder before training.",
        _OWN, Arm(near="none", **_SPANS), "probe/5", "tfidf",
    ),
    _claim(
        "Masked words of the anchors, beside the contrast (DeCLUTR's joint loss), make it better still there.",
        Arm(near="own", mlm=1.0, **_SPANS), _OWN, "probe/5", "tfidf",
    ),
]  # fmt: skip
