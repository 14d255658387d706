"""Classification without labels: the class whose prompts lie nearest (CLIP, arXiv 2103.00020, section 3.1).

Axes: N queries, C classes, P prompts of a class, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.evaluation.retrieval import retrieve


@dataclass(frozen=True)
class ZeroShot:
    """Accuracies, in [0, 1], and the floors to read them by.

    Args:
        accuracy: share of queries whose own class scores above all others; ties are errors.
        balanced_accuracy: the mean of `per_class`.
        top5: share of queries whose own class is among the best five.
        per_class: class number to accuracy, for each class that has a query.
        n: how many queries.
        chance: 1 / C.
        majority: the share of the most frequent class, what a constant answer could reach.
    """

    accuracy: float
    balanced_accuracy: float
    top5: float
    per_class: dict[int, float]
    n: int
    chance: float
    majority: float

    def as_dict(self) -> dict[str, float]:
        """Numbers for a table, without `per_class`."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "top5": self.top5,
            "n": self.n,
            "chance": self.chance,
            "majority": self.majority,
        }


def class_vectors(
    embed: Callable[[list[str]], Tensor], classes: Sequence[str], templates: Sequence[str] = ("{}",)
) -> Float[Tensor, "c d"]:
    """One unit vector for each class: the mean of the unit vectors of its prompts, made unit again (3.1.4).

    Args:
        embed: texts to vectors `(len(texts), D)`; called once, with all prompts.
        classes: names of the classes, all different.
        templates: each with one `{}`, where the name goes.

    Raises:
        ValueError: no classes or templates, a name given twice, a template without `{}`, vectors of a wrong
            number, or prompts that cancel out.
    """
    if not classes or not templates:
        raise ValueError(f"{len(classes)} classes and {len(templates)} templates: wanted at least one of each")
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"the class {twice!r} is given more than once: its queries could never be right")
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"the template {template!r} wants exactly one {{}}, where the class name goes")
    prompts = [template.replace("{}", name) for name in classes for template in templates]
    vectors = embed(prompts)
    if len(vectors) != len(prompts):
        raise ValueError(f"embed gave {len(vectors)} vectors for {len(prompts)} prompts")
    units_CPD = normalize(vectors.detach(), dim=-1).reshape(len(classes), len(templates), -1)
    means_CD = units_CPD.mean(1)
    lost_C = ~(means_CD.norm(dim=1) > 1e-6)
    if lost_C.any():
        name = classes[int(lost_C.nonzero()[0])]
        raise ValueError(f"the prompts of the class {name!r} have no direction: they are zero, nan, or cancel out")
    return normalize(means_CD, dim=1)


def zero_shot(
    queries_ND: Float[Tensor, "n d"], class_vectors_CD: Float[Tensor, "c d"], labels_N: Int[Tensor, " n"]
) -> ZeroShot:
    """Give each query the class whose vector scores highest (dot product).

    Args:
        queries_ND: vectors of the queries; their lengths do not matter.
        class_vectors_CD: from `class_vectors`.
        labels_N: the right classes, 0 to C - 1.

    Raises:
        ValueError: a label that is no class; else as `retrieve`.
    """
    count = len(class_vectors_CD)
    if len(labels_N) and (int(labels_N.min()) < 0 or int(labels_N.max()) >= count):
        raise ValueError(
            f"labels go from {int(labels_N.min())} to {int(labels_N.max())}, wanted 0 to {count - 1} for "
            f"{count} classes"
        )
    found = retrieve(queries_ND, class_vectors_CD, labels_N, ks=(1, 5))
    labels_N, right_N = labels_N.cpu(), found.ranks == 1
    per_class = {c: right_N[labels_N == c].double().mean().item() for c in sorted(set(labels_N.tolist()))}
    return ZeroShot(
        accuracy=found.recall[1],
        balanced_accuracy=sum(per_class.values()) / len(per_class),
        top5=found.recall[5],
        per_class=per_class,
        n=found.n,
        chance=1 / count,
        majority=majority_share(labels_N),
    )


def majority_share(labels_N: Int[Tensor, " n"]) -> float:
    """The share of the most frequent label."""
    return max(Counter(labels_N.tolist()).values()) / len(labels_N)
