"""Claims: a sentence, two arms that differ by a field or so, seeds, and an interval on the paired differences.

`measure` runs both arms on the same seeds and splits, at the recipe's `laptop()` settings; finished runs are found by
their hash and not run again. The claim holds if the 95 % t-interval of the paired differences excludes zero on the
claimed side.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import ValidationError
from scipy import stats

from antiphon.runs import Measures, Run, git_commit, versions, write_atomically

Verdict = Literal["holds", "fails", "undecided"]

FLOORS = {
    "random": "random encoder",
    "tfidf": "TF-IDF",
    "jaccard": "Jaccard",
    "all-MiniLM-L6-v2": "MiniLM (reference)",
}
"""What a card shows beside a metric wherever the recipe returns it too, as `<key>/<metric>`, and its name; MiniLM is an
upper reference and no floor."""


@dataclass(frozen=True)
class Paper:
    """Where a method comes from, and the signals that it is about here."""

    arxiv: str
    title: str
    signals: tuple[str, ...]


class Arm(dict[str, Any]):
    """What one side of a claim changes in the config: `Arm(towers="locked", train__steps=500)`."""


@dataclass(frozen=True)
class Claim:
    """One arm is better than another at a metric.

    Args:
        text: the claim, one sentence.
        better: the arm that the claim favours.
        worse: its control.
        metric: a key of what the recipe's `run` returns.
        floor: the key of a chance or random-encoder level of the same metric, shown beside it.
        seeds: how many, from 0.
        higher: whether a larger metric is better.
        pictured: the arms whose pictures the page shows too, beside those of the first claim's favourite.
    """

    text: str
    better: Arm
    worse: Arm
    metric: str
    floor: str
    seeds: int = 5
    higher: bool = True
    pictured: tuple[Literal["better", "worse"], ...] = ()


@dataclass(frozen=True)
class Interval:
    """Mean and 95 % t-interval of paired differences, and what follows."""

    mean: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Card:
    """A measured claim, as it is committed in `claims/<recipe>.json`.

    `floor` is the claim's own, `floors` are all of `FLOORS` that the favoured arm's runs returned, by name. `curves`
    holds for each arm its training loss, [step, mean over seeds], at up to 40 of the logged steps.
    """

    recipe: str
    claim: str
    paper: dict[str, str]
    metric: str
    arms: dict[str, dict[str, Any]]
    seeds: list[int]
    values: dict[str, list[float]]
    floor: list[float]
    differences: list[float]
    mean: float
    low: float
    high: float
    verdict: Verdict
    setting: dict[str, Any]
    differs: list[str]
    seconds: float
    versions: dict[str, str]
    commit: str | None
    notes: list[str] = field(default_factory=list)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    floors: dict[str, list[float]] = field(default_factory=dict)


def paired(better: list[float], worse: list[float], *, higher: bool = True) -> Interval:
    """The 95 % t-interval of `better - worse` over seeds (the sign turned where lower is better).

    holds: it lies above zero; fails: below or all differences are zero; undecided: it holds zero.

    Raises:
        ValueError: fewer than two seeds, arms of unequal length, or a value that is not finite.
    """
    if len(better) != len(worse) or len(better) < 2:
        raise ValueError(f"{len(better)} and {len(worse)} values: wanted the same two or more seeds for both arms")
    differences = [(b - w) if higher else (w - b) for b, w in zip(better, worse, strict=True)]
    if not all(math.isfinite(difference) for difference in differences):
        raise ValueError(f"differences {differences}: a metric is not finite")
    count = len(differences)
    mean = math.fsum(differences) / count
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1))
    half = float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    low, high = mean - half, mean + half
    verdict: Verdict = "holds" if low > 0 else "fails" if high <= 0 else "undecided"
    return Interval(mean, low, high, verdict)


def measure(
    recipe: ModuleType,
    name: str,
    claim: Claim,
    *,
    seeds: int | None = None,
    runs: Path = Path("runs"),
    say: Callable[[str], None] = lambda _: None,
) -> Card:
    """Run both arms on every seed and judge the claim.

    Args:
        recipe: the recipe's module.
        name: its name.
        seeds: how many; the claim's own number where None.
        runs: where run folders are; finished ones are taken as they are.
        say: told what is about to run.
    """
    numbers = list(range(seeds or claim.seeds))
    values: dict[str, list[float]] = {"better": [], "worse": []}
    losses: dict[str, list[dict[float, float]]] = {"better": [], "worse": []}
    floor, floors, seconds = [], dict[str, list[float]](), 0.0
    for seed in numbers:
        for side, arm in (("better", claim.better), ("worse", claim.worse)):
            config = recipe.laptop().but(**arm)
            run = Run.of(name, config, seed=seed, root=runs)
            say(f"{name} {side} {dict(arm)} seed {seed}: {'already run' if run.result else 'running'} in {run.folder}")
            measures: Measures = run.result or recipe.run(config, run)
            values[side].append(_pick(measures, claim.metric))
            losses[side].append({line["step"]: line["loss"] for line in run.metrics() if "loss" in line})
            seconds += measures.get("seconds/total", 0.0)
            if side == "better":
                floor.append(_pick(measures, claim.floor))
                for key, told in FLOORS.items():
                    if f"{key}/{claim.metric}" in measures:
                        floors.setdefault(told, []).append(measures[f"{key}/{claim.metric}"])
    interval = paired(values["better"], values["worse"], higher=claim.higher)
    return Card(
        recipe=name,
        claim=claim.text,
        paper={"arxiv": recipe.PAPER.arxiv, "title": recipe.PAPER.title},
        metric=claim.metric,
        arms={"better": dict(claim.better), "worse": dict(claim.worse)},
        seeds=numbers,
        values=values,
        floor=floor,
        differences=[(b - w) if claim.higher else (w - b) for b, w in zip(*values.values(), strict=True)],
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        verdict=interval.verdict,
        setting=recipe.laptop().model_dump(mode="json"),
        differs=differences_from_paper(Path(str(recipe.__file__)).read_text(encoding="utf-8")),
        seconds=seconds,
        versions=versions(),
        commit=git_commit(),
        curves={side: _mean_curve(runs_of_arm) for side, runs_of_arm in losses.items()},
        floors={told: values for told, values in floors.items() if len(values) == len(numbers)},
    )


def standing(recipe: ModuleType, claim: Claim, path: Path) -> Card | None:
    """The card at `path` that measured this very claim: same sentence, arms, metric and settings; else None.

    Settings that the recipe has got since then are taken as their defaults. The card says which commit measured it.
    """
    for card in read_cards(path):
        same = card["claim"] == claim.text and card["metric"] == claim.metric
        if same and card["arms"] == json.loads(json.dumps({"better": claim.better, "worse": claim.worse})):
            try:
                setting = type(recipe.laptop())(**card["setting"])
            except ValidationError:  # a setting that is no more
                return None
            return Card(**card) if setting == recipe.laptop() else None
    return None


def shown_runs(recipe: ModuleType, name: str, runs: Path) -> list[Run]:
    """The runs whose pictures a page shows: seed 0 of what the first claim favours, and of the arms `pictured`."""
    arms = [recipe.CLAIMS[0].better]
    arms += [getattr(claim, side) for claim in recipe.CLAIMS for side in claim.pictured]
    return [Run.of(name, recipe.laptop().but(**arm), root=runs) for arm in arms]


def write_pictures(folder: Path, pictures: Mapping[str, str], *, keep: bool = False) -> None:
    """Write figures as `<name>.html`, instead of those that stood there; with `keep` beside those of other names."""
    for old in [] if keep else folder.glob("*.html"):
        old.unlink()
    for name, figure in pictures.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{name}.html", figure)


def read_pictures(folder: Path) -> list[str]:
    """The figures of a recipe, by name."""
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.html"))]


def write_cards(path: Path, cards: list[Card]) -> None:
    """Write a recipe's cards as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([asdict(card) for card in cards], indent=1, ensure_ascii=False) + "\n")


