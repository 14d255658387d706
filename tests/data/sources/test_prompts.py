"""Prompts: languages meet by name; texts are there where transcripts are."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.data.cache import DataError, cache_folder
from antiphon.data.sources import load
from antiphon.decode import decode_audio


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    for language, voice, prompts in (
        ("en", "en_US_f_Allison", ("with", "digits/7", "silence/1")),
        ("fr", "fr_CA_f_June", ("digits/7",)),
    ):
        for prompt in prompts:
            path = tmp_path / f"asterisk-core-sounds-{language}-wav/usr/share/asterisk/sounds/{voice}/{prompt}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"RIFF")
    return tmp_path


def test_rows_without_and_with_transcripts(packages: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ANTIPHON_DATA", raising=False)
    rows = load("prompts", folder=packages, languages=("en", "fr"))
    assert rows.column_names == ["id", "speech_en", "speech_fr"]
    assert list(rows["id"]) == ["digits/7", "with"]
    assert rows[1]["speech_fr"] is None
    data = tmp_path / "data/asterisk_transcripts"
    data.mkdir(parents=True)
    (data / "transcripts.tsv").write_text('prompt\ten\tes\taudio_in\ndigits/7\tseven "7"\tsiete\ten,fr\nwith\t\t\ten\n')
    monkeypatch.setenv("ANTIPHON_DATA", str(tmp_path / "data"))
    rows = load("prompts", folder=packages, languages=("en", "fr"))
    assert rows.column_names == ["id", "text", "speech_en", "speech_fr"]
    assert list(rows["text"]) == ['seven "7"', None]


def test_errors(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no language de; there are en"):
        load("prompts", folder=packages, languages=("de",))
    with pytest.raises(DataError, match="one voice of es"):
        load("prompts", folder=packages, languages=("es",))
    (tmp_path / "bad.tsv").write_text("name\ten\nwith\tWith.\n")
    with pytest.raises(DataError, match="no column 'prompt'"):
        load("prompts", folder=packages, languages=("en",), transcripts=tmp_path / "bad.tsv")
    with pytest.raises(DataError, match=r"no\.tsv: No such file"):
        load("prompts", folder=packages, languages=("en",), transcripts=tmp_path / "no.tsv")


@pytest.mark.data
def test_the_packages() -> None:
    folder = cache_folder() / "debian"
    if not (folder / "asterisk-core-sounds-ru-wav").is_dir() or not (folder / "asterisk-core-sounds-en-wav").is_dir():
        pytest.skip("asterisk-core-sounds-en-wav and -ru-wav are not in the cache: antiphon data get prompts")
    rows = load("prompts", folder=folder, languages=("en", "ru"))
    assert len(rows) > 550
    for row in rows.select(range(0, len(rows), 50)):
        for item in (row["speech_en"], row["speech_ru"]):
            assert item is None or len(decode_audio(item)) > 1000
