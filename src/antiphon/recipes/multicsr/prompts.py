"""What the language model is asked: to say a sentence again, to contradict it, and how alike two sentences are.

The wording is ours; each of the first two stands against the other in contrastive generation.
"""

from __future__ import annotations

from antiphon.generation.written import Prompt

_SAID = (
    (
        "a sailor is tuning a banjo on the pier",
        "someone by the sea gets a banjo ready to be played",
        "nobody on the pier has a banjo",
    ),
    (
        "the town has about two thousand inhabitants",
        "around two thousand people live in the town",
        "the town is empty and no one lives there",
    ),
    ("the film was released in 1994", "the movie came out in 1994", "the film was cancelled before its release"),
    (
        "water freezes when it gets cold enough",
        "at low temperatures water turns into ice",
        "water stays liquid however cold it gets",
    ),
)

SAME = Prompt(
    "Rewrite the sentence in other words, so that it means the same.",
    "Sentence: {}\nSame meaning:",
    tuple(((text,), same) for text, same, _ in _SAID),
)
CONTRARY = Prompt(
    "Write a sentence that contradicts the sentence, so that both cannot be true.",
    "Sentence: {}\nContradiction:",
    tuple(((text,), contrary) for text, _, contrary in _SAID),
)
ALIKE = Prompt(
    "Say how alike two sentences are in meaning: 5 for the same meaning, 3 for a related one, 0 for nothing in common. "
    "Answer with the number alone.",
    "First: {}\nSecond: {}\nScore:",
    (
        (("a clerk is stamping the forms", "someone puts stamps on the forms"), "5"),
        (("the film was released in 1994", "the movie is about a war"), "1"),
        (("two ponies trot along the shore", "a pony walks by the water"), "3"),
        (("she opened the window", "nobody opened the window"), "0"),
        (("the town has about two thousand inhabitants", "around two thousand people live in the town"), "5"),
        (("a boy is peeling a pear", "the price of copper fell last spring"), "0"),
    ),
)
