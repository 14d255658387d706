"""What an embedder is measured by: similarity of sentences, and utterances of one intent; and pictures of clusters.

Axes: N texts, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from markupsafe import Markup
from torch import Tensor

from antiphon.data.cache import cache_folder
from antiphon.data.pairs import Pairs, load
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.heads import identity_head, unit
from antiphon.encoders.items import Items
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch
from antiphon.errors import UserError
from antiphon.evaluation.floors import TfIdf, jaccards, named
from antiphon.evaluation.retrieval import chance, retrieve
from antiphon.evaluation.sts import Embed, scored_sets, similarities, word_floors
from antiphon.recipes.mllm_embedder.rows import Twins
from antiphon.recipes.mllm_embedder.saha import Cluster
from antiphon.runs import Measures


@dataclass(frozen=True)
class Trial:
    """What every run is measured on.

    Attributes:
        scored: pairs with scores, by split and name.
        intents: texts with the column `intent`.
        drawn: a seed, by which queries of intents are drawn with replacement; None asks each once.
    """

    scored: dict[str, Any]
    intents: Any
    drawn: int | None = None

    @classmethod
    def of(
        cls,
        dev: Sequence[Pairs],
        test: Sequence[Pairs],
        intents: Pairs | None,
        *,
        classes: str = "intent",
        each: int,
        most: int | None = None,
        drawn: int | None = None,
    ) -> Trial:
        """Read the rows.

        Args:
            dev: scored pairs to choose by.
            test: scored pairs to be measured on.
            intents: texts.
            classes: the column of their class.
            each: so many texts of a class, rounded down to an even number.
            most: at most so many scored pairs of a set.
            drawn: a seed, by which scored pairs and queries of intents are drawn with replacement; None: each once.
        """
        scored = {name: _drawn(rows, most, drawn) for name, rows in scored_sets(dev, test).items()}
        return cls(scored, None if intents is None else _first_of_each(load(intents), classes, each), drawn)

    def texts(self) -> list[str]:
        """All texts that `measured` will ask for."""
        pairs = [text for rows in self.scored.values() for side in ("text_1", "text_2") for text in rows[side]]
        return [*pairs, *([] if self.intents is None else self.intents["text"])]

    def measured(self, embed: Embed) -> Measures:
        """Similarity; R@1 of intents; the same without the mean of all vectors, `centred/`; the mean `cosine`."""
        texts = list(dict.fromkeys(self.texts()))
        if not texts:
            return {}
        vectors = embed(texts)
        found = self._measured(embed) | {"cosine": _mean_cosine(vectors)}
        centre = vectors.mean(0)
        return found | {
            f"centred/{name}": value for name, value in self._measured(lambda some: unit(embed(some) - centre)).items()
        }

    def floors(self) -> Measures:
        """What words in common and chance tell."""
        found = word_floors(self.scored)
        if self.intents is not None:
            queries, keys, texts = self._halves()
            found["chance/intents/R@1"] = chance(queries, keys)["R@1"]
            words_QK = torch.from_numpy(jaccards(texts[::2], texts[1::2]))
            found["jaccard/intents/R@1"] = self._asked(words_QK, torch.eye(len(keys), dtype=words_QK.dtype))
        return found

    def _measured(self, embed: Embed) -> Measures:
        found = similarities(embed, self.scored)
        if self.intents is not None:
            texts = self._halves()[2]
            found["intents/R@1"] = self._asked(embed(texts[::2]), embed(texts[1::2]))
        return found

    def _asked(self, queries_QD: Tensor, keys_KD: Tensor) -> float:
        """R@1 of another utterance of the intent, of the queries as they were drawn."""
        queries, keys, _ = self._halves()
        rows = torch.arange(len(queries))
        if self.drawn is not None:
            rows = torch.randint(len(rows), (len(rows),), generator=torch.Generator().manual_seed(self.drawn))
        return retrieve(queries_QD[rows], keys_KD, (queries[rows], keys)).recall[1]

    def _halves(self) -> tuple[Tensor, Tensor, list[str]]:
        """Classes of every other text, of the texts between them, and the texts."""
        names = list(self.intents["intent"])
        numbers = torch.tensor([sorted(set(names)).index(name) for name in names])
        return numbers[::2], numbers[1::2], list(self.intents["text"])


def measured(embed: Embed, trial: Trial, pairs: Mapping[str, Twins], drawn: int | None = None) -> Measures:
    """Of the trial, and where there are pairs, retrieval of those of dev and test."""
    found = trial.measured(embed)
    for split in ("dev", "test") if pairs else ():
        found |= {f"{split}/{name}": value for name, value in pairs[split].answers(embed, drawn).items()}
    return found


def floors(trial: Trial, texts: Sequence[str], pairs: Mapping[str, Twins], reference: str | None) -> Measures:
    """The same of words in common, of a random encoder, and of a published one (an upper reference).

    Args:
        trial: as above.
        texts: all that will be asked for.
        pairs: of texts, by split.
        reference: the published encoder's name.
    """
    if not pairs and not trial.texts():
        return {}
    words = TfIdf(texts)
    found = named("tfidf", measured(lambda some: torch.tensor(words(some).toarray()).float(), trial, pairs))
    for name, kind in {"random": "scratch-tiny", **({} if reference is None else {reference: reference})}.items():
        other = Items(open_encoder("text", kind), texts, FeatureCache(cache_folder() / "features"))
        branch = Branch(other.stand_in(), identity_head(other.encoder.width))
        found |= named(name, measured(partial(other.vectors, branch), trial, pairs))
    for split in ("dev", "test") if pairs else ():
        found |= {f"jaccard/{split}/{name}": value for name, value in pairs[split].by_words().items()}
    # a claim's metric behind training has the same floors
    return found | {name.replace("/", "/tuned/", 1): value for name, value in found.items() if pairs}


def _drawn(rows: Any, most: int | None, seed: int | None) -> Any:
    if most is not None and most < len(rows):
        places = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most]
        rows = rows.select(sorted(places.tolist()))
    if seed is None:
        return rows
    return rows.select(torch.randint(len(rows), (len(rows),), generator=torch.Generator().manual_seed(seed)).tolist())


def _first_of_each(rows: Any, classes: str, each: int) -> Any:
    """Rows by class, as the column `intent`, the same even number of each class; classes of fewer are left out."""
    rows = Dataset.from_dict({"text": rows["text"], "intent": rows[classes]})
    places: dict[str, list[int]] = {}
    for at, name in enumerate(rows["intent"]):
        places.setdefault(name, []).append(at)
    even = each - each % 2
    kept = [at for _, some in sorted(places.items()) if len(some) >= even for at in some[:even]]
    if not kept:
        raise UserError(f"intents: no class has {even} texts or more; give a lower each=, or intents=null")
    return rows.select(kept)


def _mean_cosine(vectors: Tensor) -> float:
    """Of all pairs of different texts."""
    count = len(vectors)
    return float((vectors.double().sum(0).square().sum() - count) / (count * (count - 1)))


def clusters_drawn(twins: Twins, clusters: Sequence[Cluster], most: int = 4) -> Markup:
    """A table: a query, its document, its negatives, and the documents whose owners were dropped last."""
    line = Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>")
    shown = [
        line.format(
            twins.queries[one.anchor],
            twins.documents[one.anchor],
            _listed(twins, one.hard),
            _listed(twins, one.dropped[-len(one.hard) :][::-1]),
        )
        for one in clusters[:most]
    ]
    head = Markup("<tr><th>query</th><th>its document</th><th>negatives</th><th>dropped, likeliest first</th></tr>")
    return Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, Markup("\n").join(shown))


def _listed(twins: Twins, rows: Sequence[int]) -> Markup:
    said = [Markup("{} ({})").format(twins.documents[row], twins.queries[row]) for row in rows]
    return Markup("<br>").join(said)
