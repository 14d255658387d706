"""Spans of long documents: is a passage near to another of the same document? (DeCLUTR, arXiv 2006.03659)

Of each document A anchors, and for each anchor P positives that overlap it, adjoin it or lie in it. Lengths, in words,
are shortest + b (longest - shortest), b of Beta(4, 2) for anchors (long) and of Beta(2, 4) for positives (short).
With a the anchor's vector and p the mean of its positives', NT-Xent over the 2 A N of a batch of N documents, where
the other spans of one document are hard negatives; and masked words (BERT's 80, 10 and 10 %) of the same anchors:

    loss = -1/(2AN) sum_i log e^{cos(a_i, p_i)/t} / sum_{k != i} e^{cos/t} + mlm * CE

Held-out documents are asked for by a span of their first half, among spans of the second halves; and the encoder is
probed by a few examples of each intent. The control is `near=other`: positives from a random other document.

Axes: N documents, A anchors, P positives, T words, D width, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from antiphon.data.collate import INDEX, chance_of
from antiphon.data.pairs import expand, load, signal_of, splits
from antiphon.decode import BadInput, clean_text, split_words
from antiphon.encoders import Encoder
from antiphon.encoders.heads import Head
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.text import padded_ids
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.evaluation.answers import answers
from antiphon.evaluation.floors import TfIdf, jaccards, named, published
from antiphon.evaluation.probe import few_shot
from antiphon.evaluation.report.figures import curves
from antiphon.objectives.contrast import contrast
from antiphon.objectives.masked_words import MaskedWords, masked
from antiphon.recipes.text_contrast.config import Config
from antiphon.runs import Measures, Run
from antiphon.training.fit import fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Padded, Views

MASK = 0
"""The id of a masked word: what `WordCnn` takes for a word that it does not know."""

_SHOTS = (5, 10)


class Spans(ContrastiveLearner):
    """One encoder, the contrast of anchors with their positives, and what guesses masked words.

    Args:
        cfg: the recipe's.
        encoder: of texts.
        vocabulary: ids of the words that are asked for; unused where cfg.mlm is 0.
    """

    def __init__(self, cfg: Config, encoder: WordCnn, vocabulary: Int[Tensor, " v"]) -> None:
        super().__init__()
        self.cfg = cfg
        self.branches = nn.ModuleDict({"text": Branch(encoder, Head(encoder.width, cfg.width, cfg.text.head))})
        self.words = MaskedWords(encoder.width, encoder.buckets + 1, vocabulary, transform=False)
        self.words.requires_grad_(cfg.mlm > 0)

    def embed(self, batch: Batch) -> Views:
        """Unit vectors of anchors (N, A, D) and of their positives' means; losses of masked words, and their number."""
        branch, cfg = branches_of(self.branches)["text"], self.cfg
        anchors = [batch[f"anchor_{a}"] for a in range(cfg.anchors)]
        near = [batch[f"near_{a}_{p}"] for a in range(cfg.anchors) for p in range(cfg.positives)]
        # all at once: the gradient of the word vectors, a large table, is then made once
        encoded = branch.encoder(_joined([*anchors, *near]))
        count = len(anchors[0])
        vectors_NSD = branch.head(encoded).unflatten(0, (-1, count)).transpose(0, 1)
        near_NAPD = vectors_NSD[:, cfg.anchors :].unflatten(1, (cfg.anchors, cfg.positives))
        views = {"anchor": normalize(vectors_NSD[:, : cfg.anchors], dim=2), "near": normalize(near_NAPD.mean(2), dim=2)}
        if cfg.mlm:
            asked = _joined([batch[f"asked_{a}"] for a in range(cfg.anchors)]).values
            vectors = cast("WordCnn", branch.encoder).embedding.weight
            lost, number = self.words(encoded.tokens[: len(asked), : asked.shape[1]], asked, vectors)
            views |= {"lost": lost.view(-1, count).sum(0), "asked": number.view(-1, count).sum(0)}
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """NT-Xent, and the weighted loss of masked words."""
        losses = {"spans": nt_xent(views["anchor"].flatten(0, 1), views["near"].flatten(0, 1), self.cfg.temperature)}
        if "lost" in views:
            losses["mlm"] = self.cfg.mlm * views["lost"].sum() / views["asked"].sum().clamp(min=1)
        return losses


def nt_xent(first: Float[Tensor, "m d"], second: Float[Tensor, "m d"], temperature: float) -> Float[Tensor, ""]:
    """Contrast over all 2M unit vectors: each is to find its counterpart among 2M - 1 others (SimCLR, equation 1)."""
    both = torch.cat([first, second])
    own = torch.eye(len(both), device=both.device)
    return contrast(both @ both.T / temperature, own.roll(len(first), 1), mask=own == 0)


