"""How good captions are: CIDEr-D, BLEU and ROUGE-L against references, and which events they name.

METEOR and SPICE want Java and are not here. Texts are lower-cased, punctuation is dropped, and words are what stands
between spaces (`words_of`): the official scripts' Penn tokenizer splits clitics too, so figures differ a little there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from antiphon.errors import WrongValue

Grams = Counter[tuple[str, ...]]


def words_of(text: str) -> list[str]:
    """Lower-case words, without punctuation; an apostrophe or hyphen inside a word stays."""
    return re.findall(r"\w+(?:['’-]\w+)*", text.lower())


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]], *, sigma: float = 6.0) -> float:
    """CIDEr-D (arXiv 1411.5726, section 6), from 0 to 10: the mean over captions.

    For n = 1 to 4, the cosine of tf-idf vectors of n-grams, a caption's counts clipped to the reference's, times
    exp(-(difference of lengths)^2 / 2 sigma^2); the mean over n and references, times ten. The idf counts in the
    references of how many captions an n-gram stands. As the official script does, a length is the number of bigrams.

    Args:
        captions: N, two or more: of a single one every idf is zero.
        references: one list or more of each caption.
        sigma: of the length penalty, in words.
    """
    _check(captions, references)
    shown = [[_all_grams(words_of(text)) for text in of_one] for of_one in references]
    frequency: Grams = Counter(
        gram for of_one in shown for gram in set().union(*(one for grams in of_one for one in grams))
    )
    many = math.log(len(captions))
    total = 0.0
    for caption, of_one in zip(captions, shown, strict=True):
        own = _Weighed(_all_grams(words_of(caption)), frequency, many)
        scores = [own.likeness(_Weighed(grams, frequency, many), sigma) for grams in of_one]
        total += 10 * math.fsum(scores) / len(scores)
    return total / len(captions)


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]], *, order: int = 4) -> float:
    """Corpus BLEU (Papineni et al. 2002) from 0 to 1, without smoothing.

    The geometric mean over n = 1 to `order` of clipped n-gram precision, times exp(1 - r / c) where the captions'
    length c is below r, the sum of the references' lengths that are the nearest to each caption's (the shorter of two).
    """
    _check(captions, references)
    right, made = [0] * order, [0] * order
    length = wanted = 0
    for caption, of_one in zip(captions, references, strict=True):
        own, others = words_of(caption), [words_of(text) for text in of_one]
        length += len(own)
        wanted += min((abs(len(other) - len(own)), len(other)) for other in others)[1]
        for n in range(1, order + 1):
            grams = _grams(own, n)
            most: Grams = Counter()
            for other in others:
                most |= _grams(other, n)
            right[n - 1] += sum((grams & most).values())
            made[n - 1] += sum(grams.values())
    if not all(right):
        return 0.0
    mean = math.fsum(math.log(r / m) for r, m in zip(right, made, strict=True)) / order
    return math.exp(mean + min(0.0, 1 - wanted / length))


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]], *, beta: float = 1.2) -> float:
    """ROUGE-L (Lin 2004) from 0 to 1, the mean over captions.

    (1 + beta^2) P R / (R + beta^2 P) of the longest common subsequence: P is its share of the caption, R of the
    reference, each the best over the references, as the captioning scripts take them.
    """
    _check(captions, references)
    scores = []
    for caption, of_one in zip(captions, references, strict=True):
        own, others = words_of(caption), [words_of(text) for text in of_one]
        common = [_common(own, other) for other in others]
        precision = max(common) / max(1, len(own))
        recall = max(count / max(1, len(other)) for count, other in zip(common, others, strict=True))
        below = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / below if below else 0.0)
    return math.fsum(scores) / len(scores)


def macro(hits: Sequence[bool], kinds: Sequence[str]) -> float:
    """The share of hits, as the mean over kinds: a kind with many items counts as one with few."""
    if len(hits) != len(kinds) or not hits:
        raise WrongValue(f"{len(hits)} hits of {len(kinds)} items: wanted one of each, and one or more")
    of: dict[str, list[bool]] = {}
    for hit, kind in zip(hits, kinds, strict=True):
        of.setdefault(kind, []).append(hit)
    return math.fsum(sum(found) / len(found) for found in of.values()) / len(of)


def unique_share(captions: Sequence[str]) -> float:
    """How many different captions there are, over all."""
    return len(set(captions)) / len(captions)


class _Weighed:
    """Tf-idf vectors of one text, one for each n."""

    def __init__(self, grams: list[Grams], frequency: Grams, many: float) -> None:
        self.vectors = [
            {gram: count * (many - math.log(max(1, frequency[gram]))) for gram, count in of_n.items()} for of_n in grams
        ]
        self.norms = [math.sqrt(math.fsum(value**2 for value in vector.values())) for vector in self.vectors]
        self.length = sum(grams[1].values())

    def likeness(self, reference: _Weighed, sigma: float) -> float:
        short = math.exp(-((self.length - reference.length) ** 2) / (2 * sigma**2))
        total = 0.0
        for own, other, norm, norm_other in zip(
            self.vectors, reference.vectors, self.norms, reference.norms, strict=True
        ):
            if norm and norm_other:
                shared = math.fsum(
                    min(value, other[gram]) * other[gram] for gram, value in own.items() if gram in other
                )
                total += shared / (norm * norm_other)
        return short * total / len(self.vectors)


def _grams(words: Sequence[str], n: int) -> Grams:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def _all_grams(words: Sequence[str]) -> list[Grams]:
    return [_grams(words, n) for n in range(1, 5)]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, against in enumerate(other, start=1):
            before, row[at] = row[at], before + 1 if word == against else max(row[at], row[at - 1])
    return row[-1]


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(captions) != len(references) or not captions or not all(len(of_one) for of_one in references):
        raise WrongValue(
            f"{len(captions)} captions and {len(references)} lists of references: wanted one list of one or more "
            "references for each caption"
        )
