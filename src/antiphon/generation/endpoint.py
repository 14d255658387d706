"""A server of language models with the interface of OpenAI (`POST /chat/completions`), as a `Writer`.

vLLM, llama.cpp, Ollama and most paid services speak it. It gives texts and no logits, so that contrastive generation
(`contrast`) is not to be had there. The key is read from an environment variable when it is needed, and kept nowhere.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from antiphon.config import Config
from antiphon.errors import UserError, WrongValue
from antiphon.generation.written import Prompt, Writing

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST = 60.0


class Endpoint(Config):
    """Where a language model is served."""

    url: str
    """The base, before `/chat/completions`: `http://127.0.0.1:8000/v1`."""
    model: str
    """As the server names it."""
    key: str | None = None
    """The name of the environment variable that holds the key; never the key."""
    timeout: PositiveFloat = 60.0
    """Seconds, of one try."""
    tries: PositiveInt = 5
    """Of a request that meets a busy or broken server."""
    wait: NonNegativeFloat = 1.0
    """Seconds before the second try; each further wait is twice as long, or as long as the server says."""

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not re.match(r"https?://[^/@\s]+(/|$)", url):
            raise ValueError("wanted http://host/path or https://host/path, without a name or password in it")
        return url.rstrip("/")

    @field_validator("key")
    @classmethod
    def _a_name(cls, key: str | None) -> str | None:
        if key is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
            # the value is not told: it may be the key itself
            raise ValueError("wanted the name of an environment variable, in capitals, not the key itself")
        return key


class EndpointError(UserError, RuntimeError):
    """A server that did not answer as it should, in one line."""


class RemoteWriter:
    """A served language model, as a `Writer`.

    Args:
        cfg: where.
        sleep: waits so many seconds.
    """

    def __init__(self, cfg: Endpoint, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.cfg, self.sleep = cfg, sleep
        self.name = f"{cfg.model} at {cfg.url}"
        self.opener = urllib.request.build_opener(_NoRedirect)

    def write(self, prompt: Prompt, opposite: Prompt | None, texts: Sequence[str], cfg: Writing) -> list[str]:
        """The first line of what it says to each text.

        Raises:
            WrongValue: a weight against the opposite instruction, which wants logits.
            EndpointError: no answer.
        """
        if cfg.weight > 0:
            raise WrongValue(
                f"weight={cfg.weight:g} of contrastive generation wants logits, and {self.cfg.url} gives texts alone: "
                "set weight=0 (written=plain), or take a local model"
            )
        said = [self.say(prompt.messages(text), cfg.max_tokens) for text in texts]
        return [" ".join(one.strip().partition("\n")[0].split()) for one in said]

    def score(self, prompt: Prompt, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """The number that it says to each pair, by `parsed`."""
        return [parsed(self.say(prompt.messages(*pair), 8)) for pair in pairs]

    def say(self, messages: Sequence[Mapping[str, str]], max_tokens: int) -> str:
        """The answer to a conversation, by the likeliest tokens.

        Raises:
            EndpointError: no answer, after as many tries as are set.
        """
        asked = {"model": self.cfg.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0}
        problem = ""
        for count in range(self.cfg.tries):
            pause = self.cfg.wait * 2.0**count
            try:
                return self._answer(self._posted(asked))
            except urllib.error.HTTPError as error:
                problem = self._explained(error)
                if error.code not in _BUSY:
                    raise EndpointError(problem) from None
                pause = max(pause, _seconds(error.headers.get("Retry-After")))
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                problem = f"{self.cfg.url}: {getattr(error, 'reason', error) or type(error).__name__}"
            if count + 1 < self.cfg.tries:
                self.sleep(min(pause, _LONGEST))
        raise EndpointError(f"{problem}; gave up after {self.cfg.tries} tries: what was answered so far is kept")

    def _posted(self, asked: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.cfg.key is not None:
            headers["Authorization"] = f"Bearer {self._key()}"
        request = urllib.request.Request(f"{self.cfg.url}/chat/completions", json.dumps(asked).encode(), headers)
        with self.opener.open(request, timeout=self.cfg.timeout) as answer:
            found: bytes = answer.read()
        return found

    def _answer(self, body: bytes) -> str:
        try:
            said = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            said = None
        if not isinstance(said, str):
            shown = self._hidden(body.decode("utf-8", "replace"))
            raise EndpointError(f"{self.cfg.url}: an answer without choices[0].message.content: {shown}")
        return said

    def _explained(self, error: urllib.error.HTTPError) -> str:
        with error:  # else its socket stays open until it is collected
            said = self._hidden(error.read(2000).decode("utf-8", "replace"))
        what = {401: "; is the variable named by `key` set to a valid key?", 404: "; is the url the base of the API?"}
        if error.code < 400:
            what = {error.code: "; a redirect is not followed, since it would carry the key along: set the url itself"}
        return f"{self.cfg.url}: {error.code} {error.reason}: {said}{what.get(error.code, '')}"

    def _key(self) -> str:
        key = os.environ.get(str(self.cfg.key), "")
        if not key:
            raise EndpointError(f"{self.cfg.url}: the environment variable {self.cfg.key} is not set")
        return key

    def _hidden(self, text: str) -> str:
        """A server's words on one line, cut short, without the key that some repeat."""
        if self.cfg.key is not None:
            text = text.replace(self._key(), "***")
        return " ".join(text.split())[:200]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: urllib would send the key to wherever it is told to go."""


def parsed(said: str) -> float | None:
    """A score that was said as "d" or "d.d", 0 to 5; None for anything else."""
    if not re.fullmatch(r"\d(\.\d)?", said.strip()):
        return None
    score = float(said)
    return score if score <= 5 else None


def _seconds(said: str | None) -> float:
    return float(said) if said is not None and re.fullmatch(r"\d+(\.\d+)?", said) else 0.0
