"""Text: NFC, without space around it; and its words."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from antiphon.decode.source import BadInput

MAX_CHARACTERS = 100_000
"""Longest text."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(source: Any) -> str:
    """A text without space around it, in Unicode form NFC.

    Raises:
        BadInput: not a text, not UTF-8, empty, or longer than `MAX_CHARACTERS`.
    """
    if isinstance(source, bytes):
        try:
            source = source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadInput(f"text of {len(source)} bytes: not UTF-8 ({error.reason} at byte {error.start})") from None
    if not isinstance(source, str):
        raise BadInput(f"text: got a {type(source).__name__} ({source!r:.40}), wanted a string")
    if len(source) > MAX_CHARACTERS:
        raise BadInput(f"text of {len(source)} characters, the limit is {MAX_CHARACTERS}: cut it")
    if not source.isascii() and _SURROGATE.search(source):
        raise BadInput(f"text {source!r:.60}: broken UTF-8 (a lone surrogate): read the file as UTF-8")
    text = unicodedata.normalize("NFC", source).strip()
    if not text:
        raise BadInput(f"text {source!r:.40}: empty: leave it out, or give None where a row has no text")
    return text


def split_words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, lower-cased."""
    return re.findall(r"\w+", text.lower())
