"""A convolution over hashed words: each text for itself, by a slow loop, and back from disk."""

import torch

from antiphon.encoders.open import load_encoder, open_encoder, save_encoder
from antiphon.encoders.spelling import bucket
from antiphon.encoders.words import WordCnn

TEXTS = ["Where is my card?", "card", "?", "I would like to rent a car, please"]


def _encoder():
    torch.manual_seed(0)
    return WordCnn("tiny", buckets=64).eval()


def test_ids_are_buckets_of_lower_case_words():
    batch = _encoder().collate(["Rent a CAR!", None, "?!"])
    assert batch.lengths.tolist() == [3, 0, 1]
    assert batch.values[0].tolist() == [1 + bucket(word, 64) for word in ("rent", "a", "car")]
    assert batch.values[2, 0] == 0


def test_vectors_are_a_slow_loops():
    encoder = _encoder()
    found = encoder(encoder.collate(TEXTS)).pooled
    weight, bias = encoder.convolution.weight, encoder.convolution.bias
    for row, text in zip(found, TEXTS, strict=True):
        words = encoder.embedding(encoder.collate([text]).values[0])
        framed = torch.cat([torch.zeros(1, 64), words, torch.zeros(1, 64)])
        places = [
            words[place] + (sum(weight[:, :, step] @ framed[place + step] for step in range(3)) + bias).relu()
            for place in range(len(words))
        ]
        assert torch.allclose(row, torch.stack(places).mean(0), atol=1e-5)


def test_an_absent_text_is_zero():
    encoder = _encoder()
    assert not encoder(encoder.collate([None, "card"])).pooled[0].any()


def test_saved_and_read_back(tmp_path):
    encoder = open_encoder("text", "scratch-tiny-words").eval()
    save_encoder(encoder, tmp_path)
    again = load_encoder(tmp_path).eval()
    assert torch.equal(encoder(encoder.collate(TEXTS)).pooled, again(again.collate(TEXTS)).pooled)
