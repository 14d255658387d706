"""Draws SVG by resvg, after a check: markup from a stranger must not read files, and must not draw for ever.

resvg does open files that an `href` names, and obeys filters that cost minutes; so what reaches outside the
document, declares entities or asks for such filters is refused before it is drawn. This is no sandbox: a
server refuses SVG.
"""

from __future__ import annotations

import re
from typing import NoReturn
from xml.parsers import expat

from antiphon.decode.source import BadInput

MAX_BYTES = 20_000_000
MAX_SIDE = 100_000.0
"""Largest width or height that an SVG may announce, in any unit."""
_INSIDE = re.compile(r"#|data:image/(png|jpe?g|gif|webp)[;,]|$", re.IGNORECASE)
_URL = re.compile(r"url\(\s*['\"]?\s*(?!#|data:image/(?:png|jpe?g|gif|webp)[;,])([^'\")]{0,60})", re.IGNORECASE)
_COSTLY = {"numOctaves": 16.0, "order": 16.0, "radius": 100.0, "stdDeviation": 1e4}
"""Filter settings whose cost grows without bound, and the largest value that is drawn."""
_WATCHED = ("href", "width", "height", *_COSTLY)
_ENCODING = re.compile(r"^(<\?xml[^>]*?)\s+encoding\s*=\s*['\"]([\w.:-]+)['\"]")


def draw(content: bytes, name: str, side: int) -> bytes:
    """The PNG bytes of an SVG, its longer side `side` pixels.

    Raises:
        BadInput: not well-formed, compressed, reaching outside itself, or too costly to draw.
    """
    import resvg_py

    text = _text(content, name)
    has_text = check(text, name)
    try:
        # system fonts cost 60 ms to load: only where there is something to set in them
        return bytes(
            resvg_py.svg_to_bytes(svg_string=text, dpi=96, width=side, height=side, skip_system_fonts=not has_text)
        )
    except ValueError as error:
        raise BadInput(f"{name}: SVG cannot be drawn ({' '.join(str(error).split())})") from None


def check(text: str, name: str) -> bool:
    """Refuse an SVG that is not self-contained; True where it holds letters to be set in a font.

    Raises:
        BadInput: what is wrong with it.
    """
    checker = _Checker(name)
    checker.run(text)
    return checker.has_text


def _text(content: bytes, name: str) -> str:
    if content[:2] == b"\x1f\x8b":
        raise BadInput(f"{name}: compressed (svgz or gzip): unpack it first")
    if len(content) > MAX_BYTES:
        raise BadInput(f"{name}: SVG of {len(content)} bytes, the limit is {MAX_BYTES}")
    declared = _ENCODING.match(content[:200].decode("latin-1").lstrip("ï»¿"))
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else declared[2] if declared else "utf-8"
    try:
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise BadInput(f"{name}: SVG is not {encoding} ({error})") from None
    return _ENCODING.sub(r"\1", text.lstrip())


class _Checker:
    """Walks the markup once; the parser and resvg read the very same string."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_text = False
        self.depth = 0
        self.style: list[str] | None = None

    def run(self, text: str) -> None:
        parser = expat.ParserCreate("utf-8", " ")
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.letters
        parser.EntityDeclHandler = self.entity
        parser.ProcessingInstructionHandler = self.instruction
        try:
            parser.Parse(text.encode("utf-8"), True)
        except (expat.ExpatError, UnicodeEncodeError) as error:
            raise BadInput(f"{self.name}: SVG is not well-formed ({error})") from None

    def refuse(self, what: str) -> NoReturn:
        raise BadInput(f"{self.name}: SVG {what}: only self-contained drawings are read")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(" ")[2]
        self.depth += 1
        self.has_text |= tag == "text"
        self.style = [] if tag == "style" else self.style
        if self.depth == 1 and tag != "svg":
            raise BadInput(f"{self.name}: markup begins with <{tag[:40]}>, wanted <svg>")
        for key, value in attributes.items():
            if "(" in value or "@" in value:  # few of them: most are path data, numbers, colours
                self.css(value)
            if key.endswith(_WATCHED):
                self.attribute(tag, key.rpartition(" ")[2], value)

    def attribute(self, tag: str, key: str, value: str) -> None:
        if key == "href" and tag != "a" and not _INSIDE.match(value.strip()):  # a link is never followed
            self.refuse(f"<{tag}> points to {value.strip()[:60]!r}")
        if self.depth == 1 and key in ("width", "height"):
            self.bound(key, value, MAX_SIDE)
        if tag.startswith("fe") and key in _COSTLY:
            self.bound(f"{tag} {key}", value, _COSTLY[key])

    def bound(self, key: str, value: str, most: float) -> None:
        for number in re.findall(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?", value):
            if not _float(number) <= most:
                self.refuse(f"{key} is {value[:30]!r}, the limit is {most:g}")

    def css(self, text: str) -> None:
        found = _URL.search(text)
        if found:
            self.refuse(f"style points to {found[1]!r}")
        if "@import" in text.lower():
            self.refuse("style imports another")

    def letters(self, data: str) -> None:
        if self.style is not None:
            self.style.append(data)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if self.style is not None and tag.rpartition(" ")[2] == "style":
            self.css("".join(self.style))
            self.style = None

    def entity(self, entity: str, *_: object) -> None:
        self.refuse(f"declares the entity {entity!r}")

    def instruction(self, target: str, _: str) -> None:
        if target == "xml-stylesheet":
            self.refuse("asks for an outside style sheet")


def _float(number: str) -> float:
    try:
        return float(number)
    except ValueError:
        return float("nan")
