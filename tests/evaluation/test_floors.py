"""What words alone tell: against scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from antiphon.evaluation.floors import TfIdf, jaccard, jaccards, length_ratio, tfidf_cosines

TEXTS = ["The cat sat on the mat.", "A cat, and a dog!", "Dogs do not sit", "the THE the", "?"]


def test_vectors_are_scikits():
    wanted = TfidfVectorizer(token_pattern=r"\w+").fit(TEXTS)
    more = [*TEXTS, "an unknown cat"]
    assert np.allclose(TfIdf(TEXTS)(more).toarray(), wanted.transform(more).toarray())


def test_cosines_of_pairs():
    found = tfidf_cosines(["a b", "a", ""], ["b a", "c", ""])
    assert found == pytest.approx([1.0, 0.0, 0.0])


def test_overlap_and_length():
    assert jaccard("The cat sat", "the cat, the dog") == pytest.approx(2 / 4)
    assert jaccard("", "?") == 0.0
    assert length_ratio("one two", "one two three four") == 0.5
    assert length_ratio("", "!") == 1.0


def test_overlap_of_each_with_each():
    found = jaccards(TEXTS, [*TEXTS[1:], "an unknown cat"])
    assert found.tolist() == [[jaccard(one, other) for other in (*TEXTS[1:], "an unknown cat")] for one in TEXTS]
