"""Manual pages of Linux: long documents, each about one call, file or idea, with its purpose in a line.

From the Debian packages manpages-dev (sections 2 and 3) and manpages (1, 4, 5, 7 and 8): `<name>.<section>.gz`, in
the macros of man(7). Of these the running text is read; calls, examples and tables are left out, since they are not
prose, as are the sections that all pages share (authors, references, colophon).
"""

from __future__ import annotations

import gzip
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from antiphon.data.cache import DataError
from antiphon.data.table import table

DESCRIPTION = "Linux manual pages: long documents, with the purpose of each in a line"
LICENCE = "free, each page its own (GPL, BSD, MIT or the verbatim licence of man-pages): see the packages' copyright"
PACKAGES = ("manpages-dev", "manpages")

_KINDS = dict.fromkeys(("id", "text", "title", "section"), "text")
_LEFT_OUT = {"NAME", "SYNOPSIS", "LIBRARY", "AUTHOR", "AUTHORS", "SEE ALSO", "COLOPHON", "COPYRIGHT", "EXAMPLES"}
"""Sections without prose, or alike in all pages."""
_BLOCKS = {"nf": "fi", "EX": "EE", "TS": "TE", "de": ".", "ig": "."}
"""Requests that begin what is not prose, and what ends each."""
_FONTS = {"B", "I", "BR", "RB", "BI", "IB", "IR", "RI", "R", "SM", "SB"}
_SIGNS = {
    "aq": "'",
    "dq": '"',
    "cq": "'",
    "oq": "'",
    "lq": '"',
    "rq": '"',
    "ha": "^",
    "ti": "~",
    "rs": "\\",
    "em": " - ",
}
_SIGNS |= {
    "en": "-",
    "mu": "x",
    "<=": "<=",
    ">=": ">=",
    "+-": "+-",
    "->": "->",
    "bu": "*",
    "co": "(C)",
    "Fo": "",
    "Fc": "",
}
_ESCAPE = re.compile(r"\\(?:f(?:\[\w*\]|\(..|.)|s[+-]?\d|\((..)|\[([^\]]*)\]|(.))")

_log = logging.getLogger(__name__)


def load(folder: str | Path | None = None, *, packages: Sequence[str] = PACKAGES, shortest: int = 200) -> Dataset:
    """Rows of `id, text, title, section`: `accept.2`, its prose, "accept a connection on a socket", `2`.

    Pages that only point to another, pages without a purpose and short pages are left out, and counted in the log.

    Args:
        folder: holds the unpacked packages, one folder each, under their own names; None gets them through
            `antiphon.data.debian`.
        packages: which of them.
        shortest: pages with fewer words are left out.

    Raises:
        DataError: no pages there, or a package cannot be had.
    """
    rows, left = [], Counter[str]()
    for package in packages:
        root = _root(folder, package)
        pages = sorted(root.glob("usr/share/man/man[1-8]/*.gz"))
        if not pages:
            raise DataError(f"manuals: no pages below {root}/usr/share/man; unpack {package} there")
        for path in pages:
            page = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
            name = path.name.removesuffix(".gz")
            title, text = read_page(page)
            if path.is_symlink() or page.startswith(".so "):
                left["that point to another page"] += 1
            elif not title:
                left["without a purpose"] += 1
            elif len(text.split()) < shortest:
                left["that are short"] += 1
            else:
                rows.append({"id": name, "text": text, "title": title, "section": name.rpartition(".")[2]})
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(left.items()))
    _log.info("manuals: left out %s", told or "none")
    return table(rows, _KINDS, description=f"{DESCRIPTION}. {len(rows)} pages; left out: {told}", licence=LICENCE)


def read_page(page: str) -> tuple[str, str]:
    """The purpose of a page, and its prose in one line, its sections' headings left out."""
    section, until = "", None
    title, prose = list[str](), list[str]()
    for line in page.splitlines():
        request, _, rest = line[1:].strip().partition(" ") if line[:1] in ".'" else ("", "", line)
        if until is not None:
            until = None if request == until else until
        elif request in _BLOCKS:
            until = _BLOCKS[request]
        elif request == "SH":
            section = " ".join(_words(rest)).upper()
        elif section and request in {"", "TP", "IP", *_FONTS} and not line.startswith((".TP", ".IP")):
            said = _plain(rest if not request else _joined(request, rest))
            (title if section == "NAME" else [] if section in _LEFT_OUT else prose).append(said)
    purpose = re.split(r"\s-+\s", " ".join(title), maxsplit=1)
    return " ".join(purpose[1].split()) if len(purpose) == 2 else "", " ".join(" ".join(prose).split())


def _joined(request: str, rest: str) -> str:
    """Words of one font stand apart; those of two fonts in turn are written together."""
    return (" " if len(request) == 1 or request in {"SM", "SB"} else "").join(_words(rest))


def _words(rest: str) -> list[str]:
    """The arguments of a request: parted by spaces, or in double quotes."""
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"?|(\S+)', rest.partition('\\"')[0])]


def _plain(text: str) -> str:
    """Without escapes: fonts and sizes go, signs become what they stand for."""

    def sign(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is not None:
            return _SIGNS.get(name, "")
        return {"-": "-", "e": "\\", " ": " ", "~": " ", "0": " ", "'": "'", "`": "`"}.get(found[3] or "", "")

    return _ESCAPE.sub(sign, text.partition('\\"')[0])


def _root(folder: str | Path | None, package: str) -> Path:
    if folder is not None:
        return Path(folder) / package
    from antiphon.data.debian import get

    return get(package)