def measured_here() -> Path:
    """Where the cards are: `claims/` in the current folder; without one, those that came with the package."""
    package = Path(__file__).parents[1]
    places = (Path("claims"), package / "claims", package.parents[1] / "claims")  # here, of a wheel, of a checkout
    return next((place for place in places if place.is_dir()), places[0])


def read_cards(path: Path) -> list[dict[str, Any]]:
    """The cards of a recipe, none where it was never measured."""
    if not path.exists():
        return []
    cards: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return cards


_REMARK = re.compile(r"^( *)differs: (.+(?:\n\1 +.+)*)|# differs: (.+)", re.MULTILINE)


def differences_from_paper(source: str) -> list[str]:
    """The `differs: why` remarks in a recipe's source; in a docstring, further lines of one are indented."""
    return [" ".join((told or aside).split()) for _, told, aside in _REMARK.findall(source)]


def without_remarks(docstring: str) -> str:
    """A docstring without them."""
    return _REMARK.sub("", docstring)


def _mean_curve(losses: list[dict[float, float]], most: int = 40) -> list[list[float]]:
    """Steps that every seed logged, thinned to `most`, with the mean loss."""
    steps = sorted(set.intersection(*(set(of_seed) for of_seed in losses)))
    at = (
        sorted({round(n * (len(steps) - 1) / (most - 1)) for n in range(most)})
        if len(steps) > most
        else range(len(steps))
    )
    return [[steps[n], round(math.fsum(of_seed[steps[n]] for of_seed in losses) / len(losses), 5)] for n in at]


def _pick(measures: Mapping[str, float], metric: str) -> float:
    if metric not in measures:
        raise KeyError(f"no measure {metric!r}: the recipe returned {', '.join(sorted(measures))}")
    return float(measures[metric])
