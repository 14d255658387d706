"""Answers on disk: made once, the same after a kill, and what is no answer is told."""

import json

import pytest

from antiphon.errors import UserError
from antiphon.generation.written import BrokenLine, Prompt, Writing, Written, score_all, write_all

PROMPT = Prompt("Say it again.", "Say: {}\nAgain:", ((("a dog",), "the dog"),))
OPPOSITE = Prompt("Deny it.", "Say: {}\nNot:", ((("a dog",), "no dog"),))
TEXTS = [f"text {'x' * (at * 7 % 10)} {at}" for at in range(10)]


class Counting:
    """A writer whose answers tell of their batch, so that another batch would give another answer."""

    def __init__(self, name="one", die_at=None):
        self.name, self.asked, self.die_at = name, [], die_at

    def write(self, prompt, opposite, texts, cfg):
        if len(self.asked) == self.die_at:
            raise KeyboardInterrupt
        self.asked.append(list(texts))
        return [
            f"{prompt.instruction} {opposite is not None} {cfg.weight} {text} of {'|'.join(texts)}" for text in texts
        ]

    def score(self, prompt, pairs):
        self.asked.append(list(pairs))
        return [None if "x" not in first else float(len(second)) for first, second in pairs]


def test_a_prompt_as_text_and_as_turns():
    assert PROMPT.beginning() == "Say it again.\n\nSay: a dog\nAgain: the dog\n\n"
    assert PROMPT.asked("a\n {cat}") == "Say: a {cat}\nAgain:"
    roles = [(turn["role"], turn["content"]) for turn in PROMPT.messages("x")]
    assert roles == [
        ("system", "Say it again."),
        ("user", "Say: a dog\nAgain:"),
        ("assistant", "the dog"),
        ("user", "Say: x\nAgain:"),
    ]


def test_answers_are_made_once(tmp_path):
    writer, kept = Counting(), Written(tmp_path / "a.jsonl")
    done = []
    found = write_all(kept, writer, PROMPT, None, [*TEXTS, TEXTS[0]], Writing(), batch_size=4, progress=done.append)
    assert [len(batch) for batch in writer.asked] == [4, 4, 2]
    assert sum(done) == 10
    assert [len(text) for batch in writer.asked for text in batch] == sorted(map(len, TEXTS))
    assert found[0] == found[-1]
    assert f" {TEXTS[3]} of" in found[3]
    assert write_all(kept, writer, PROMPT, None, TEXTS, Writing(), batch_size=4) == found[:-1]
    assert len(writer.asked) == 3


def test_what_decides_an_answer_is_in_its_key(tmp_path):
    kept, text = Written(tmp_path / "a.jsonl"), ["a text"]
    first = write_all(kept, Counting(), PROMPT, OPPOSITE, text, Writing())
    for writer, prompt, opposite, cfg in (
        (Counting("two"), PROMPT, OPPOSITE, Writing()),
        (Counting(), OPPOSITE, PROMPT, Writing()),
        (Counting(), PROMPT, None, Writing()),
        (Counting(), PROMPT, OPPOSITE, Writing(weight=0.0)),
        (Counting(), PROMPT, OPPOSITE, Writing(plausible=0.5)),
        (Counting(), PROMPT, OPPOSITE, Writing(max_tokens=3)),
    ):
        write_all(kept, writer, prompt, opposite, text, cfg)
        assert len(writer.asked) == 1
    assert write_all(kept, Counting(), PROMPT, OPPOSITE, text, Writing()) == first


def test_killed_half_way_and_resumed_equals_whole(tmp_path):
    whole = write_all(Written(tmp_path / "whole.jsonl"), Counting(), PROMPT, None, TEXTS, Writing(), batch_size=3)
    kept, dying = Written(tmp_path / "cut.jsonl"), Counting(die_at=2)
    with pytest.raises(KeyboardInterrupt):
        write_all(kept, dying, PROMPT, None, TEXTS, Writing(), batch_size=3)
    assert len(kept.path.read_text().splitlines()) == 6
    writer = Counting()
    assert write_all(kept, writer, PROMPT, None, TEXTS, Writing(), batch_size=3) == whole
    assert len(writer.asked) == 2


def test_a_torn_last_line_is_dropped_with_a_warning(tmp_path):
    kept = Written(tmp_path / "a.jsonl")
    whole = write_all(kept, Counting(), PROMPT, None, TEXTS, Writing(), batch_size=4)
    data = kept.path.read_bytes()
    kept.path.write_bytes(data[:-20])
    writer = Counting()
    with pytest.warns(BrokenLine, match="its last line was cut off"):
        assert write_all(kept, writer, PROMPT, None, TEXTS, Writing(), batch_size=4) == whole
    assert [len(batch) for batch in writer.asked] == [2]  # the whole batch again, of which one answer was lost
    assert kept.path.read_bytes() == data
    kept.path.write_text("no json\n" + data.decode())
    with pytest.raises(UserError, match=r"a\.jsonl:1 is no answer that was kept \('no json'\)"):
        write_all(kept, writer, PROMPT, None, TEXTS, Writing())


def test_scores_are_kept_too_also_where_there_is_none(tmp_path):
    kept, pairs, writer = Written(tmp_path / "a.jsonl"), [("x", "four"), ("o", "four")], Counting()
    assert score_all(kept, writer, PROMPT, pairs) == [4.0, None]
    assert score_all(kept, writer, PROMPT, pairs) == [4.0, None]
    assert len(writer.asked) == 1
    assert [json.loads(line)["text"] for line in kept.path.read_text().splitlines()]