class SpanBatches:
    """Collates documents: their spans anew in every epoch, by chance that depends on seed, epoch and row only.

    A batch holds `anchor_a` with masked words, `asked_a` with the ids that are asked for there (elsewhere -1),
    `near_a_p`, and `row`.

    Args:
        cfg: the recipe's.
        documents: ids of the words of each, by row; at least 2 A longest of them.
        seed: of the spans.
    """

    def __init__(self, cfg: Config, documents: Sequence[list[int]], seed: int) -> None:
        self.cfg, self.documents, self.seed = cfg, documents, seed

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """The batch of these rows."""
        cfg = self.cfg
        chances = [chance_of(self.seed, "spans", row) for row in rows]
        drawn = [self._drawn(row[INDEX], chance) for row, chance in zip(rows, chances, strict=True)]
        batch: Batch = {"row": torch.tensor([row[INDEX] for row in rows]), "quarantine": []}
        for a in range(cfg.anchors):
            ids = padded_ids([spans[a][0] for spans in drawn], MASK)
            seen, asked = masked(ids, cfg.masked if cfg.mlm else 0.0, chances, mask=MASK)
            batch |= {f"anchor_{a}": seen, f"asked_{a}": asked}
            for p in range(cfg.positives):
                batch[f"near_{a}_{p}"] = padded_ids([spans[a][1][p] for spans in drawn], MASK)
        return batch

    def _drawn(self, at: int, chance: torch.Generator) -> list[tuple[list[int], list[list[int]]]]:
        """The anchors of a document, each with its positives."""
        cfg, random = self.cfg, np.random.default_rng(int(torch.randint(2**62, (1,), generator=chance)))
        words, spans = self.documents[at], []
        for start, end in anchors_of(len(words), cfg.anchors, cfg.shortest, cfg.longest, random):
            near = list[list[int]]()
            source, begin, stop = words, start, end
            if cfg.near == "other":
                other = int(random.integers(len(self.documents) - 1))
                source = self.documents[other + (other >= at)]
                ((begin, stop),) = anchors_of(len(source), 1, cfg.shortest, cfg.longest, random)
            for _ in range(cfg.positives):
                first, last = positive_of(begin, stop, len(source), cfg.shortest, cfg.longest, random)
                near.append(source[first:last])
            spans.append((words[start:end], near))
        return spans


