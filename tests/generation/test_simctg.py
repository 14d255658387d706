"""Contrastive search gives the token ids of SimCTG's own code (version 0.7 of PyPI), as they were stored.

Stored by its `ContrastiveDecodingOneStepFast`, 24 times for each prompt of `tiny.prompts()` alone, unpacked from
`pip download simctg==0.7 --no-deps`. The models were called with a `DynamicCache` made of the lists of keys and values
that its code hands on, since transformers has no others any more, and without its mask of ones.
"""

import json
from pathlib import Path

import pytest

from antiphon.generation.decoding import Decoding, continued
from tests.generation.tiny import model, prompts

STORED = json.loads((Path(__file__).parent / "simctg_ids.json").read_text(encoding="utf-8"))["ids"]


@pytest.mark.parametrize("setting", STORED)
def test_ids_are_those_of_simctg(setting):
    family, candidates, penalty = setting.split("/")
    cfg = Decoding(method="contrastive", candidates=int(candidates), penalty=float(penalty), max_tokens=24)
    assert continued(model(family), prompts(), cfg).values.tolist() == STORED[setting]
