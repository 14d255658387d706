"""`recipes`, `show` and `claims`: what there is, its settings, and its measured cards."""

import json

from antiphon import recipes
from antiphon.evaluation.claims import Arm, Claim
from antiphon.recipes import clip


def test_recipes_are_listed_with_their_verdicts(command):
    listed = json.loads(command("recipes", "--json").out)
    assert [recipe["name"] for recipe in listed] == recipes.names()
    (found,) = [recipe for recipe in listed if recipe["name"] == "clip"]
    assert found["paper"] == "2103.00020"
    assert found["claims"][0]["verdict"] == "holds"  # no claims/ in this folder: the cards that came with antiphon
    assert found["signals"] == ["image", "speech", "text"]
    nothing = json.loads(command("recipes", "clip", "--json", "--claims", "nowhere").out)
    assert [recipe["claims"][0]["verdict"] for recipe in nothing] == ["not measured"]
    shown = command("recipes").out
    assert "2103.00020" in shown
    assert "image, speech, text" in shown


def test_a_recipe_is_shown_with_its_settings(command):
    shown = command("show", "clip", "--preset", "tiny").out
    assert "https://arxiv.org/abs/2103.00020" in shown
    assert clip.CLAIMS[0].text in shown
    assert "steps: 20" in shown


def test_mistakes_are_one_line(command):
    assert "no recipe 'clap'" in command.refused("show", "clap")
    assert "no preset 'huge'" in command.refused("show", "clip", "--preset", "huge")
    assert "no recipe 'clap'" in command.refused("claims", "clap")


def test_a_claim_is_measured_and_its_card_kept(command, here, monkeypatch):
    monkeypatch.setattr(clip, "laptop", lambda: clip.tiny().but(train__steps=2))
    claim = Claim(
        "Wide beats narrow.", better=Arm(width=32), worse=Arm(width=8), seeds=2,
        metric="test/image->text/R@10", floor="test/image->text/chance R@10",
    )  # fmt: skip
    monkeypatch.setattr(clip, "CLAIMS", [claim])
    (card,) = json.loads(command("claims", "clip", "--jobs", 1, "--json").out)
    assert card["seeds"] == [0, 1]
    assert len(card["values"]["better"]) == len(card["values"]["worse"]) == 2
    assert json.loads((here / "claims/clip.json").read_text()) == [card]
    (listed,) = [recipe for recipe in json.loads(command("recipes", "--json").out) if recipe["name"] == "clip"]
    assert listed["claims"][0]["verdict"] == card["verdict"]
    told = command("claims", "clip")
    assert "4 of 4 runs are already run" in told.err
    assert "Wide beats narrow." in told.out
    (kept,) = json.loads(command("claims", "clip", "--missing", "--runs", "elsewhere", "--json").out)
    assert kept == card  # nothing was run, or the seconds would differ
