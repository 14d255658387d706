"""A header is read once, and again when its file changed."""

import numpy as np
import pytest
import soundfile

from antiphon.decode import BadInput, probing
from antiphon.decode.probing import cached_seconds


def test_a_file_is_opened_once_until_it_changes(tmp_path, monkeypatch):
    file, opened = tmp_path / "a.wav", []
    monkeypatch.setattr(
        probing, "probe_seconds", lambda *a, real=probing.probe_seconds, **k: opened.append(a) or real(*a, **k)
    )
    soundfile.write(file, np.zeros(8000), 16_000)
    for source in (file, str(file), {"path": str(file), "bytes": None}):
        assert cached_seconds(source) == 0.5
    assert len(opened) == 1
    soundfile.write(file, np.zeros(16_000), 16_000)
    assert cached_seconds(file) == 1.0
    assert len(opened) == 2


def test_bytes_and_waveforms_are_measured_as_they_are(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, np.zeros(8000), 16_000)
    assert cached_seconds(file.read_bytes()) == 0.5
    assert cached_seconds({"bytes": file.read_bytes(), "path": "b.wav"}) == 0.5
    assert cached_seconds({"array": np.zeros(100), "sampling_rate": 100}) == 1.0
    assert cached_seconds(np.zeros(800, np.float32), rate=1600) == 0.5


def test_what_is_no_sound_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        cached_seconds(tmp_path / "gone.wav")
