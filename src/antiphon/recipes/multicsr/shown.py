"""The picture of what was written: a few sentences, by plain and by contrastive writing, and whether they were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from antiphon.recipes.multicsr.triplets import Triplet

SAID = {
    "quality/written": "sentences that both were written about",
    "quality/copied": "of x+ the same words as x",
    "quality/copied_contrary": "of x- the same words as x",
    "quality/jaccard_same": "words in common of x and x+ (Jaccard)",
    "random/quality/jaccard_same": "the same of another sentence's x+",
    "quality/jaccard_contrary": "words in common of x and x- (Jaccard)",
    "quality/negated": "of x- a negation that x has not",
    "quality/turned": "turned round by the scores",
    "quality/kept": "kept by them",
    "masked/texts": "of pairs with others' x+ above phi",
    "masked/contrary": "of pairs with others' x- above phi",
    "masked/own": "of pairs with the own x- above phi",
    "masked/rescued": "rows left without a negative, which keep one",
    "triplets": "triplets trained on",
}
"""Measures of what was written, as shares unless said otherwise."""


def table(
    texts: Sequence[str], plain: Mapping[str, Triplet], contrastive: Mapping[str, Triplet], kept: Mapping[str, Triplet]
) -> Markup:
    """A row for each text.

    Args:
        texts: which.
        plain: what plain writing made, by text.
        contrastive: what contrastive writing made.
        kept: the triplets that are trained on, with their scores where they were scored.
    """
    names = ("sentence", "the same, plain", "the same, contrastive", "contrary, plain", "contrary, contrastive", "kept")
    rows = []
    for text in texts:
        sides = [
            str(getattr(side[text], name)) if text in side else "(nothing)"
            for name in ("same", "contrary")
            for side in (plain, contrastive)
        ]
        rows.append(_row("td", [text, *sides, _verdict(text, contrastive, kept)]))
    return Markup('<table style="font-size:0.85em">{}{}</table>').format(_row("th", names), Markup("").join(rows))


def numbers(measures: Mapping[str, float]) -> Markup:
    """A row for each of `SAID` that was measured."""
    rows = [_row("td", [said, f"{measures[name]:.3f}"]) for name, said in SAID.items() if name in measures]
    return Markup("<table>{}</table>").format(Markup("").join(rows))


def _verdict(text: str, written: Mapping[str, Triplet], kept: Mapping[str, Triplet]) -> str:
    if text not in kept:
        return "no"
    found = kept[text]
    said = "turned" if text in written and found.same == written[text].contrary else "yes"
    if found.score_same is None or found.score_contrary is None:
        return said
    return f"{said} ({found.score_same:.2f}, {found.score_contrary:.2f})"


def _row(tag: str, cells: Sequence[str]) -> Markup:
    return Markup("<tr>{}</tr>").format(
        Markup("").join(Markup("<{0}>{1}</{0}>").format(Markup(tag), cell) for cell in cells)
    )
