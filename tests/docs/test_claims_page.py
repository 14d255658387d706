"""The pages of claims and of benchmarks show what was measured."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _hook():
    spec = importlib.util.spec_from_file_location("claims_hook", ROOT / "docs/_claims.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


def _card(**changes):
    card = {
        "recipe": "toy", "claim": "A beats B.", "verdict": "holds", "metric": "test/R@10", "mean": 0.125, "low": 0.1,
        "high": 0.15, "paper": {"arxiv": "2103.00020", "title": "CLIP"}, "seeds": [0, 1], "floor": [0.08, 0.08],
        "values": {"better": [0.5, 0.6], "worse": [0.375, 0.475]}, "differences": [0.125, 0.125],
        "arms": {"better": {"towers": "locked"}, "worse": {"towers": "scratch"}}, "differs": ["smaller"],
        "seconds": 61.4, "commit": "abc", "versions": {"torch": "2"},
    }  # fmt: skip
    return card | changes


def test_the_page_shows_the_cards(tmp_path):
    (tmp_path / "toy.json").write_text(json.dumps([_card(), _card(claim="C beats D.", verdict="fails", mean=-0.25)]))
    page = _hook().cards(tmp_path)
    assert "| [toy](recipes/toy.md) | A beats B. | holds | test/R@10 | +0.125 [+0.100, +0.150] | 2 |" in page
    assert "| [toy](recipes/toy.md) | C beats D. | fails | test/R@10 | -0.250 [+0.100, +0.150] | 2 |" in page


def test_without_cards_it_says_so(tmp_path):
    assert _hook().cards(tmp_path) == "No claim is measured yet."


def test_the_page_has_a_place_for_them():
    assert "<!-- cards -->" in (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert "docs/_claims.py" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_the_benchmarks_table_shows_every_row_and_its_bound(tmp_path):
    row = {
        "row": "search-1", "ours": 31.55, "peer": 10.48, "unit": "queries/s", "peer_name": "faiss-cpu 1.15.1",
        "ratio": 3.0096, "want": "at least", "reach": 0.9, "reached": True, "bound": "the memory",
    }  # fmt: skip
    missed = row | {"row": "other", "ratio": 0.5, "reached": False}
    (tmp_path / "results.json").write_text(json.dumps([row, missed]))
    page = _hook().benchmarks(tmp_path / "results.json")
    assert "| search-1 | 3.01 | at least 0.9 | yes | 31.6 | 10.5 | queries/s | faiss-cpu 1.15.1 |" in page
    assert "| other | 0.5 | at least 0.9 | **no** |" in page
    assert "- search-1: the memory." in page
    assert "Nothing is measured yet" in _hook().benchmarks(tmp_path / "gone.json")
    assert "<!-- benchmarks -->" in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
