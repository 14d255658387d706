"""Where data lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.data.cache import DataError, cache_folder, data_folder


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ANTIPHON_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "shared" / "antiphon"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "antiphon"


def test_data_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ANTIPHON_DATA", raising=False)
    with pytest.raises(DataError, match="set ANTIPHON_DATA"):
        data_folder("sts")
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path))
    with pytest.raises(DataError, match="no folder"):
        data_folder("sts")
    (tmp_path / "sts").mkdir()
    assert data_folder("sts") == tmp_path / "sts"
