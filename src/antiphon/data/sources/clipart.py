"""Open Clip Art Library 0.18: some seven thousand public-domain drawings with titles and keywords.

From the Debian package openclipart-svg. Many titles there name a collection and not the drawing ("Lemon SVG
theme"); a title that several drawings share is therefore not used as a caption.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from datasets import Dataset

from antiphon.data.cache import DataError
from antiphon.data.table import table
from antiphon.decode import BadInput
from antiphon.decode.svg import check

DESCRIPTION = "Open Clip Art Library: SVG drawings with titles and keywords"
LICENCE = "public domain (Creative Commons Public Domain Dedication)"
PACKAGE = "openclipart-svg"

_KINDS = {"id": "text", "image": "image", "text": "text", "title": "text", "keywords": "text", "top": "text"} | {
    "text_title": "text"
}
_DC = "{http://purl.org/dc/elements/1.1/}"
_NOISE = re.compile(r"hash|unsorted|0x[0-9a-f]+|[\d\W_]*", re.IGNORECASE)
_ADDRESS = re.compile(r"hash\(0x[0-9a-f]+\)", re.IGNORECASE)
"""What a broken script wrote in the place of keywords."""
_CREDIT = re.compile(r"^clipart by [^-]+ - ", re.IGNORECASE)

_log = logging.getLogger(__name__)


def load(folder: str | Path | None = None, *, shared: int = 5, most: int | None = None) -> Dataset:
    """Rows of `id, image, text, title, keywords, top, text_title`.

    `text` is the title and the keywords in one line, `title` None where it names a collection, `keywords` a
    line of comma-separated words (it may be empty), `top` the first folder. `text_title` is the title and the
    description in one line, without the keywords; of either, what several drawings share is left out, and it is None
    where nothing is left. Left out, and counted in the log and in `rows.info.description`: links to another drawing,
    drawings without any words, such as are not self-contained (they name outside files or declare entities), and
    keywords that are addresses, "hash(0x869b4d8)".

    Args:
        folder: the unpacked package or its `svg` folder; None gets the package through
            `antiphon.data.debian`.
        shared: a title, or a description, of more drawings than this names a collection.
        most: at most so many drawings of one `text`, the first by path: 1,375 are "stars, shapes, magick, geometry".

    Raises:
        DataError: no drawings there, or the package cannot be had.
    """
    root = _root(folder)
    left: Counter[str] = Counter()
    found: dict[Path, _Words] = {}
    for path in sorted(root.rglob("*.svg")):
        if path.is_symlink():
            left["links"] += 1
            continue
        try:
            found[path] = _words(path)
        except BadInput as error:
            left["drawings that are not self-contained"] += 1
            _log.debug("clipart: %s", error)
    titles = Counter(told.title.lower() for told in found.values())
    descriptions = Counter(told.description.lower() for told in found.values())
    rows: list[dict[str, object]] = []
    alike: Counter[str] = Counter()
    for path, told in found.items():
        own = told.title if told.title and titles[told.title.lower()] <= shared else None
        said = told.description if descriptions[told.description.lower()] <= shared else ""
        said = "" if own and said.lower() == own.lower() else said
        keywords = [word for word in told.keywords if not _ADDRESS.fullmatch(word)]
        if len(keywords) < len(told.keywords):
            left["keywords that are addresses"] += len(told.keywords) - len(keywords)
        words = ([own] if own else []) + [word for word in keywords if word.lower() != (own or "").lower()]
        name = path.relative_to(root).with_suffix("").as_posix()
        if not words:
            left["drawings without words"] += 1
            continue
        text, top = ", ".join(words), name.partition("/")[0]
        alike[text] += 1
        if most is not None and alike[text] > most:
            left["drawings beyond the most of one text"] += 1
            continue
        row = {"id": name, "image": path, "text": text, "title": own, "keywords": ", ".join(keywords), "top": top}
        rows.append(row | {"text_title": ". ".join(part for part in (own, said) if part) or None})
    if not rows:
        raise DataError(f"{root}: holds no SVG drawings with words; give the unpacked {PACKAGE} as options.folder")
    report = f"{len(rows)} drawings; left out: " + ", ".join(f"{n} {what}" for what, n in sorted(left.items()))
    _log.info("clipart: %s", report)
    return table(rows, _KINDS, description=f"{DESCRIPTION}. {report}", licence=LICENCE)


def _root(folder: str | Path | None) -> Path:
    if folder is None:
        from antiphon.data.debian import get

        folder = get(PACKAGE)
    inside = Path(folder) / "usr/share/openclipart/svg"
    root = inside if inside.is_dir() else Path(folder)
    if not root.is_dir():
        raise DataError(f"clipart: no folder {root}; give the unpacked {PACKAGE} as options.folder, or leave it out")
    return root


@dataclass(frozen=True)
class _Words:
    """What a drawing says of itself."""

    title: str
    description: str
    keywords: list[str]


def _words(path: Path) -> _Words:
    """The title, description and keywords that the drawing carries; it is checked first."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error.reason})") from None
    check(text, path.name)  # no entities from here on
    work = next((node for node in ElementTree.fromstring(text).iter() if node.tag.endswith("}Work")), None)
    if work is None:
        return _Words("", "", [])
    title = " ".join(_CREDIT.sub("", (work.findtext(f"{_DC}title") or "").strip()).replace("_", " ").split())
    description = " ".join((work.findtext(f"{_DC}description") or "").split())
    items = [node.text or "" for subject in work.iter(f"{_DC}subject") for node in subject.iter()]
    words = [" ".join(item.replace("_", " ").split()) for item in items if not _NOISE.fullmatch(item.strip())]
    return _Words(title, description, list(dict.fromkeys(words)))
