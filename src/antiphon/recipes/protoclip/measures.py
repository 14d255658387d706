"""What is measured of ProtoCLIP: retrieval, the gap, and what the image side knows of classes it was never told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.encoders.space import Space
from antiphon.evaluation.answers import answers
from antiphon.evaluation.clustering import adjusted_mutual_information, kmeans
from antiphon.evaluation.geometry import modality_gap
from antiphon.evaluation.probe import linear_probe
from antiphon.evaluation.zeroshot import class_vectors, zero_shot
from antiphon.runs import Measures
from antiphon.types import Views

PENALTIES = (1e-3, 1e-2, 1e-1)


def pairs(views: Views, first: str, second: str) -> Measures:
    """Retrieval, the mean of both directions (so too of R@1, 5, 10: the paper's mean recall), and the modality gap."""
    both = views[f"has_{first}"] & views[f"has_{second}"]
    left, right = (normalize(views[name][both], dim=1) for name in (first, second))
    labels = views["label"][both]
    ahead, back = answers(left, right, labels, labels), answers(right, left, labels, labels)
    found = {name: (value + back[name]) / 2 for name, value in ahead.items()}
    for prefix in ("", "chance "):
        found[f"{prefix}mean recall"] = sum(found[f"{prefix}R@{k}"] for k in (1, 5, 10)) / 3
    return found | {"gap": modality_gap(left, right)}


def classes(
    views: Mapping[str, Views], names: Mapping[str, Sequence[str]], signal: str, space: Space, *, least: int
) -> Measures:
    """Linear probe on x, agreement of clusters of x with the classes, and zero-shot names, on dev and test.

    Args:
        views: by split.
        names: each row's class, by split.
        signal: whose vectors are looked at.
        space: for the names' vectors.
        least: a class of fewer training rows is left out.
    """
    counts = Counter(names["train"])
    kinds = sorted(kind for kind, count in counts.items() if count >= least)
    if len(kinds) < 2:
        return {}
    vectors, labels = {}, {}
    for split, own in views.items():
        right = torch.tensor([kinds.index(name) if name in kinds else -1 for name in names[split]])
        there = (right >= 0) & own[f"has_{signal}"]
        vectors[split], labels[split] = own[signal][there], right[there]
    mean, deviation = vectors["train"].mean(0), vectors["train"].std(0).clamp(min=1e-6)
    scaled = {split: ((each - mean) / deviation, labels[split]) for split, each in vectors.items()}
    probe = linear_probe(scaled["train"], scaled["dev"], scaled["test"], l2_grid=PENALTIES)
    assert probe.dev_accuracy is not None
    found: Measures = {
        "dev/probe": probe.dev_accuracy,
        "test/probe": probe.accuracy,
        "test/probe majority": probe.majority,
    }
    for split in ("dev", "test"):
        found |= {
            f"{split}/{name}": value for name, value in _agreement(vectors[split], labels[split], len(kinds)).items()
        }
        if "text" in space.branches:
            prompts = class_vectors(lambda texts: space.embed(text=texts), [kind.replace("_", " ") for kind in kinds])
            zero = zero_shot(normalize(vectors[split], dim=1), prompts, labels[split])
            found |= {f"{split}/zero_shot": zero.accuracy, f"{split}/zero_shot majority": zero.majority}
    return found


def _agreement(vectors: Tensor, labels: Tensor, count: int) -> Measures:
    """How far k-means clusters, the mean of three starts, agree with the classes; and shuffled ones."""
    unit = normalize(vectors, dim=1)
    seeds = range(3)
    found = [kmeans(unit, min(count, len(unit)), seed=seed, iterations=50)[0] for seed in seeds]
    mixed = [
        one[torch.randperm(len(one), generator=torch.Generator().manual_seed(seed))] for seed, one in enumerate(found)
    ]
    return {
        "AMI": sum(adjusted_mutual_information(one, labels) for one in found) / len(seeds),
        "AMI of shuffled rows": sum(adjusted_mutual_information(one, labels) for one in mixed) / len(seeds),
    }
