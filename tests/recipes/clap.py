"""A tiny random CLAP checkpoint on disk, and a folder of sounds for it."""

from __future__ import annotations

import csv
from pathlib import Path

import soundfile
from transformers import ClapFeatureExtractor

from antiphon.data.pairs import Pairs
from tests.encoders.test_text import clap, tokenizer
from tests.encoders.tiny import save, wave

KINDS = ("red boat", "blue sea", "green tree")


def clap_checkpoint(folder: Path) -> Path:
    """Windows of one second at 16 kHz, vectors of width 8."""
    folder.mkdir()
    extractor = ClapFeatureExtractor(sampling_rate=16_000, max_length_s=1, truncation="rand_trunc")
    return save(clap(), folder, tokenizer(), extractor)


def sounding_rows(folder: Path, *columns: str, count: int = 36) -> Pairs:
    """A table of sounds of half a second, a text of each, and its kind."""
    folder.mkdir()
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "audio", "text", "kind"])
        for at in range(count):
            soundfile.write(folder / f"{at}.wav", wave(0.5, at).numpy(), 16_000)
            table.writerow([f"r{at:02d}", f"{at}.wav", f"a {KINDS[at % 3]} by night", KINDS[at % 3]])
    options = {"folder": str(folder / "rows.csv")}
    return Pairs(source="folder", columns=columns or ("audio",), split_by="id", options=options)
