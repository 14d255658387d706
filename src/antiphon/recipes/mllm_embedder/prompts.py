"""The prompts, as data: two levels of a one-word rule, in three wordings each, and what is left out of them.

The paper's wording is not known to the letter: these are ours, of its structure, fixed before any was measured.
"""

from __future__ import annotations

from typing import Literal

from antiphon.encoders.templates import Prompt

Level = Literal["none", "mean", "chat", "user", "system", "both", "word"]
"""none: the bare text; mean: the same, all of whose tokens are averaged but the first; chat: the chat template alone;
user, system, both: with the rule at these levels; word: a one-word prompt without a chat, as PromptEOL has it (arXiv
2307.16645)."""

SYSTEM = (
    "Given an image, summarize it in one word. Given only text, describe the text in one word.",
    "If you are shown an image, sum it up in one word. If you are given only a text, sum up the text in one word.",
    "Your task is to name what an image shows in a single word, or, where there is only text, what the text means in a "
    "single word.",
)
USER = (
    ("Find texts with the same meaning.\n", "\nRepresent the given text in one word."),
    ("Retrieve a text that says the same as this one.\n", "\nSay in one word what the text above is about."),
    ("Compare the meaning of texts.\n", "\nExpress the text in one word."),
)
SHOWN = (
    ("Find a text that describes this image.\n", "\nRepresent the given image in one word."),
    ("Retrieve a text that says what this image shows.\n", "\nSay in one word what the image above shows."),
    ("Match the image with texts.\n", "\nExpress the image in one word."),
)
"""As `USER`, around a picture."""
WORD = (
    ('This sentence: "', '" means in one word: "'),
    ('The meaning of the text "', '" in one word is: "'),
    ('"', '" can be summed up in one word as "'),
)
WORD_SHOWN = (
    ('This image: "', '" means in one word: "'),
    ('The meaning of the image "', '" in one word is: "'),
    ('"', '" can be summed up in one word as "'),
)
WORDINGS = len(SYSTEM)


def caption_prompt(*, chat: bool) -> Prompt:
    """What stands around a picture while a connector learns captions: no rule and no word of the measured prompts."""
    return Prompt(after="\nDescribe the image.") if chat else Prompt(chat=False)


def prompt_of(
    level: Level, wording: int, *, chat: bool = True, instruction: bool = True, image: bool = False
) -> Prompt:
    """The prompt of a level in one of its wordings (0 to 2).

    Args:
        level: see above.
        wording: of the rule; the levels none and chat have but one.
        chat: by the chat template; False is for models without one.
        instruction: whether the user's level begins with the task, before the text.
        image: around a picture; the system's rule speaks of both.
    """
    task, after = (SHOWN if image else USER)[wording]
    before = task if instruction else ""
    if level in ("none", "mean"):
        return Prompt(chat=False)
    if level == "word":
        first, last = (WORD_SHOWN if image else WORD)[wording]
        return Prompt(before=first, after=last, chat=False)
    system = SYSTEM[wording] if level in ("system", "both") else ""
    said = {"before": before, "after": after} if level in ("user", "both") else {}
    return Prompt(system=system, chat=chat, **said)
