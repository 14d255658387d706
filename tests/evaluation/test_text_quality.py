"""Repetition, diversity, coherence and the frontier of clusters by closed forms, loops and peers' definitions."""

import math

import numpy as np
import pytest
import torch

from antiphon.errors import WrongValue
from antiphon.evaluation.text_quality import (
    coherence,
    diversity,
    frontier_area,
    generation_length,
    log_likelihoods,
    mauve_lite,
    repetition,
)
from antiphon.generation.models import open_language_model

LOOP = "go on " * 6
PLAIN = "one two three four five six"


def test_repetition_counts_within_each_text():
    assert repetition([PLAIN], 2) == 0
    assert repetition([PLAIN, PLAIN], 2) == 0  # the same words in another text are no repetition
    assert repetition([f"{PLAIN} {PLAIN}"], 6) == pytest.approx(100 * (1 - 6 / 7))
    assert repetition([LOOP], 2) == pytest.approx(100 * (1 - 2 / 11))


def test_texts_are_summed_before_they_are_divided():
    assert repetition([LOOP, PLAIN, "no"], 2) == pytest.approx(100 * (1 - (2 + 5) / (11 + 5)))


def test_diversity_by_hand():
    assert diversity([PLAIN]) == 1.0
    assert diversity([LOOP]) == pytest.approx(2 / 11 * 2 / 10 * 2 / 9)


def test_the_official_count_leaves_out_each_last_n_gram_and_rounds():
    shares = [round(100 * (1 - 2 / count), 2) for count in (10, 9, 8)]
    assert [repetition([LOOP], n, official=True) for n in (2, 3, 4)] == shares
    assert diversity([LOOP], official=True) == math.prod(1 - share / 100 for share in shares)
    assert repetition(["a b a b", PLAIN], 2, official=True) == 0  # the repetition is the last one
    assert repetition(["a b a b", PLAIN], 2) == pytest.approx(100 / 8)


def test_length_is_in_words():
    assert generation_length([PLAIN, "a  b\n"]) == 4


@pytest.mark.parametrize(
    "asked", [lambda: repetition(["a b"], 3), lambda: diversity(["a b c"]), lambda: repetition([], 2)]
)
def test_without_an_n_gram(asked):
    with pytest.raises(WrongValue, match="so none of their"):
        asked()


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return open_language_model("scratch-tiny")


def test_log_likelihoods_by_a_loop(judge):
    lm, tokenizer = judge
    prefixes, texts = ["a dog", "rain falls on", "x"], [" barks", " a tin roof", " and on"]
    found = log_likelihoods(lm, tokenizer, prefixes, texts, batch_size=2)
    for prefix, text, value in zip(prefixes, texts, found.tolist(), strict=True):
        before, after = tokenizer(prefix)["input_ids"], tokenizer(text)["input_ids"]
        logp = []
        for at, token in enumerate(after):
            with torch.no_grad():
                logits = lm(input_ids=torch.tensor([before + after[:at]])).logits[0, -1]
            logp.append(float(logits.log_softmax(0)[token]))
        assert value == pytest.approx(sum(logp) / len(logp), abs=1e-4)
    assert coherence(lm, tokenizer, prefixes, texts) == pytest.approx(float(found.mean()), abs=1e-6)


def test_a_judge_that_knows_nothing_says_log_of_its_words(judge):
    lm, tokenizer = judge
    before = lm.get_output_embeddings().weight.detach().clone()
    with torch.no_grad():
        lm.get_output_embeddings().weight.zero_()
    try:
        assert coherence(lm, tokenizer, ["a"], ["bc"]) == pytest.approx(-math.log(259), abs=1e-5)
    finally:
        with torch.no_grad():
            lm.get_output_embeddings().weight.copy_(before)


@pytest.mark.parametrize(("prefixes", "texts"), [(["a"], [""]), ([""], ["a"]), (["a"], ["b", "c"]), ([], [])])
def test_nothing_to_judge(judge, prefixes, texts):
    with pytest.raises(WrongValue, match=r"no token on one side|wanted one of each text"):
        coherence(*judge, prefixes, texts)


def test_the_frontier_of_equal_and_of_strange_distributions():
    even, left, right = np.full(4, 0.25), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert frontier_area(even, even) == pytest.approx(1.0, abs=1e-9)
    # x = (1 - l)^c, y = l^c: the area is c B(c + 1, c), 5 * 5! 4! / 10! for c = 5
    assert frontier_area(left, right, points=2001) == pytest.approx(
        5 * math.factorial(5) * math.factorial(4) / math.factorial(10), abs=1e-4
    )
    assert frontier_area(left, right, scale=1.0, points=2001) == pytest.approx(0.5, abs=1e-3)
    some = np.array([0.7, 0.3])
    assert frontier_area(some, 1 - some) == pytest.approx(frontier_area(1 - some, some), abs=1e-9)


def test_mauve_lite_of_vectors():
    generator = torch.Generator().manual_seed(0)
    near, far = torch.randn(60, 5, generator=generator), torch.randn(60, 5, generator=generator) + 30
    assert mauve_lite(near, near.flip(0), clusters=6) == pytest.approx(1.0, abs=1e-6)
    assert mauve_lite(near, far, clusters=2) < 0.02
    half = torch.cat([near[:30], far[:30]])
    assert 0.02 < mauve_lite(near, half, clusters=2) < 0.9
    assert mauve_lite(near, half) == mauve_lite(near, half)
    with pytest.raises(WrongValue, match="wanted two texts or more"):
        mauve_lite(near[:1], far)
