"""Changes of a text, by hand."""

from __future__ import annotations

import torch

from antiphon.data.augment.text import crop_words, drop_words

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
