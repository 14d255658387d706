"""What texts tell by their words alone, floors that stand beside every table of text encoders; and what stands above.

A text is its words, as `decode.split_words` finds them.

Axes: N texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from antiphon.data.cache import cache_folder
from antiphon.decode import split_words
from antiphon.encoders.features import FeatureCache, encode_once
from antiphon.encoders.open import open_encoder
from antiphon.runs import Measures


def named(name: str, measures: Measures) -> Measures:
    """Measures of a floor or a reference, by its name: `tfidf/test/sts`."""
    return {f"{name}/{key}": value for key, value in measures.items()}


def jaccard(first: str, second: str) -> float:
    """Words in common over words in either, in [0, 1]; 0 where neither has any."""
    left, right = set(split_words(first)), set(split_words(second))
    return len(left & right) / len(left | right) if left | right else 0.0


def jaccards(queries: Sequence[str], keys: Sequence[str]) -> Float[np.ndarray, "q k"]:
    """`jaccard` of each query with each key."""
    places = {word: at for at, word in enumerate(sorted({w for text in (*queries, *keys) for w in split_words(text)}))}
    has_QV, has_KV = (_incidence(texts, places) for texts in (queries, keys))
    both_QK = (has_QV @ has_KV.T).toarray()
    either_QK = np.asarray(has_QV.sum(1)) + np.asarray(has_KV.sum(1)).T - both_QK
    return np.asarray(both_QK / np.maximum(either_QK, 1))


def length_ratio(first: str, second: str) -> float:
    """Words of the shorter over words of the longer, in [0, 1]; 1 where neither has any."""
    low, high = sorted((len(split_words(first)), len(split_words(second))))
    return low / high if high else 1.0


class TfIdf:
    """Unit vectors of word counts, each times ln((1 + n) / (1 + df)) + 1.

    Args:
        texts: n texts that the counts df of texts with a word come from; words of no such text are left out.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(word for text in texts for word in set(split_words(text)))
        self.places = {word: place for place, word in enumerate(sorted(counts))}
        found = np.array([counts[word] for word in self.places], dtype=np.float64)
        self.idf = np.log((1 + len(texts)) / (1 + found)) + 1

    def __call__(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """A row for each text; one of zeros where no word of it is known."""
        rows, columns = [], []
        for row, text in enumerate(texts):
            known = [self.places[word] for word in split_words(text) if word in self.places]
            rows += [row] * len(known)
            columns += known
        counted = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(self.places)))
        weighted = counted.multiply(self.idf).tocsr()
        lengths = np.sqrt(weighted.multiply(weighted).sum(1))
        return sparse.csr_matrix(weighted.multiply(1 / np.where(lengths > 0, lengths, 1.0)))


def tfidf_cosines(first: Sequence[str], second: Sequence[str]) -> Float[np.ndarray, " n"]:
    """The cosine of each pair, with document frequencies of all these texts."""
    model = TfIdf([*first, *second])
    return np.asarray(model(first).multiply(model(second)).sum(1)).ravel()


def published(name: str, texts: Sequence[str]) -> Float[Tensor, "n d"]:
    """Vectors by a published text encoder as it is, an upper reference and no floor; kept on disk."""
    encoder, cache = open_encoder("text", name).eval(), FeatureCache(cache_folder() / "features")
    return torch.cat([each for each in encode_once(encoder, list(texts), cache, keep=1) if each is not None]).float()


def _incidence(texts: Sequence[str], places: Mapping[str, int]) -> sparse.csr_matrix:
    """Which words each text has."""
    words = [sorted({places[word] for word in split_words(text)}) for text in texts]
    rows = [row for row, found in enumerate(words) for _ in found]
    columns = [column for found in words for column in found]
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(places)))
