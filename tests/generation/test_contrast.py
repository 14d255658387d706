"""Contrastive generation: by a loop over whole texts, plain greedy at no weight, and expected digits by hand."""

import math

import pytest
import torch

from antiphon.errors import WrongValue
from antiphon.generation.contrast import LocalWriter, Reading, answered, contrasted, expected_scores
from antiphon.generation.decoding import Decoding, continued, ids_of
from antiphon.generation.models import open_language_model
from antiphon.generation.written import Prompt, Writing
from tests.generation.tiny import FAMILIES, WORDS, model

SAME = Prompt("Say it again.", "Text: {}\nAgain:", ((("a dog runs",), "the dog is running"),))
OTHER = Prompt("Deny this here.", "Text: {}\nDenied:", ((("a dog runs",), "no dog runs"),))
TEXTS = ["a cat", "many birds fly over the house", "it"]


@pytest.fixture
def lm():
    """Random layers over bytes whose answers differ from text to text."""
    torch.manual_seed(0)
    made, tokenizer = open_language_model("scratch-tiny")
    with torch.no_grad():
        for value in made.parameters():
            if value.dim() > 1:
                value.mul_(12)
    return made, tokenizer


@torch.no_grad()
def _logits(made, ids):
    return made(input_ids=torch.tensor([ids])).logits[0, -1]


def _ids(tokenizer, prompt, text):
    return [tokenizer.bos_token_id, *tokenizer(prompt.beginning() + prompt.asked(text))["input_ids"]]


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_is_reading_each_text_alone(family):
    lm = model(family)
    beginning, rest = [5, 9, 2, 40], [[7, 8, 1], [3], [11, 4, 60, 2, 9]]
    reading = Reading(lm, beginning, rest, 3)
    lines = [[*beginning, *line] for line in rest]
    torch.testing.assert_close(reading.logits, torch.stack([_logits(lm, line) for line in lines]), atol=1e-4, rtol=0)
    for rows, ids in (([0, 1, 2], [6, 7, 8]), ([2, 0], [9, 10]), ([1], [12])):
        reading.keep(torch.tensor(rows))
        lines = [[*lines[row], token] for row, token in zip(rows, ids, strict=True)]
        found = reading.read(torch.tensor(ids))
        torch.testing.assert_close(found, torch.stack([_logits(lm, line) for line in lines]), atol=1e-4, rtol=0)


def test_no_weight_is_plain_greedy_token_by_token(lm):
    made, tokenizer = lm
    found = answered(made, tokenizer, SAME, TEXTS, Writing(weight=0.0, max_tokens=12))
    for text, line in zip(TEXTS, found, strict=True):
        prompt = ids_of(tokenizer, [tokenizer.bos_token + SAME.beginning() + SAME.asked(text)])
        newline = tokenizer("\n")["input_ids"]
        plain = continued(made, prompt, Decoding(max_tokens=12), ends=[tokenizer.eos_token_id], stops=[newline])
        ids = plain.values[0, : int(plain.lengths[0])].tolist()
        assert line == (ids[:-1] if ids[-1] in (tokenizer.eos_token_id, *newline) else ids)
    assert len({tuple(line) for line in found}) > 1


@pytest.mark.parametrize("weight", [0.4, 1.5])
def test_the_equation_by_a_loop_over_whole_texts(lm, weight):
    made, tokenizer = lm
    cfg = Writing(weight=weight, plausible=0.05, max_tokens=10)
    found = answered(made, tokenizer, SAME, TEXTS, cfg, opposite=OTHER)
    for text, line in zip(TEXTS, found, strict=True):
        said: list[int] = []
        for _ in range(cfg.max_tokens):
            log_p, log_q = (_logits(made, [*_ids(tokenizer, one, text), *said]).log_softmax(0) for one in (SAME, OTHER))
            best, top = -math.inf, float(log_p.exp().max())
            for token in range(len(log_p)):
                if float(log_p[token].exp()) >= 0.05 * top and float(log_p[token] - weight * log_q[token]) > best:
                    best, chosen = float(log_p[token] - weight * log_q[token]), token
            if chosen == tokenizer.eos_token_id or "\n" in tokenizer.decode([chosen]):
                break
            said.append(chosen)
        assert line == said
    assert found != answered(made, tokenizer, SAME, TEXTS, Writing(weight=0.0, max_tokens=10))


def test_contrasted_by_hand():
    p, q = torch.tensor([[0.5, 0.3, 0.15, 0.05]]), torch.tensor([[0.6, 0.1, 0.1, 0.2]])
    found = contrasted(p.log() + 3, q.log() - 1, weight=0.5, plausible=0.25)[0].tolist()
    assert found[0] == pytest.approx(math.log(0.5) - 0.5 * math.log(0.6))
    assert found[1] == pytest.approx(math.log(0.3) - 0.5 * math.log(0.1))
    assert found[2] == pytest.approx(math.log(0.15) - 0.5 * math.log(0.1))
    assert found[3] == -math.inf


def test_the_expected_digit(lm):
    made, tokenizer = lm
    prompt = Prompt("How alike?", "A: {}\nB: {}\nScore:", ((("x", "x"), "5"),))
    pairs = [("a cat", "the cat"), ("birds fly", "it")]
    found = expected_scores(made, tokenizer, prompt, pairs)
    for pair, score in zip(pairs, found.tolist(), strict=True):
        ids = [tokenizer.bos_token_id, *tokenizer(prompt.beginning() + prompt.asked(*pair) + " ")["input_ids"]]
        shares = _logits(made, ids)[[ord(digit) for digit in "012345"]]
        byte = tokenizer("0")["input_ids"]
        assert len(byte) == 1
        shares = _logits(made, ids)[[tokenizer(digit)["input_ids"][0] for digit in "012345"]].softmax(0)
        assert score == pytest.approx(sum(d * float(share) for d, share in enumerate(shares)), abs=1e-4)
    writer = LocalWriter(made, tokenizer)
    assert writer.score(prompt, pairs) == pytest.approx(found.tolist(), abs=1e-4)


def test_a_writer_is_named_by_its_weights(lm):
    made, tokenizer = lm
    before = LocalWriter(made, tokenizer)
    assert before.name == LocalWriter(made, tokenizer).name
    with torch.no_grad():
        next(made.parameters())[0, 0] += 1
    assert before.name != LocalWriter(made, tokenizer).name
    assert all(isinstance(said, str) for said in before.write(SAME, OTHER, TEXTS, Writing(max_tokens=4)))


def test_what_cannot_be_read(lm):
    made, tokenizer = lm
    with pytest.raises(WrongValue, match=r"weight=0.4 counts against an opposite instruction"):
        answered(made, tokenizer, SAME, TEXTS)
    with pytest.raises(WrongValue, match="one token or more"):
        Reading(made, [1], [[2], []], 1)
    with pytest.raises(WrongValue, match="100 tokens of instruction, 20 of text and 20 of answer pass the 128"):
        Reading(model("llama"), [1] * 100, [[WORDS - 1] * 20], 20)
