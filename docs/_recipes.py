"""A mkdocs hook: a page for each recipe, from its docstring and its measured cards, below `recipes/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from antiphon import recipes
from antiphon.evaluation.claims import read_cards, read_pictures
from antiphon.evaluation.pages import recipe_page

CLAIMS = Path(__file__).parents[1] / "claims"


def on_config(config: Any) -> Any:
    """Put the recipes into the navigation, where it says `Recipes`."""
    for entry in config.nav:
        if "Recipes" in entry:
            entry["Recipes"] = [{name: f"recipes/{name}.md"} for name in recipes.names()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for name in recipes.names():
        cards, pictures = read_cards(CLAIMS / f"{name}.json"), read_pictures(CLAIMS / "pictures" / name)
        page = recipe_page(name, recipes.get(name), cards, pictures)
        files.append(File.generated(config, f"recipes/{name}.md", content=page))
    return files
