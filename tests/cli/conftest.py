"""Commands run in a folder of their own, with a cache of their own."""

import pytest

from tests.cli.command import Command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def command(capsys, monkeypatch, here):
    return Command(capsys, monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The run folder of a tiny clip."""
    from antiphon.recipes import clip
    from antiphon.runs import Run

    config = clip.tiny()
    run = Run.of("clip", config, root=tmp_path_factory.mktemp("runs"))
    clip.run(config, run)
    return run.folder
