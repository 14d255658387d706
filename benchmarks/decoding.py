"""SmolLM2-135M: contrastive and greedy search against `generate`, and what prompts share read once or each time."""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.measuring import THREADS, Row, in_turns, seconds, version

CONTEXT, TOKENS, CANDIDATES, ROUNDS, TEXTS = 512, 17, 4, 5, 32
Clock = Callable[[], float]


class Sides:
    """The same beginning continued by us and by `model.generate`, which agree where they look for the same ids."""

    def __init__(self) -> None:
        from antiphon.generation.models import open_language_model
        from antiphon.types import Padded

        self.model, tokenizer = open_language_model("smollm2-135m-instruct")
        self.ids = torch.tensor([tokenizer(inspect.getsource(inspect))["input_ids"][:CONTEXT]])
        self.prompt = Padded(self.ids, torch.tensor([CONTEXT]))
        greedy = self.theirs(TOKENS)
        if not (
            torch.equal(self.contrastive(TOKENS, penalty=0.0), greedy) and torch.equal(self.greedy(TOKENS), greedy)
        ):
            raise SystemExit(
                "without a penalty the ids are not those of generate: a ratio of speeds would mean nothing"
            )
        weights = sum(value.numel() * value.element_size() for value in self.model.parameters())
        self.bound = f"{weights / 2**20:.0f} MiB of weights are read once a token by both"

    def contrastive(self, tokens: int, candidates: int = CANDIDATES, **options: Any) -> torch.Tensor:
        from antiphon.generation.decoding import Decoding, continued

        cfg = Decoding(method="contrastive", max_tokens=tokens, candidates=candidates, **options)
        return continued(self.model, self.prompt, cfg).values

    def greedy(self, tokens: int) -> torch.Tensor:
        from antiphon.generation.decoding import Decoding, continued

        return continued(self.model, self.prompt, Decoding(max_tokens=tokens)).values

    def theirs(self, tokens: int) -> torch.Tensor:
        """Greedy search of `generate`."""
        mask = torch.ones_like(self.ids)
        words: torch.Tensor = self.model.generate(
            input_ids=self.ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
        )
        return words[:, CONTEXT:]


def a_token(side: Any, clock: Clock) -> float:
    """Milliseconds of one more token: what is read before the first is taken off."""
    return 1000 * (seconds(lambda: side(TOKENS), clock) - seconds(lambda: side(1), clock)) / (TOKENS - 1)


def medians(*sides: Any, clock: Clock) -> list[float]:
    """Of each side in turn, some times."""
    took = [[a_token(side, clock) for side in sides] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*took, strict=True)]


def contrastive() -> Row:
    """Four candidates looked at a token, for little more than the price of one."""
    torch.set_num_threads(1)
    sides, clock = Sides(), time.process_time
    mine, other, own = medians(sides.contrastive, sides.theirs, sides.greedy, clock=clock)
    # once each: how the price grows with the candidates
    by_count = {f"ms with {k}": round(a_token(partial(sides.contrastive, candidates=k), clock), 1) for k in (2, 8)}
    return Row(
        ours=mine,
        peer=other,
        unit="ms a token",
        peer_name=f"greedy search of {version('transformers')}",
        reach=1.35,
        want="at most",
        bound=f"{sides.bound}; the rest is {CANDIDATES} times the products and the attention",
        details={"context": CONTEXT, "tokens": TOKENS, "candidates": CANDIDATES, "threads": 1}
        | by_count
        | {"ms of our greedy search": round(own, 1), "ratio to it": round(mine / own, 3)},
    )


def greedy() -> Row:
    """One text, greedily, by the threads that a laptop has: products of one row, which torch makes by one."""
    torch.set_num_threads(THREADS)
    sides, clock = Sides(), time.perf_counter
    mine, other, contrast = medians(sides.greedy, sides.theirs, sides.contrastive, clock=clock)
    return Row(
        ours=mine,
        peer=other,
        unit="ms a token",
        peer_name=f"greedy search of {version('transformers')}",
        reach=0.8,
        want="at most",
        bound=sides.bound,
        details={"context": CONTEXT, "tokens": TOKENS, "threads": THREADS}
        | {f"ms of contrastive search with {CANDIDATES}": round(contrast, 1)},
    )


def shared_beginning() -> Row:
    """What all prompts begin with, read once, against every prompt read whole; the vectors are the same."""
    from antiphon.encoders.prompted import PromptedText
    from antiphon.generation.models import open_language_model
    from antiphon.recipes.mllm_embedder.prompts import prompt_of

    torch.set_num_threads(1)
    model, tokenizer = open_language_model("smollm2-135m-instruct")
    lines = [line.strip() for line in inspect.getsource(inspect).split("\n")]
    texts = [line for line in lines if 20 < len(line) < 60][:TEXTS]
    once, whole = (PromptedText(model, tokenizer, prompt_of("both", 0), reuse=reuse).eval() for reuse in (True, False))
    batch = once.collate(texts)

    @torch.inference_mode()
    def vectors(encoder: PromptedText) -> torch.Tensor:
        return encoder(batch).pooled

    if not torch.allclose(vectors(once), vectors(whole), atol=1e-3, rtol=1e-3):
        raise SystemExit("read once, the vectors are others: a ratio of speeds would mean nothing")
    mine, other = in_turns(lambda: vectors(once), lambda: vectors(whole), clock=time.process_time)
    shared, tokens = len(once.prefix), float(batch.lengths.float().mean())
    return Row(
        ours=1000 * mine / TEXTS,
        peer=1000 * other / TEXTS,
        unit="ms a text",
        peer_name="the same encoder with reuse=False",
        reach=0.8,
        want="at most",
        bound=f"{shared} of {tokens:.0f} tokens are shared; the rest is read either way",
        details={"texts": TEXTS, "shared": shared, "tokens": round(tokens, 1), "threads": 1},
    )


ROWS = {"contrastive-search": contrastive, "greedy-search": greedy, "shared-beginning": shared_beginning}
