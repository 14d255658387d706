"""Caption metrics against slow loops, values of papers, and those of sacrebleu and of the captioning scripts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import WrongValue
from antiphon.evaluation.captions import bleu, cider_d, macro, rouge_l, unique_share, words_of

CAPTIONS = [
    "A dog barks and a man speaks.",
    "Rain falls on a roof",
    "a cat meows, then a cat meows again",
    "the clock is ticking",
]
REFERENCES = [
    ["A dog is barking while a man speaks", "a dog barks", "Dogs bark in the distance and people speak"],
    ["Rain is falling on a tin roof", "heavy rain falls"],
    ["A cat meows and hisses", "A cat is meowing again and again"],
    ["A clock ticks", "The clock is ticking slowly", "the clock is ticking"],
]


def _pieces(words, n):
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def _cider_by_loops(captions, references):
    """As the definition has it: vectors over all n-grams, one entry after the other."""
    total = 0.0
    for caption, own in zip(captions, references, strict=True):
        for_one = 0.0
        for reference in own:
            for n in (1, 2, 3, 4):
                made, told = (_pieces(words_of(text), n) for text in (caption, reference))
                dot = left = right = 0.0
                for gram in sorted({*made, *told}):
                    stands = sum(any(gram in _pieces(words_of(text), n) for text in texts) for texts in references)
                    idf = math.log(len(captions)) - math.log(max(1, stands))
                    a, b = made.count(gram) * idf, told.count(gram) * idf
                    dot, left, right = dot + min(a, b) * b, left + a * a, right + b * b
                apart = max(0, len(words_of(caption)) - 1) - max(0, len(words_of(reference)) - 1)
                if left and right:
                    for_one += dot / math.sqrt(left * right) * math.exp(-apart * apart / 72) / 4
        total += 10 * for_one / len(own)
    return total / len(captions)


def test_cider_by_loops():
    assert cider_d(CAPTIONS, REFERENCES) == pytest.approx(_cider_by_loops(CAPTIONS, REFERENCES), abs=1e-12)


def test_cider_of_the_references_themselves_is_ten():
    said = ["a dog barks at night today", "rain falls on the tin roof", "four clocks tick in one room"]
    assert cider_d(said, [[text] for text in said]) == pytest.approx(10)
    assert cider_d(said[::-1], [[text] for text in said]) < 5
    assert cider_d(["", "", ""], [[text] for text in said]) == 0


def test_a_repeated_word_gains_nothing():
    told = [["a dog barks"], ["rain falls"]]
    assert cider_d(["a dog dog dog barks", "rain falls"], told) < cider_d(["a dog barks", "rain falls"], told)


def test_bleu_of_the_paper():
    """Papineni et al. 2002: modified precision of example 2 is 2/7, and of example 1's first candidate 17/18."""
    the = "the the the the the the the"
    assert bleu([the], [["The cat is on the mat.", "There is a cat on the mat."]], order=1) == pytest.approx(2 / 7)
    candidate = "It is a guide to action which ensures that the military always obeys the commands of the party"
    references = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    ]
    assert bleu([candidate], [references], order=1) == pytest.approx(17 / 18)


def test_bleu_of_sacrebleu():
    """sacrebleu 2.6.0, corpus_bleu(smooth_method="none", tokenize="none") on the same words, over 100."""
    stored = {4: 0.33053127187059145, 2: 0.6770032003863298}
    assert bleu(CAPTIONS, REFERENCES) == pytest.approx(stored[4], abs=1e-9)
    assert bleu(CAPTIONS, REFERENCES, order=2) == pytest.approx(stored[2], abs=1e-9)
    assert bleu(["a b c d e"], [["x y z"]]) == 0


def _common_by_trying(one, other):
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + _common_by_trying(one[1:], other[1:])
    return max(_common_by_trying(one[1:], other), _common_by_trying(one, other[1:]))


def test_rouge_of_the_paper():
    """Lin 2004: S1 "police killed the gunman" is worth 3/4 and 1/2 to S2 and S3 (P = R, so any beta)."""
    assert rouge_l(["police kill the gunman"], [["police killed the gunman"]]) == pytest.approx(0.75)
    assert rouge_l(["the gunman kill police"], [["police killed the gunman"]]) == pytest.approx(0.5)


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=7), st.lists(st.sampled_from("abc"), min_size=1, max_size=7)
)
def test_rouge_by_trying_everything(one, other):
    common = _common_by_trying(one, other)
    p, r = common / len(one), common / len(other)
    wanted = 2.44 * p * r / (r + 1.44 * p) if common else 0.0
    assert rouge_l([" ".join(one)], [[" ".join(other)]]) == pytest.approx(wanted)


def test_shares():
    assert macro([True, False, True, True], ["a", "a", "a", "b"]) == pytest.approx((2 / 3 + 1) / 2)
    assert unique_share(["a dog", "a dog", "rain", "wind"]) == 0.75
    assert words_of("A Dog's bark; low-pitched!") == ["a", "dog's", "bark", "low-pitched"]


@pytest.mark.parametrize("metric", [cider_d, bleu, rouge_l])
def test_what_cannot_be_compared(metric):
    with pytest.raises(WrongValue, match="2 captions and 1 lists of references"):
        metric(["a", "b"], [["a"]])
    with pytest.raises(WrongValue, match="one or more references for each"):
        metric(["a"], [[]])
    with pytest.raises(WrongValue, match="1 hits of 2 items"):
        macro([True], ["a", "b"])
