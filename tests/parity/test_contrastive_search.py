"""Contrastive search gives the token ids of transformers 4.55, the last version that had it, as they were stored."""

import json
from pathlib import Path

import pytest

from antiphon.generation.decoding import Decoding, continued
from tests.generation.tiny import model, prompts

STORED = json.loads((Path(__file__).parent / "contrastive_ids.json").read_text(encoding="utf-8"))["ids"]


@pytest.mark.parametrize("setting", STORED)
def test_ids_are_those_of_transformers(setting):
    family, candidates, penalty = setting.split("/")
    cfg = Decoding(method="contrastive", candidates=int(candidates), penalty=float(penalty), max_tokens=24)
    assert continued(model(family), prompts(), cfg).values.tolist() == STORED[setting]
