"""Claims: the interval by the textbook, runs not repeated, cards that say what differs."""

import json
from dataclasses import replace
from types import ModuleType

import pytest
from markupsafe import Markup
from scipy import stats

from antiphon.config import Config
from antiphon.evaluation.claims import (
    Arm,
    Claim,
    Paper,
    differences_from_paper,
    measure,
    paired,
    read_cards,
    read_pictures,
    shown_runs,
    standing,
    without_remarks,
    write_cards,
    write_pictures,
)


class Settings(Config):
    """A recipe's config."""

    good: bool = False


def _recipe(tmp_path, calls, more=None):
    file = tmp_path / "recipe.py"
    file.write_text("x = 1  # differs: smaller\n")

    def run(cfg, run):
        calls.append((cfg.good, run.seed))
        for step in range(1, 101):
            run.log(step, loss=1.0 / step + run.seed)
        run.picture("rows", Markup("<b>{}</b>\n\n<i>two</i>").format("<x>"), "what & why")
        return run.finish(
            {"accuracy": 0.5 + 0.1 * cfg.good + 0.01 * run.seed * cfg.good, "chance": 0.1, "seconds/total": 2.0}
            | (more or {})
        )

    recipe = ModuleType("toy")
    vars(recipe).update(
        PAPER=Paper("2103.00020", "CLIP", ("image", "text")), laptop=Settings, run=run, __file__=str(file)
    )
    return recipe


CLAIM = Claim("good is better", better=Arm(good=True), worse=Arm(), metric="accuracy", floor="chance", seeds=3)


def test_the_interval_is_scipys():
    better, worse = [0.61, 0.66, 0.59, 0.70], [0.55, 0.61, 0.60, 0.62]
    wanted = stats.ttest_rel(better, worse).confidence_interval(0.95)
    found = paired(better, worse)
    assert found.low == pytest.approx(wanted.low)
    assert found.high == pytest.approx(wanted.high)
    assert found.verdict == "undecided"


@pytest.mark.parametrize(
    ("better", "worse", "higher", "verdict"),
    [
        ([2.0, 2.1, 2.2], [1.0, 1.0, 1.0], True, "holds"),
        ([1.0, 1.1, 1.0], [2.0, 2.0, 2.0], True, "fails"),
        ([1.0, 1.1, 1.0], [2.0, 2.0, 2.0], False, "holds"),
        ([1.0, 1.0], [1.0, 1.0], True, "fails"),
        ([1.0, 3.0], [2.0, 2.0], True, "undecided"),
    ],
)
def test_verdicts(better, worse, higher, verdict):
    assert paired(better, worse, higher=higher).verdict == verdict


@pytest.mark.parametrize(("better", "worse"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([float("nan"), 1.0], [1.0, 1.0])])
def test_what_cannot_be_judged(better, worse):
    with pytest.raises(ValueError, match=r"wanted the same two or more seeds|is not finite"):
        paired(better, worse)


def test_every_arm_and_seed_once_then_from_the_cache(tmp_path):
    calls = []
    recipe = _recipe(tmp_path, calls)
    card = measure(recipe, "toy", CLAIM, runs=tmp_path / "runs")
    assert sorted(calls) == [(False, 0), (False, 1), (False, 2), (True, 0), (True, 1), (True, 2)]
    assert card.verdict == "holds"
    assert card.differences == pytest.approx([0.1, 0.11, 0.12])
    assert card.mean == pytest.approx(0.11)
    assert card.floor == [0.1] * 3
    assert card.differs == ["smaller"]
    assert card.seconds == 12.0
    assert measure(recipe, "toy", CLAIM, runs=tmp_path / "runs").values == card.values
    assert len(calls) == 6


def test_floors_are_those_that_the_favoured_arm_returned(tmp_path):
    recipe = _recipe(tmp_path, [], more={"tfidf/accuracy": 0.2, "random/accuracy": 0.1, "tfidf/other": 0.9})
    card = measure(recipe, "toy", CLAIM, runs=tmp_path / "runs")
    assert card.floors == {"random encoder": [0.1] * 3, "TF-IDF": [0.2] * 3}


