"""Prompts around items, by a model's chat template or plain, and a check that the template shows what it is given.

Templates differ in what they take: a turn's words as a string, or as a list of parts; a turn of the system's, or none.
What one does not take it may drop without a word. So the ways are tried in that order, with a probe, and the first
that shows the rule and the user's words is taken. Where no way shows the system's turn, its rule stands at the
beginning of the user's, with an empty line between them (as Gemma's models have it).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

from jinja2 import TemplateError

from antiphon.config import Config
from antiphon.decode import BadInput
from antiphon.errors import WrongValue

Rule = Literal["string", "parts", "folded"]
"""How the system's rule is given: as the words or the parts of a turn of its own, or in the user's turn."""
Part = dict[str, str]

PICTURE: Part = {"type": "image"}


class Prompt(Config):
    """What stands around an item. The user's turn is `before`, the item, `after`, with nothing put between them."""

    system: str = ""
    """The rule for all items; empty: none of ours (some chat templates then put their own)."""
    before: str = ""
    after: str = ""
    chat: bool = True
    """By the tokenizer's chat template. False is for models without one: the system rule, an empty line, the user's
    words, behind the start token if there is one; the last token is then the last of those words."""


class Template:
    """Puts items into a prompt.

    Args:
        prompt: what stands around an item.
        owner: the tokenizer, or the processor of a model of pictures, whose chat template it is.
        picture: for `chat=false`, the signs that stand for a picture.

    Raises:
        WrongValue: a chat prompt, and no template, or one that shows no item however it is given.
    """

    def __init__(self, prompt: Prompt, owner: Any, *, picture: str | None = None) -> None:
        self.prompt, self.owner, self.signs = prompt, owner, picture
        if prompt.chat and not getattr(owner, "chat_template", None):
            raise WrongValue(
                f"{type(owner).__name__} has no chat template: set it, or say chat=false for a plain prompt"
            )
        self.of_text, self.of_picture = None, None
        if prompt.chat and picture is None:
            self.of_text = self._way({"type": "text", "text": "probe"})
        elif prompt.chat:
            self.of_picture = self._way(PICTURE)

    def text(self, text: str) -> str:
        """A text in the prompt.

        Raises:
            BadInput: the template does not show it as it is.
        """
        if self.of_text is None:
            return self._plain(text)
        said = self._said(self.of_text, {"type": "text", "text": text})
        if text.strip() not in said:
            raise BadInput(f"text {text!r:.40}: the chat template does not show it as it is")
        return said

    def image(self) -> str:
        """A picture's signs in the prompt."""
        return self._plain(str(self.signs)) if self.of_picture is None else self._said(self.of_picture, PICTURE)

    def _plain(self, item: str) -> str:
        user = f"{self.prompt.before}{item}{self.prompt.after}"
        return f"{self.prompt.system}\n\n{user}" if self.prompt.system else user

    def _way(self, item: Part) -> tuple[Rule, bool]:
        """The first way, of the rule and of the user's words in parts or not, that shows everything."""
        rules: Sequence[Rule] = ("string", "parts", "folded") if self.prompt.system else ("string",)
        why = "it leaves words out"
        for way in product(rules, (True,) if item == PICTURE else (False, True)):
            try:
                if self._shows(way, item):
                    return way
            except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
                why = " ".join(str(error).split()) or type(error).__name__
        raise WrongValue(f"the chat template of {type(self.owner).__name__} does not take this prompt: {why:.200}")

    def _shows(self, way: tuple[Rule, bool], item: Part) -> bool:
        said = self._said(way, item)
        user = f"{self.prompt.before}{item.get('text', '')}{self.prompt.after}"
        wanted = [user] if item != PICTURE else [self.prompt.before, self.prompt.after]
        if item == PICTURE and said == self._said(way, {"type": "text", "text": ""}):
            return False
        return all(words.strip() in said for words in (self.prompt.system, *wanted))

    def _said(self, way: tuple[Rule, bool], item: Part) -> str:
        rule, in_parts = way
        first = f"{self.prompt.system}\n\n{self.prompt.before}" if rule == "folded" else self.prompt.before
        user: Any = [*_words(first), item, *_words(self.prompt.after)]
        if item["type"] == "text":
            user = f"{first}{item['text']}{self.prompt.after}"
            user = _words(user) if in_parts else user
        turns = [{"role": "user", "content": user}]
        if self.prompt.system and rule != "folded":
            system = _words(self.prompt.system) if rule == "parts" else self.prompt.system
            turns.insert(0, {"role": "system", "content": system})
        return str(self.owner.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def prompt_ids(prompt: Prompt, tokenizer: Any, said: str) -> list[int]:
    """Token ids of a text that begins as `Template` gives it; the start token stands before a plain one."""
    ids: list[int] = list(tokenizer(said, add_special_tokens=False, verbose=False)["input_ids"])
    start = tokenizer.bos_token_id
    return ids if prompt.chat or start is None or ids[:1] == [start] else [start, *ids]


def _words(text: str) -> list[Part]:
    return [{"type": "text", "text": text}] if text else []
