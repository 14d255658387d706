"""Every example that the pages show runs, quickly, in an empty folder; and every page shows what is there."""

from __future__ import annotations

import re
import runpy
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs_src").glob("*.py"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))
CPU_SECONDS = 20


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints(example, here, capsys):
    started = time.process_time()
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert time.process_time() - started < CPU_SECONDS


def test_every_example_is_shown_and_every_shown_file_is_there():
    shown = {name for page in PAGES for name in re.findall(r'--8<-- "docs_src/([^":]+)', page.read_text("utf-8"))}
    assert shown == {path.name for path in EXAMPLES}


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES}
