"""Changes of a text, by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from antiphon.data.augment.text import (
    crop_words,
    drop_span,
    drop_words,
    mistype,
    repeat_words,
    swap_spans,
    swap_synonyms,
)

WORDS = "one two three four five six seven eight nine ten"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_words_are_dropped_at_the_rate_and_one_stays() -> None:
    kept = [len(drop_words(WORDS, generator(seed), chance=0.3).split()) for seed in range(300)]
    assert 6.7 < sum(kept) / 300 < 7.3
    for seed in range(20):
        assert drop_words(WORDS, generator(seed), chance=1.0) in WORDS.split()
        order = [WORDS.split().index(word) for word in drop_words(WORDS, generator(seed)).split()]
        assert order == sorted(order)


def test_crop_takes_neighbours() -> None:
    seen = {crop_words(WORDS, generator(seed), most=8) for seed in range(40)}
    assert len(seen) == 3
    assert all(part in WORDS and len(part.split()) == 8 for part in seen)
    assert crop_words("one", generator(), most=3) == "one"


def test_a_span_is_left_out() -> None:
    for seed in range(20):
        left = drop_span(WORDS, generator(seed), share=0.3).split()
        at = next((n for n, word in enumerate(left) if word != WORDS.split()[n]), 7)
        assert left == WORDS.split()[:at] + WORDS.split()[at + 3 :]
    assert drop_span("one", generator(), share=1.0) == "one"


def test_two_spans_change_places() -> None:
    seen = set()
    for seed in range(40):
        moved = swap_spans(WORDS, generator(seed), share=0.2).split()
        assert sorted(moved) == sorted(WORDS.split())
        changed = [n for n, (new, old) in enumerate(zip(moved, WORDS.split(), strict=True)) if new != old]
        assert len(changed) == 4
        first, second = changed[:2], changed[2:]
        assert [moved[n] for n in first] == [WORDS.split()[n] for n in second]
        seen.add(tuple(changed))
    assert len(seen) > 10
    assert swap_spans("one", generator()) == "one"


def test_words_are_repeated_where_they_stand() -> None:
    counts = [len(repeat_words(WORDS, generator(seed), chance=0.3).split()) for seed in range(300)]
    assert 12.7 < sum(counts) / 300 < 13.3
    assert repeat_words("a b", generator(), chance=1.0) == "a a b b"


def test_letters_are_exchanged_within_words() -> None:
    assert mistype("ab a", generator(), chance=1.0) == "ba a"
    changed = [
        sum(
            new != old
            for new, old in zip(mistype(WORDS, generator(seed), chance=0.3).split(), WORDS.split(), strict=True)
        )
        for seed in range(300)
    ]
    assert 2.6 < sum(changed) / 300 < 3.1  # "three" with its two e exchanged is "three" again


def test_synonyms_stand_where_their_words_stood() -> None:
    of = {"big": ("large", "great"), "car": ("auto",)}
    swap = partial(swap_synonyms, synonyms=lambda: of)
    assert swap("A Big red car", torch.Generator().manual_seed(0), chance=0.0) == "A Big red car"
    found = {swap("A Big red car", torch.Generator().manual_seed(seed), chance=1.0) for seed in range(20)}
    assert found == {"A large red auto", "A great red auto"}
    texts = [swap("car " * 50, torch.Generator().manual_seed(seed), chance=0.2).split() for seed in range(40)]
    assert sum(text.count("auto") for text in texts) / 2000 == pytest.approx(0.2, abs=0.03)
