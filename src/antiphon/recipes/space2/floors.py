"""What stands beside SPACE-2's numbers: the encoder before training, words alone, and a published encoder above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from antiphon.encoders.space import Space
from antiphon.evaluation.floors import TfIdf, published
from antiphon.recipes.space2.measures import Embed, Intents, Turns, intent_scores, means, tree_scores
from antiphon.runs import Measures


def floors(
    space: Space,
    held: Mapping[str, Turns],
    asked: Mapping[str, Intents],
    *,
    shots: Sequence[int],
    l2: float | None,
    reference: str | None,
    seed: int,
) -> Measures:
    """Measures of `random`, `tfidf`, the reference, and `chance`.

    Args:
        space: before training.
        held: turns of dev and test.
        asked: utterances by set.
        shots: as of the recipe's config, and what follows too.
        seed: of the examples that are drawn.
    """
    found = {f"chance/{side}/full": chance(asked) for side in ("dev", "test")}
    embed = partial(own_vectors, space)
    names = ("random", "tfidf", *((reference,) if reference else ()))
    for name in names:
        trees: Measures = {}
        for side, turns in held.items():
            if name == "random":
                vectors = embed(turns.texts)
            elif name == "tfidf":
                vectors = TfIdf(turns.texts)(turns.texts)
            else:
                vectors = published_units(name, turns.plain)
            trees |= {f"{side}/tree/{key}": value for key, value in tree_scores(vectors, turns).items()}
        by_set = {}
        for key, intents in asked.items():
            read: Embed = partial(published_units, name)
            if name in ("random", "tfidf"):
                read = embed if name == "random" else _words_of(intents)
            penalty = None if name == "tfidf" else l2  # its vectors are too wide
            by_set[key] = intent_scores(read, intents, shots=shots, seed=seed, l2=penalty)
        found |= {f"{name}/{key}": value for key, value in (trees | means(by_set)).items()}
    return found


def own_vectors(space: Space, texts: Sequence[str]) -> np.ndarray:
    """What a space makes of texts."""
    vectors: np.ndarray = space.embed(text=list(texts)).numpy()
    return vectors


def chance(asked: Mapping[str, Intents]) -> float:
    """Accuracy of guessing, the mean over sets; 0 without any."""
    return float(np.mean([1 / len(set(each.labels.tolist())) for each in asked.values()])) if asked else 0.0


def published_units(name: str, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors of a published text encoder."""
    vectors: np.ndarray = torch.nn.functional.normalize(published(name, texts), dim=1).numpy()
    return vectors


def _words_of(intents: Intents) -> TfIdf:
    return TfIdf([intents.texts[at] for at in intents.places["pool"]])
