"""Batches of like size: the order comes back, padding stays small, and workers change nothing."""

import warnings

import pytest
import torch

from antiphon.data.sources import made
from antiphon.decode import BadInput
from antiphon.encoders import batched
from antiphon.encoders.batched import embed_items, item_sizes, like_with_like
from antiphon.encoders.speech import MelSpeech
from antiphon.encoders.text import ByteText
from antiphon.errors import WrongValue
from antiphon.types import InputCut
from tests.encoders.tiny import scatter, wave

TEXTS = ["a", "a long text of many words, and then some", None, "bb", "a text of a middle length", "ccc"]


@pytest.fixture
def encoder():
    return scatter(ByteText("tiny"))


@pytest.mark.parametrize("options", [{}, {"batch_size": 1}, {"batch_size": 2}, {"workers": 2}])
def test_vectors_come_in_the_order_of_the_items_and_depend_on_nothing_else(encoder, options):
    wanted = torch.cat([encoder.eval()(encoder.collate([text])).pooled for text in TEXTS])
    encoder.train()
    encoder.embedding.eval()
    seen = []
    vectors = embed_items(encoder, TEXTS, progress=seen.append, **options)
    torch.testing.assert_close(vectors, wanted, atol=1e-5, rtol=0)
    assert not vectors[2].any()
    assert sum(seen) == len(TEXTS)
    assert encoder.training
    assert not encoder.embedding.training


def test_no_items_give_no_vectors(encoder):
    assert embed_items(encoder, []).shape == (0, encoder.width)


def test_half_precision_moves_vectors_a_little(encoder):
    exact, half = (embed_items(encoder, TEXTS, precision=name) for name in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    apart = 1 - torch.cosine_similarity(exact, half)[[0, 1, 3, 4, 5]]
    assert 0 < apart.max() < 0.01


def test_batches_keep_to_the_budget_and_pad_little(monkeypatch):
    monkeypatch.setitem(batched.BUDGETS, "text", 100.0)
    sizes = [float(1 + at * 7 % 40) for at in range(200)] + [500.0]
    plan = like_with_like(sizes, "text")
    assert sorted(place for places in plan for place in places) == list(range(201))
    padded = [len(places) * max(sizes[place] for place in places) for places in plan]
    assert padded[0] == 500
    assert max(padded[1:]) <= 100
    assert sum(padded) / sum(sizes) < 1.1
    assert max(map(len, like_with_like([1.0] * 70, "image"))) == 32
    assert max(map(len, like_with_like(sizes, "text", times=4))) > max(map(len, plan))


def test_sizes_are_characters_and_seconds_by_the_header():
    rows = made.load(3)
    assert item_sizes(["abc", None, ""], "text") == [3, 0, 0]
    assert item_sizes([wave(0.5), None], "speech") == [0.5, 0]
    assert all(0.1 < size < 10 for size in item_sizes(rows["speech"], "audio"))
    assert item_sizes(rows["image"], "image") == [0, 0, 0]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_decoded_is_told_in_one_line(encoder, workers):
    with pytest.raises(BadInput, match="wanted a string") as caught:
        embed_items(encoder, ["a", 3], workers=workers)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"gone\.wav"):
        embed_items(MelSpeech("tiny"), ["gone.wav"], workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cut_is_told_also_from_a_worker(workers):
    encoder = ByteText("tiny", max_bytes=4)
    with pytest.warns(InputCut, match="cut from 5 to 4 bytes"):
        embed_items(encoder, ["abcde"], workers=workers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed_items(encoder, ["abcd"], workers=workers)


@pytest.mark.parametrize("options", [{"precision": "int4"}, {"workers": -1}, {"batch_size": 0}])
def test_options_that_cannot_be(encoder, options):
    with pytest.raises(WrongValue, match="wanted float32 or bfloat16"):
        embed_items(encoder, ["a"], **options)


def test_texts_are_cut_into_batches_by_their_tokens(encoder, monkeypatch):
    monkeypatch.setattr(batched, "TOKENS", 60)
    texts = ["x" * (1 + at * 7 % 20) for at in range(100)] + ["y" * 200]
    shapes = []

    def forward(batch):
        shapes.append((tuple(batch.values.shape), int(batch.lengths.sum())))
        return encoder(batch).pooled

    vectors = embed_items(encoder, texts, forward=forward)
    torch.testing.assert_close(vectors[3], embed_items(encoder, texts[3:4])[0], atol=1e-5, rtol=0)
    assert shapes[0] == ((1, 201), 201)
    assert all(rows * width <= 60 for (rows, width), _ in shapes[1:])
    assert sum(rows * width for (rows, width), _ in shapes) / sum(real for _, real in shapes) < 1.1
    shapes.clear()
    embed_items(encoder, texts, forward=forward, batch_size=2)
    assert max(rows for (rows, _), _ in shapes) == 2
