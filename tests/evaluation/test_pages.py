"""Pages of recipes say what their cards say, and nothing where nothing was measured."""

import re

from antiphon import recipes
from antiphon.evaluation.pages import arm_name, arm_names, card_section, dots, own_rows, recipe_page

CARD = {
    "claim": "A <fast> arm beats a slow one.", "verdict": "undecided", "metric": "test/R@1", "seeds": [0, 1],
    "arms": {"better": {"train__steps": 5}, "worse": {}}, "values": {"better": [0.5, 0.25], "worse": [0.4, 0.3]},
    "floor": [0.1, 0.1], "differences": [0.1, -0.05], "mean": 0.025, "low": -0.9, "high": 0.95, "seconds": 3.2,
    "commit": "abc", "versions": {"torch": "2"},
}  # fmt: skip


def test_a_card_is_told_whole():
    section = card_section(CARD)
    assert section.startswith("### Undecided: A &lt;fast> arm beats a slow one.")
    assert "+0.025, 95 % interval [-0.900, +0.950]" in section
    assert "| 1 | 0.250 | 0.300 | -0.050 | 0.100 |" in section
    assert "| seed | train.steps=5 | as it stands | difference | floor |" in section


def test_floors_that_have_names_stand_beside_the_claims_own():
    named = {"TF-IDF": [0.2, 0.3], "MiniLM (reference)": [0.8, 0.9]}
    card = CARD | {"floors": named}
    assert "| seed | train.steps=5 | as it stands | difference | floor | TF-IDF | MiniLM (reference) |" in card_section(
        card
    )
    assert "| 1 | 0.250 | 0.300 | -0.050 | 0.100 | 0.300 | 0.900 |" in card_section(card)
    assert "MiniLM (reference): 0.9000" in dots(card)
    section = card_section(card | {"floor": [0.2, 0.3]})
    assert "| as it stands | difference | TF-IDF | MiniLM (reference) |" in section


def test_a_docstring_may_tell_the_command_for_own_rows(monkeypatch):
    clip = recipes.get("clip")
    assert own_rows("clip", clip).endswith("data.options.folder=my/files data.columns=[image,text]")
    monkeypatch.setattr(
        clip, "__doc__", "A.\n\n    antiphon train clip data.source=folder \\\n        width=8\n    antiphon x\n"
    )
    assert own_rows("clip", clip) == "antiphon train clip data.source=folder width=8"


def test_the_picture_has_a_dot_for_every_value_and_is_escaped():
    drawn = str(dots(CARD))
    titles = re.findall(r"<title>([^<]*)</title>", drawn)
    assert titles == [
        *("train.steps=5: 0.5000", "train.steps=5: 0.2500"),
        *("as it stands: 0.4000", "as it stands: 0.3000"),
        *("floor: 0.1000", "floor: 0.1000"),
    ]
    assert "A &lt;fast&gt; arm" in drawn
    across = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert across[0] > across[2] > across[3] > across[1] > across[4]


def test_claims_without_a_card_are_said_to_be_not_measured():
    page = recipe_page("clip", recipes.get("clip"), [])
    assert "### Not measured: Locked pretrained towers" in page
    assert "data.columns=[image,text]" in page
    assert "the paper has one pair of signals" in page


def test_angles_in_prose_are_no_tags(monkeypatch):
    page = recipe_page("alip", recipes.get("alip"), [])
    assert "S_tc = &lt;t, c>, S_xt" in page
    assert "where W_s < 1, else 1" in page  # indented: code
    clip = recipes.get("clip")
    monkeypatch.setattr(clip, "__doc__", "A <b>: `x <y>`.\n\nMore: a<b.\n")
    assert recipe_page("clip", clip, []).startswith("# clip\n\nA &lt;b>: `x <y>`.\n\nPaper")
    assert "\n\nMore: a&lt;b.\n" in recipe_page("clip", clip, [])


def test_names_of_arms():
    assert arm_name({"a__b": 1, "c": "x"}) == "a.b=1, c=x"


def test_arms_are_named_by_what_they_do_not_share():
    arms = {"better": {"train": None, "k": 5, "soft": True}, "worse": {"train": None, "k": 1}}
    card = CARD | {"arms": arms}
    assert arm_names(card) == {"better": "k=5, soft=True", "worse": "k=1"}
    section = card_section(card)
    assert "| seed | k=5, soft=True | k=1 | difference | floor |" in section
    assert "\n\nBoth arms: train=None. " in section
    assert "Both arms" not in card_section(CARD)
    one = CARD | {"arms": {"better": {}, "worse": {"rule": "none"}}}
    assert arm_names(one) == {"better": "as it stands", "worse": "rule=none"}


def test_curves_of_both_arms_and_pictures_of_a_run():
    card = CARD | {"curves": {"better": [[1, 2.0], [5, 1.0]], "worse": [[1, 2.0], [5, 1.5]]}}
    assert "<polyline" not in card_section(CARD)
    assert card_section(card).count("<polyline") == 2
    page = recipe_page("clip", recipes.get("clip"), [], ["<figure>\n<b>seen</b>\n</figure>\n"])
    assert "## What it looks like\n\n<figure>\n<b>seen</b>" in page
