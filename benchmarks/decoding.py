"""Contrastive search on SmolLM2-135M, against greedy search by `model.generate` of transformers."""

from __future__ import annotations

import inspect
import statistics
import time
from typing import Any

import torch

from benchmarks.measuring import Row, seconds, version

CONTEXT, TOKENS, CANDIDATES, ROUNDS = 512, 17, 4, 5


def contrastive() -> Row:
    """Four candidates looked at a token, for little more than the price of one."""
    from antiphon.generation.decoding import Decoding, continued
    from antiphon.generation.models import open_language_model
    from antiphon.types import Padded

    torch.set_num_threads(1)
    model, tokenizer = open_language_model("smollm2-135m-instruct")
    ids = torch.tensor([tokenizer(inspect.getsource(inspect))["input_ids"][:CONTEXT]])
    prompt = Padded(ids, torch.tensor([CONTEXT]))

    def ours(tokens: int, method: str = "contrastive", **options: Any) -> torch.Tensor:
        cfg = Decoding(method=method, max_tokens=tokens, candidates=CANDIDATES, **options)  # type: ignore[arg-type]
        return continued(model, prompt, cfg).values

    def theirs(tokens: int) -> torch.Tensor:
        mask = torch.ones_like(ids)
        words: torch.Tensor = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
        )
        return words[:, CONTEXT:]

    greedy = theirs(TOKENS)
    if not (torch.equal(ours(TOKENS, penalty=0.0), greedy) and torch.equal(ours(TOKENS, "greedy"), greedy)):
        raise SystemExit("without a penalty the ids are not those of generate: a ratio of speeds would mean nothing")

    def a_token(side: Any, reads: int) -> float:
        """Seconds of one more token: what is read before the first is taken off."""
        return (seconds(lambda: side(TOKENS), time.process_time) - seconds(lambda: side(1), time.process_time)) / reads

    took = [(a_token(ours, TOKENS - 1), a_token(theirs, TOKENS - 1)) for _ in range(ROUNDS)]
    mine, other = (statistics.median(column) for column in zip(*took, strict=True))
    weights = sum(value.numel() * value.element_size() for value in model.parameters())
    return Row(
        ours=1000 * mine,
        peer=1000 * other,
        unit="ms a token",
        peer_name=f"greedy search of {version('transformers')}",
        reach=1.35,
        want="at most",
        bound=f"{weights / 2**20:.0f} MiB of weights are read once a token by both; the rest is {CANDIDATES} times the "
        "products and the attention",
        details={"context": CONTEXT, "tokens": TOKENS, "candidates": CANDIDATES, "threads": 1},
    )


ROWS = {"contrastive-search": contrastive}