def test_curves_are_means_of_the_seeds_thinned(tmp_path):
    card = measure(_recipe(tmp_path, []), "toy", CLAIM, runs=tmp_path / "runs")
    assert len(card.curves["better"]) == 40
    assert card.curves["better"][0] == [1, pytest.approx(2.0)]
    assert card.curves["worse"][-1] == [100, pytest.approx(1.01)]


def test_pictures_of_the_first_claims_favourite(tmp_path):
    recipe = _recipe(tmp_path, [])
    recipe.CLAIMS = [CLAIM]
    measure(recipe, "toy", CLAIM, runs=tmp_path / "runs")
    (shown,) = shown_runs(recipe, "toy", tmp_path / "runs")
    found = shown.pictures()
    write_pictures(tmp_path / "old", {"gone": "x"})
    write_pictures(tmp_path / "old", found)
    figure = "<figure>\n<b>&lt;x&gt;</b>\n<i>two</i>\n<figcaption>what &amp; why</figcaption>\n</figure>\n"
    assert read_pictures(tmp_path / "old") == [figure]


def test_pictures_of_other_arms_stand_beside_where_a_claim_says_so(tmp_path):
    recipe = _recipe(tmp_path, [])
    recipe.CLAIMS = [CLAIM, replace(CLAIM, text="again", pictured=("worse",))]
    runs = shown_runs(recipe, "toy", tmp_path / "runs")
    assert [run.config.good for run in runs] == [True, False]
    write_pictures(tmp_path / "old", {"a": "1", "b": "2"})
    write_pictures(tmp_path / "old", {"b": "3"}, keep=True)
    assert read_pictures(tmp_path / "old") == ["1", "3"]


def test_cards_are_json(tmp_path):
    card = measure(_recipe(tmp_path, []), "toy", CLAIM, runs=tmp_path / "runs")
    write_cards(tmp_path / "claims/toy.json", [card])
    (found,) = read_cards(tmp_path / "claims/toy.json")
    assert found["verdict"] == "holds"
    assert found == json.loads(json.dumps(found))
    assert read_cards(tmp_path / "claims/none.json") == []


def test_a_card_stands_for_the_same_claim_alone(tmp_path):
    recipe, path = _recipe(tmp_path, []), tmp_path / "toy.json"
    write_cards(path, [measure(recipe, "toy", CLAIM, runs=tmp_path / "runs")])
    found = standing(recipe, CLAIM, path)
    assert found is not None
    assert (found.claim, found.seeds) == (CLAIM.text, [0, 1, 2])
    assert standing(recipe, replace(CLAIM, worse=Arm(good=True)), path) is None
    assert standing(recipe, replace(CLAIM, metric="recall"), path) is None
    assert standing(recipe, CLAIM, tmp_path / "none.json") is None
    recipe.laptop = lambda: Settings(good=True)
    assert standing(recipe, CLAIM, path) is None

    class Grown(Settings):
        """With a setting more."""

        steps: int = 3

    recipe.laptop = Grown
    assert standing(recipe, CLAIM, path) is not None
    recipe.laptop = lambda: Grown(steps=4)
    assert standing(recipe, CLAIM, path) is None

    class Other(Config):
        """Without that setting."""

    recipe.laptop = Other
    assert standing(recipe, CLAIM, path) is None


def test_an_unknown_metric_names_the_known_ones(tmp_path):
    claim = Claim("c", better=Arm(good=True), worse=Arm(), metric="acuracy", floor="chance", seeds=2)
    with pytest.raises(KeyError, match="accuracy"):
        measure(_recipe(tmp_path, []), "toy", claim, runs=tmp_path / "runs")


def test_remarks_are_read_from_the_source():
    assert differences_from_paper("a = 1  # differs: why\n    b = 2\n    # differs: also\n") == ["why", "also"]
    told = "One.\n\ndiffers: what is told\n    at length\ndiffers: more\nTwo.\n"
    assert differences_from_paper(told) == ["what is told at length", "more"]
    assert without_remarks(told).split() == ["One.", "Two."]
