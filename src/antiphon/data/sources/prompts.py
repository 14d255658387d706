"""Telephone prompts: the same 500 to 600 sentences read by one voice in each of five languages, 8 kHz.

From the Debian packages asterisk-core-sounds-{en,es,fr,it,ru}-wav. What is said stands in the data set
`asterisk_transcripts` (English, Spanish, Russian) where `ANTIPHON_DATA` has it.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import table
from antiphon.decode import clean_text

DESCRIPTION = "Asterisk core prompts: the same sentences spoken in English, Spanish, French, Italian and Russian"
LICENCE = "CC-BY-SA-3.0 (Russian: CC-BY-3.0), recorded by A. Smith, J. Wallack, M. Topal and others"
LANGUAGES = ("en", "es", "fr", "it", "ru")
TRANSCRIPTS = "asterisk_transcripts"

_log = logging.getLogger(__name__)


def load(
    folder: str | Path | None = None,
    *,
    languages: Sequence[str] = LANGUAGES,
    transcripts: str | Path | None = None,
) -> Dataset:
    """Rows of `id` and, for each language xx, `speech_xx`; with transcripts also `text` (English) and
    `text_xx`.

    `id` is the prompt's name ("digits/7"), which the languages share; None stands where a language lacks a
    prompt or its transcript. The prompts of silence are left out. Brackets in a transcript mark tones.

    Args:
        folder: holds the unpacked packages, one folder each, under their own names; None gets them through
            `antiphon.data.debian`.
        languages: which of them.
        transcripts: a TSV file with columns `prompt` and languages; None looks in `$ANTIPHON_DATA`, and where
            it is not there, the rows have no columns of text (the log says so).

    Raises:
        DataError: no such language, folder or file.
    """
    unknown = sorted(set(languages) - set(LANGUAGES))
    if unknown or not languages:
        raise DataError(f"prompts: no language {', '.join(unknown) or 'given'}; there are {', '.join(LANGUAGES)}")
    rows: dict[str, dict[str, Any]] = {}
    for language in languages:
        voice = _voice(folder, language)
        for path in sorted(voice.rglob("*.wav")):
            name = path.relative_to(voice).with_suffix("").as_posix()
            if not name.startswith("silence/"):
                rows.setdefault(name, {"id": name})[f"speech_{language}"] = path
    said = _transcripts(transcripts)
    written = [language for language in languages if any(language in texts for texts in said.values())]
    for name, row in rows.items():
        texts = said.get(name, {})
        row |= {"text" if language == "en" else f"text_{language}": texts.get(language) for language in written}
    kinds = {"id": "text"} | {"text" if language == "en" else f"text_{language}": "text" for language in written}
    kinds |= {f"speech_{language}": "sound" for language in languages}
    return table(list(rows.values()), kinds, description=f"{DESCRIPTION}. {len(rows)} prompts", licence=LICENCE)


def _voice(folder: str | Path | None, language: str) -> Path:
    package = f"asterisk-core-sounds-{language}-wav"
    if folder is None:
        from antiphon.data.debian import get

        root = get(package)
    else:
        root = Path(folder) / package
    voices = sorted(path for path in (root / "usr/share/asterisk/sounds").glob(f"{language}_*") if path.is_dir())
    if len(voices) != 1:
        raise DataError(f"prompts: {root} does not hold one voice of {language}; unpack {package} there")
    return voices[0]


def _transcripts(given: str | Path | None) -> dict[str, dict[str, str]]:
    """What each prompt says, by language."""
    if given is None:
        if not os.environ.get("ANTIPHON_DATA"):
            _log.info("prompts: no transcripts: ANTIPHON_DATA is not set; the rows have no text")
            return {}
        try:
            given = data_folder(TRANSCRIPTS) / "transcripts.tsv"
        except DataError as error:
            _log.info("prompts: no transcripts: %s; the rows have no text", error)
            return {}
    try:
        with Path(given).open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise DataError(f"prompts: {given}: {error.strerror}") from None
    if lines and "prompt" not in lines[0]:
        raise DataError(f"prompts: {given}: no column 'prompt'; it has {', '.join(lines[0])}")
    return {line["prompt"]: _spoken(line) for line in lines}


def _spoken(line: dict[str, str]) -> dict[str, str]:
    return {lang: clean_text(line[lang]) for lang in LANGUAGES if (line.get(lang) or "").strip()}
