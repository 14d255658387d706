"""What stands beside SPACE-2's numbers: the encoder before training, words alone, and a published encoder above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from antiphon.encoders.space import Space
from antiphon.evaluation.floors import TfIdf, jaccards, published
from antiphon.recipes.space2.measures import (
    Embed,
    Intents,
    Turns,
    intent_scores,
    means,
    ranking_scores,
    tree_scores,
    words_scores,
)
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
    """Measures of `random`, `tfidf`, `jaccard`, the reference, and `chance`.

    Args:
        space: before training.
        held: turns of dev and test.
        asked: utterances by set.
        shots: as of the recipe's config, and what follows too.
        seed: of the examples that are drawn.
    """
    found = {f"chance/{side}/full": chance(asked) for side in ("dev", "test")}
    for name in ("random", "tfidf", "jaccard", *((reference,) if reference else ())):
        trees = {
            f"{side}/tree/{key}": value
            for side, turns in held.items()
            for key, value in _trees(name, space, turns).items()
        }
        by_set = {key: _intents(name, space, of, shots=shots, seed=seed, l2=l2) for key, of in asked.items()}
        found |= {f"{name}/{key}": value for key, value in (trees | means(by_set)).items()}
    return found


def tuned_floors(floors: Measures, examples: Sequence[int | str]) -> Measures:
    """The floors of fine-tuning: the nearest centroid of as many examples, where that is measured."""
    found: Measures = {}
    for number in examples:
        few = "full/centroid" if number == "all" else f"few_shot/{number}"
        found |= {
            key.replace(few, f"tuned/{number}"): value for key, value in floors.items() if key.endswith(f"/{few}")
        }
    return found


def _trees(name: str, space: Space, turns: Turns) -> Measures:
    if name == "random":
        return tree_scores(own_vectors(space, turns.texts), turns)
    if name == "tfidf":
        return tree_scores(TfIdf(turns.texts)(turns.texts), turns)
    if name == "jaccard":
        return ranking_scores(jaccards(turns.texts, turns.texts), turns)
    return tree_scores(published_units(name, turns.plain), turns)


def _intents(
    name: str, space: Space, intents: Intents, *, shots: Sequence[int], seed: int, l2: float | None
) -> Measures:
    if name == "jaccard":
        return words_scores(intents, shots=shots, seed=seed)
    if name == "tfidf":  # no logistic regression: its vectors are too wide
        return intent_scores(_words_of(intents), intents, shots=shots, seed=seed, l2=None)
    embed: Embed = partial(own_vectors, space) if name == "random" else partial(published_units, name)
    return intent_scores(embed, intents, shots=shots, seed=seed, l2=l2)


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
