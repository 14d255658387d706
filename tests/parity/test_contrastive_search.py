"""Contrastive search gives the token ids of two others, as they were stored.

`contrastive_ids.json` is of transformers 4.55, the last version that had it. `simctg_ids.json` is of SimCTG's own code
(0.7 of PyPI: its `ContrastiveDecodingOneStepFast`, 24 times for each prompt of `tiny.prompts()` alone), whose models
were called with a `DynamicCache` made of the lists of keys and values that it hands on, and without its mask of ones.
"""

import json
from pathlib import Path

import pytest

from antiphon.generation.decoding import Decoding, continued
from tests.generation.tiny import model, prompts

FILES = ("contrastive_ids.json", "simctg_ids.json")
STORED = {file: json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))["ids"] for file in FILES}


@pytest.mark.parametrize(("file", "setting"), [(file, setting) for file in FILES for setting in STORED[file]])
def test_ids_are_those_of_others(file, setting):
    family, candidates, penalty = setting.split("/")
    cfg = Decoding(method="contrastive", candidates=int(candidates), penalty=float(penalty), max_tokens=24)
    assert continued(model(family), prompts(), cfg).values.tolist() == STORED[file][setting]
