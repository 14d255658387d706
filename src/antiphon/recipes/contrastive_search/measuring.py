"""Continuations measured, beside people's own, a loop, and people's behind other beginnings; and their pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from antiphon.encoders.batched import embed_items
from antiphon.encoders.open import open_encoder
from antiphon.evaluation.isotropy import isotropy_of_texts
from antiphon.evaluation.report.figures import curves
from antiphon.evaluation.text_quality import (
    coherence,
    diversity,
    generation_length,
    mauve_lite,
    repetition,
)
from antiphon.generation.decoding import Decoding, continued, ids_of
from antiphon.recipes.contrastive_search.texts import Passages
from antiphon.runs import Measures

LOOPED = 4
"""Words of a loop."""

LanguageModel = tuple[Any, Any]
"""A causal language model and its tokenizer."""


def made(speaker: LanguageModel, prefixes: Sequence[str], cfg: Decoding, seed: int) -> list[str]:
    """A continuation of each prefix, of `cfg.max_tokens` tokens: special tokens have no chance, so that lengths agree.

    Args:
        speaker: what continues.
        prefixes: texts.
        cfg: how.
        seed: of what is drawn.
    """
    model, tokenizer = speaker
    generator = torch.Generator().manual_seed(seed)
    prompt, special = ids_of(tokenizer, prefixes), sorted(set(tokenizer.all_special_ids))

    def without_them(_: Any, __: Any, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(special, device=logits.device, dtype=torch.int64), -math.inf)

    hook = model.get_output_embeddings().register_forward_hook(without_them)
    try:
        found = continued(model, prompt, cfg, generator=generator)
    finally:
        hook.remove()
    lines = [row[:length].tolist() for row, length in zip(found.values, found.lengths.tolist(), strict=True)]
    return [str(tokenizer.decode(line)) for line in lines]


def scores(texts: Sequence[str], passages: Passages, judge: LanguageModel, embedder: str | None) -> Measures:
    """Diversity and what it is made of, coherence as the judge sees it, words; with an embedder, mauve-lite.

    Where no text has four words, as a model that is hardly trained makes them, there is nothing to be diverse: 0.
    """
    found = _repetitions(texts)
    found["coherence"] = coherence(*judge, passages.prefixes, texts)
    found["words"] = generation_length(texts)
    if embedder is not None:
        encoder = open_encoder("text", embedder)
        found["mauve-lite"] = mauve_lite(embed_items(encoder, passages.human), embed_items(encoder, texts))
    return found


def anchors(speaker: LanguageModel, passages: Passages, judge: LanguageModel) -> Measures:
    """What does not depend on how texts are continued: levels of the measures, and the model's own.

    `human` is people's continuations, `dealt` each behind another's prefix (the chance level of coherence), `looped`
    their first words over and over (that of diversity); `perplexity` is the model's, of people's continuations.
    """
    human, prefixes = passages.human, passages.prefixes
    found = {f"human/{name}": value for name, value in _repetitions(human).items()}
    found["human/coherence"] = coherence(*judge, prefixes, human)
    found["human/words"] = generation_length(human)
    found["dealt/coherence"] = coherence(*judge, prefixes[1:] + prefixes[:1], human)
    found["looped/diversity"] = diversity([_looped(text) for text in human])
    own = found["human/coherence"] if judge is speaker else coherence(*speaker, prefixes, human)
    found["perplexity"] = math.exp(-own)
    layers = isotropy_of_texts(*speaker, whole(passages))
    found |= {f"isotropy/layer {at:02}": value for at, value in enumerate(layers)}
    return found | {"isotropy": layers[-1]}


def whole(passages: Passages) -> list[str]:
    """Prefixes with people's continuations."""
    return [prefix + human for prefix, human in zip(passages.prefixes, passages.human, strict=True)]


def layers_drawn(by_text: Mapping[str, Sequence[float]]) -> tuple[Markup, str]:
    """Isotropy by layer, a line for each kind of text, and what it shows."""
    series = {name: list(enumerate(values)) for name, values in by_text.items()}
    last = ", ".join(f"{name} {values[-1]:.2f}" for name, values in by_text.items())
    return (
        curves(series, x="layer (0: word vectors)", y="isotropy"),
        "One minus the mean cosine of two tokens of a text, by layer, of the last layer behind its norm. The last "
        f"layer's: {last}.",
    )


def methods_drawn(rows: Mapping[str, Measures]) -> tuple[Markup, str]:
    """A table of the measures of several ways to continue, people's among them."""
    names = ("diversity", "rep-2", "rep-3", "rep-4", "coherence", "words")
    head = _row("th", ("continued by", *names))
    body = [_row("td", (method, *(f"{found[name]:.3g}" for name in names))) for method, found in rows.items()]
    table = Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, Markup("\n").join(body))
    return table, (
        "Diversity is a share, rep-n a per cent of n-grams, coherence the judge's mean log p of a token. Noise is "
        "diverse and a loop is coherent, so neither says enough alone."
    )


def texts_drawn(passages: Passages, said: Sequence[str], method: str, *, most: int = 4) -> tuple[Markup, str]:
    """The first passages with their continuations."""
    rows = list(zip(passages.prefixes, said, passages.human, strict=True))[:most]
    head = _row("th", ("beginning", f"by {method} search" if method != "nucleus" else "by nucleus", "by people"))
    body = Markup("\n").join(_row("td", row) for row in rows)
    table = Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, body)
    return table, "Beginnings of held-out texts, and how the model and people went on, cut at one number of tokens."


def _row(cell: str, values: Sequence[str]) -> Markup:
    cells = Markup("").join(Markup(f"<{cell}>{{}}</{cell}>").format(value) for value in values)
    return Markup("<tr>{}</tr>").format(cells)


def _repetitions(texts: Sequence[str]) -> Measures:
    if not any(len(text.split()) >= 4 for text in texts):
        return {"diversity": 0.0} | {f"rep-{n}": 100.0 for n in (2, 3, 4)}
    return {"diversity": diversity(texts)} | {f"rep-{n}": repetition(texts, n) for n in (2, 3, 4)}


def _looped(text: str) -> str:
    words = text.split()
    return " ".join(words[at % LOOPED] for at in range(len(words))) if len(words) >= LOOPED else text
