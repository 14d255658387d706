"""Captions of sounds measured: does a caption name the event, what do references say, and what do simple ways give.

`sound` is what the method is for; `projected` asks about vectors made anew of the training texts' (memory projection),
and `text` about those of reference captions: that is how well the captioner would do if there was no gap. `retrieved`
takes the nearest training caption, `template` the nearest name, `prior` the same middling caption for all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from jaxtyping import Float
from markupsafe import Markup
from torch import Tensor

from antiphon.encoders.space import Space
from antiphon.evaluation.captions import bleu, cider_d, macro, rouge_l, unique_share
from antiphon.evaluation.geometry import modality_gap
from antiphon.generation.caption import Captioner, remembered
from antiphon.generation.decoding import Decoding
from antiphon.recipes.audio_captioning.rows import Heard, names_kind
from antiphon.runs import Measures


@dataclass(frozen=True)
class Shown:
    """What a person would look at, of every sound."""

    tags: list[list[str]]
    captions: list[str]
    retrieved: list[str]


def asked(
    captioner: Captioner,
    space: Space,
    heard: Heard,
    memory: Float[Tensor, "n e"],
    texts: list[str],
    decoding: Decoding,
    names: int,
) -> tuple[Measures, Shown]:
    """Measures of the captions of these sounds, and the captions.

    Args:
        captioner: trained.
        space: its texts and sounds.
        heard: the sounds.
        memory: vectors of the training captions.
        texts: those captions.
        decoding: how captions are made.
        names: how many names the hard prompt holds.
    """
    generator = torch.Generator().manual_seed(0)
    told = [of_one[at % len(of_one)] for at, of_one in enumerate(heard.references)]
    asks = {
        "sound": heard.vectors,
        "projected": remembered(heard.vectors, memory),
        "text": space.embed(text=told),
    }
    made = {
        name: captioner.captions(vectors, decoding, tags=names, generator=generator) for name, vectors in asks.items()
    }
    nearest = (heard.vectors @ memory.T).argmax(1).tolist()
    near = captioner.nearest(heard.vectors, 3).tolist()
    tags = [[captioner.names[at] for at in row] for row in near]
    middle = texts[int((memory @ memory.mean(0)).argmax())]
    made |= {
        "retrieved": [texts[at] for at in nearest],
        "template": [f"the sound of {row[0]}" for row in tags],
        "prior": [middle] * len(told),
    }
    found: Measures = {}
    for name, captions in made.items():
        found |= {f"{name}/{key}": value for key, value in _scores(captions, heard).items()}
    dealt = torch.randperm(len(told), generator=generator).tolist()
    found["shuffled/hit"] = _hit([made["sound"][at] for at in dealt], heard.kinds)
    found["gap"] = modality_gap(heard.vectors, memory)
    return found, Shown(tags, made["sound"], made["retrieved"])


def drawn(heard: Heard, shown: Shown, *, each: int = 2) -> tuple[Markup, str]:
    """A table of the first sounds of each kind, and what it shows."""
    seen: Counter[str] = Counter()
    rows = []
    for at in sorted(range(len(heard.kinds)), key=lambda at: (heard.kinds[at], heard.names[at])):
        seen[heard.kinds[at]] += 1
        if seen[heard.kinds[at]] > each:
            continue
        cells = [heard.kinds[at], heard.names[at], ", ".join(shown.tags[at]), shown.captions[at], shown.retrieved[at]]
        row = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells)
        mark = "right" if names_kind(shown.captions[at], heard.kinds[at]) else "wrong"
        rows.append(Markup('<tr class="{}">{}</tr>').format(mark, row))
    head = Markup("").join(
        Markup("<th>{}</th>").format(name)
        for name in ("kind", "file", "nearest names", "caption made", "nearest training caption")
    )
    table = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, Markup("\n").join(rows))
    hits, retrieved = (_hit(captions, heard.kinds) for captions in (shown.captions, shown.retrieved))
    caption = (
        f"Test sounds, none of them heard in training, {each} of each kind. The captioner has read texts alone. Its "
        f"captions name the kind of {hits:.0%} of all test sounds (mean over kinds), the nearest training captions of "
        f"{retrieved:.0%}."
    )
    return table, caption


WAYS = {
    "sound": "the captioner, asked about sounds",
    "projected": "asked about sounds made anew of training texts",
    "text": "asked about reference captions: no gap",
    "retrieved": "the nearest training caption",
    "template": "the sound of the nearest name",
    "prior": "one middling caption for all",
}
"""Ways to a caption, as a page names them."""
_METRICS = ("hit", "unique", "CIDEr-D", "BLEU-4", "ROUGE-L")


def compared(found: Measures) -> tuple[Markup, str]:
    """A table of all ways to a caption by all metrics, and what it shows.

    Args:
        found: as `asked` gives it.
    """
    lines = [("", _METRICS)] + [
        (said, tuple(f"{found[f'{name}/{metric}']:.2f}" for metric in _METRICS)) for name, said in WAYS.items()
    ]
    cells = [Markup("").join(Markup("<td>{}</td>").format(one) for one in (said, *values)) for said, values in lines]
    rows = Markup("\n").join(Markup("<tr>{}</tr>").format(line) for line in cells)
    caption = (
        "Ways to a caption of a test sound: how often it names the kind (mean over kinds), how many captions differ, "
        f"and how near they are to reference captions. Captions dealt out at random name {found['shuffled/hit']:.2f}."
    )
    return Markup("<table><tbody>{}</tbody></table>").format(rows), caption


def _scores(captions: list[str], heard: Heard) -> Measures:
    return {
        "hit": _hit(captions, heard.kinds),
        "unique": unique_share(captions),
        "CIDEr-D": cider_d(captions, heard.references),
        "BLEU-4": bleu(captions, heard.references),
        "ROUGE-L": rouge_l(captions, heard.references),
    }


def _hit(captions: list[str], kinds: list[str]) -> float:
    return macro([names_kind(caption, kind) for caption, kind in zip(captions, kinds, strict=True)], kinds)