def anchors_of(
    words: int, count: int, shortest: int, longest: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Starts and ends of anchors: lengths by Beta(4, 2), places by chance, starts at least 2 `longest` apart."""
    room = words - 2 * longest * count
    gaps = np.sort(random.integers(0, room + 1, size=count))
    starts = [int(gap) + 2 * longest * number for number, gap in enumerate(gaps)]
    return [(start, start + _length(shortest, longest, 4, 2, random)) for start in starts]


def positive_of(
    start: int, end: int, words: int, shortest: int, longest: int, random: np.random.Generator
) -> tuple[int, int]:
    """Start and end of a positive of the anchor from `start` to `end`: it overlaps it, adjoins it or lies in it."""
    length = _length(shortest, longest, 2, 4, random)
    first = int(random.integers(max(0, start - length), min(end, words - length) + 1))
    return first, first + length


def _length(shortest: int, longest: int, a: float, b: float, random: np.random.Generator) -> int:
    return shortest + int(random.beta(a, b) * (longest - shortest + 1))


def of_spans(cfg: Config, run: Run) -> Measures:
    """Train on the documents of training, save the space, and measure documents and intents beside the floors."""
    if cfg.shortest > cfg.longest:
        raise UserError(f"shortest={cfg.shortest} is more than longest={cfg.longest}: spans have so many words")
    data = splits(cfg.data, run.seed)
    columns = expand(cfg.data.columns, data["train"].column_names)
    if len(columns) != 1 or signal_of(columns[0]) != "text":
        raise UserError(f"study=spans wants one column of texts, data.columns gives {', '.join(columns)}")
    (column,) = columns
    least = {"train": 2 * cfg.anchors * cfg.longest, "dev": 2 * cfg.longest, "test": 2 * cfg.longest}
    words = {split: _long(data[split], column, number, run) for split, number in least.items()}
    documents = words["train"]
    if len(documents) < 2:
        raise UserError(
            f"study=spans wants two documents or more of {least['train']} words (2 anchors longest), got "
            f"{len(documents)}: lower longest"
        )
    run.seed_all()
    encoder = cfg.text.open("text")
    if not isinstance(encoder, WordCnn):
        raise UserError(f"study=spans wants an encoder of words, as scratch-small-words, not {cfg.text.encoder}")
    asked = {split: halves(words[split], cfg.longest) for split in ("dev", "test")}
    probes = _probes(cfg)
    learner = Spans(cfg, encoder, vocabulary_of(documents, encoder, cfg.vocabulary))
    space = Space(branches_of(learner.branches)).eval()

    def embed(texts: Sequence[str]) -> Tensor:
        return space.embed(text=list(texts))

    def floors() -> Measures:
        found = named("random", _scores(embed, asked, probes, run.seed))
        model = TfIdf([" ".join(each) for each in documents])
        by_words = _scores(lambda texts: torch.from_numpy(model(texts).toarray()), asked, probes, run.seed)
        found |= named("tfidf", by_words)
        for split, (first, second) in asked.items():
            own = torch.arange(len(first))
            told = answers(torch.from_numpy(jaccards(first, second)).float(), torch.eye(len(second)), own, own)
            found |= {f"jaccard/{split}/document/R@{k}": told[f"R@{k}"] for k in (1, 5, 10)}
        if cfg.reference is not None:
            found |= named(cfg.reference, _scores(partial(published, cfg.reference), asked, probes, run.seed))
        return found

    shared = cfg.only("data", "text", "width", "anchors", "longest", "probes", "probed", "reference", classes=None)
    measures = dict(run.part("floors", shared).once(floors))
    if cfg.near != "none":
        ids = [ids_of(found, encoder) for found in documents]
        rows = [{"id": str(at)} for at in range(len(ids))]
        fit(learner.train(), rows, cfg.train, run, collate=SpanBatches(cfg, ids, run.seed))
    space.eval().save(run.folder / "space")
    measures |= _scores(embed, asked, probes, run.seed)
    _draw(run, measures, cfg.reference)
    return measures


def _long(rows: Any, column: str, least: int, run: Run) -> list[list[str]]:
    """The words of each document that has so many; others, and such as cannot be read, are quarantined."""
    found = []
    for row, text in zip(rows["id"], rows[column], strict=True):
        try:
            words = split_words(clean_text(text))
        except BadInput as error:
            run.quarantine(column, row, str(error))
            continue
        if len(words) < least:
            run.quarantine(column, row, f"{len(words)} words, fewer than the {least} that two spans apart need")
        else:
            found.append(words)
    return found


def halves(documents: Sequence[Sequence[str]], longest: int) -> tuple[list[str], list[str]]:
    """The first words of each document, and as many from its middle."""
    middles = [words[len(words) // 2 :] for words in documents]
    return [" ".join(words[:longest]) for words in documents], [" ".join(words[:longest]) for words in middles]


def vocabulary_of(documents: Sequence[Sequence[str]], encoder: Encoder, most: int) -> Int[Tensor, " v"]:
    """The ids of the most frequent words, in order of ids; never `MASK`."""
    counts = Counter(word for words in documents for word in words)
    kept = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]
    return torch.tensor(sorted(set(ids_of(kept, encoder)) - {MASK}))


def ids_of(words: Sequence[str], encoder: Encoder) -> list[int]:
    """The ids of a document's words."""
    return list(encoder.collate([" ".join(words)]).values[0].tolist())


Halves = Mapping[str, tuple[list[str], list[str]]]
Probes = Mapping[str, tuple[list[str], Tensor]]


def _probes(cfg: Config) -> Probes:
    """Texts of dev and of test with the numbers of their classes."""
    found = {}
    for split, source in zip(("dev", "test"), cfg.probes or (), strict=cfg.probes is not None):
        rows = load(source)
        number = {name: at for at, name in enumerate(sorted(set(rows[cfg.probed])))}
        found[split] = list(rows[source.columns[0]]), torch.tensor([number[name] for name in rows[cfg.probed]])
    return found


def _scores(embed: Callable[[Sequence[str]], Tensor], asked: Halves, probes: Probes, seed: int) -> Measures:
    found: Measures = {}
    for split, (first, second) in asked.items():
        labels = torch.arange(len(first))
        told = answers(embed(first), embed(second), labels, labels)
        found |= {f"{split}/document/{name}": told[name] for name in ("R@1", "R@5", "R@10", "chance R@1")}
        if split in probes:
            texts, intents = probes[split]
            vectors = embed(texts)
            found |= {f"{split}/probe/{shots}": few_shot(vectors, intents, shots=shots, seed=seed) for shots in _SHOTS}
    return found


def _joined(parts: Sequence[Padded]) -> Padded:
    """Batches of ids one behind the other."""
    longest = max(part.values.shape[1] for part in parts)
    return Padded(
        torch.cat([pad(each.values, (0, longest - each.values.shape[1])) for each in parts]),
        torch.cat([each.lengths for each in parts]),
    )


def _draw(run: Run, measures: Measures, reference: str | None) -> None:
    sides = {"this run": "", "random encoder": "random/", "TF-IDF": "tfidf/", "Jaccard": "jaccard/"}
    sides |= {f"{reference} (reference)": f"{reference}/"} if reference else {}
    points = {
        name: [(float(k), measures[f"{key}test/document/R@{k}"]) for k in (1, 5, 10)] for name, key in sides.items()
    }
    said = "Spans of the first halves of held-out documents: how many find their own second half among the first k."
    run.picture("documents", curves(points, x="k", y="recall at k"), said)
