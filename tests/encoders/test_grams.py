"""A bag of letter n-grams: which they are, their sum by a slow loop, and back from disk."""

import torch

from antiphon.encoders.grams import GramBag
from antiphon.encoders.open import load_encoder, open_encoder, save_encoder
from antiphon.encoders.spelling import bucket, ngrams

TEXTS = ["Где моя карта?", "card", "?!", "I would like to rent a car, please"]


def _encoder():
    torch.manual_seed(0)
    return GramBag("tiny", buckets=64, longest=3).eval()


def test_ids_are_buckets_of_all_ngrams():
    batch = _encoder().collate(["A car!", None, "?!"])
    wanted = [2 + bucket(gram, 64) for gram in ngrams("A car!", 3)]
    assert batch.lengths.tolist() == [len(wanted), 0, 1]
    assert batch.values[0].tolist() == wanted
    assert batch.values[2].tolist() == [1] + [0] * (len(wanted) - 1)


def test_vectors_are_a_slow_loops():
    encoder = _encoder()
    found = encoder(encoder.collate(TEXTS)).pooled
    for row, text in zip(found, TEXTS, strict=True):
        places = encoder.collate([text]).values[0]
        total = sum(encoder.embedding.weight[place] for place in places)
        assert torch.allclose(row, total / len(places) ** 0.5, atol=1e-5)


def test_an_absent_text_is_zero():
    encoder = _encoder()
    encoded = encoder(encoder.collate([None, "card"]))
    assert not encoded.pooled[0].any()
    assert encoded.pooled[1].any()
    assert encoded.tokens.shape == (2, 1, 64)


def test_saved_and_read_back(tmp_path):
    encoder = open_encoder("text", "scratch-tiny-ngrams").eval()
    save_encoder(encoder, tmp_path)
    again = load_encoder(tmp_path).eval()
    assert torch.equal(encoder(encoder.collate(TEXTS)).pooled, again(again.collate(TEXTS)).pooled)
