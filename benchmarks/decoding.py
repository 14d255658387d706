"""SmolLM2-135M: contrastive search against greedy search, and what prompts share read once against each time."""

from __future__ import annotations

import inspect
import statistics
import time
from functools import partial
from typing import Any

import torch

from benchmarks.measuring import Row, in_turns, seconds, version

CONTEXT, TOKENS, CANDIDATES, ROUNDS, TEXTS = 512, 17, 4, 5, 32


def contrastive() -> Row:
    """Four candidates looked at a token, for little more than the price of one."""
    from antiphon.generation.decoding import Decoding, continued
    from antiphon.generation.models import open_language_model
    from antiphon.types import Padded

    torch.set_num_threads(1)
    model, tokenizer = open_language_model("smollm2-135m-instruct")
    ids = torch.tensor([tokenizer(inspect.getsource(inspect))["input_ids"][:CONTEXT]])
    prompt = Padded(ids, torch.tensor([CONTEXT]))

    def ours(tokens: int, method: str = "contrastive", candidates: int = CANDIDATES, **options: Any) -> torch.Tensor:
        cfg = Decoding(method=method, max_tokens=tokens, candidates=candidates, **options)  # type: ignore[arg-type]
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
    # once each: how the price grows with the candidates
    by_count = {f"ms with {k}": round(1000 * a_token(partial(ours, candidates=k), TOKENS - 1), 1) for k in (2, 8)}
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
        details={"context": CONTEXT, "tokens": TOKENS, "candidates": CANDIDATES, "threads": 1} | by_count,
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


ROWS = {"contrastive-search": contrastive, "shared-beginning": shared_beginning}
