"""Debian packages, with an apt-get and a dpkg of our own; each failure in one line."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from antiphon.data import debian
from antiphon.data.cache import DataError

CONTENT = b"a package"
APT = r"""#!/bin/sh
echo "$@" >> "$FAKE/calls"
case "$*" in
  *update*) touch "$FAKE/lists"; exit 0 ;;
esac
if [ ! -e "$FAKE/lists" ]; then echo "E: Unable to locate package pictures" >&2; exit 100; fi
case "$*" in
  *--print-uris*) echo "Reading package lists..."; cat "$FAKE/uris" ;;
  *) if [ -e "$FAKE/full" ]; then echo "W: x" >&2; echo "E: write - No space left on device" >&2; exit 100; fi
     sleep 0.3; cat "$FAKE/deb" > pictures_1_all.deb ;;
esac
"""
DPKG = r"""#!/bin/sh
if [ -e "$FAKE/bad" ]; then mkdir -p "$3/usr"; echo "dpkg-deb: error: not a Debian archive" >&2; exit 2; fi
mkdir -p "$3/usr/share" && cp "$2" "$3/usr/share/picture"
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir()
    for name, script in (("apt-get", APT), ("dpkg", DPKG)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    (folder / "deb").write_bytes(CONTENT)
    _say(folder, CONTENT)
    (folder / "lists").touch()
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    return folder


def _say(folder: Path, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "uris").write_text(f"'http://x/pictures_1_all.deb' pictures_1_all.deb {len(content)} SHA256:{digest}\n")


def _calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def test_a_package_is_downloaded_once(fake: Path, tmp_path: Path) -> None:
    folder = debian.get("pictures")
    assert folder == tmp_path / "cache/debian/pictures"
    assert (folder / "usr/share/picture").read_bytes() == CONTENT
    calls = _calls(fake)
    assert all("APT::Sandbox::User=root" in call for call in calls)
    assert debian.get("pictures", progress=False) == folder
    assert _calls(fake) == calls
    assert [path.name for path in (tmp_path / "cache/debian").iterdir() if path.name.startswith(".pictures-")] == []
    assert list((tmp_path / "cache/debian/.download").iterdir()) == []


def test_a_whole_download_is_not_repeated(fake: Path, tmp_path: Path) -> None:
    (fake / "bad").touch()
    with pytest.raises(DataError, match="pictures: dpkg failed: dpkg-deb: error: not a Debian archive"):
        debian.get("pictures")
    assert not (tmp_path / "cache/debian/pictures").exists()
    (fake / "bad").unlink()
    before = len(_calls(fake))
    debian.get("pictures")
    assert ["--print-uris" in call for call in _calls(fake)[before:]] == [True]


def test_a_half_unpacked_folder_is_replaced(fake: Path, tmp_path: Path) -> None:
    rest = tmp_path / "cache/debian/pictures/usr/rest"
    rest.mkdir(parents=True)
    assert not (debian.get("pictures") / "usr/rest").exists()


def test_a_wrong_checksum_is_refused_and_not_kept(fake: Path, tmp_path: Path) -> None:
    _say(fake, b"b package")
    with pytest.raises(DataError, match="checksum"):
        debian.get("pictures")
    assert list((tmp_path / "cache/debian/.download").iterdir()) == []
    _say(fake, CONTENT)
    assert debian.get("pictures").is_dir()


def test_root_updates_empty_lists_and_others_are_told(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake / "lists").unlink()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(DataError, match="run: sudo apt-get update"):
        debian.get("pictures")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert debian.get("pictures").is_dir()
    assert sum("update" in call for call in _calls(fake)) == 1


def test_failures_are_one_line(fake: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (fake / "full").touch()
    with pytest.raises(DataError, match=r"^pictures: apt-get failed: write - No space left on device$"):
        debian.get("pictures")
    with pytest.raises(DataError, match="not the name of a Debian package"):
        debian.get("../pictures")
    with pytest.raises(DataError, match="not the name of a Debian package"):
        debian.get("-o")
    monkeypatch.setenv("ANTIPHON_CACHE", str(fake / "deb"))
    with pytest.raises(DataError, match=r"Not a directory|File exists"):
        debian.get("pictures")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="needs apt-get and dpkg"):
        debian.get("pictures")


def test_a_full_disk_is_seen_before(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.data.debian.shutil.disk_usage", lambda _: type("Usage", (), {"free": 3})())
    with pytest.raises(DataError, match="MB are free"):
        debian.get("pictures")
    assert len(_calls(fake)) == 1
