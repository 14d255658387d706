"""Contrastive search inside `model.generate` of `transformers`, which dropped its own: nothing is fetched from a hub.

    from antiphon.generation.custom import contrastive_search
    model.generate(**inputs, custom_generate=contrastive_search, penalty_alpha=0.6, top_k=4, max_new_tokens=64)

`penalty_alpha`, `top_k`, `max_new_tokens` and end tokens are read from the generation config, as before (arXiv
2202.06417). What would change scores (`repetition_penalty`, `logits_processor`, ...) or stop by other rules is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.generation import EosTokenCriteria, GenerateDecoderOnlyOutput, MaxLengthCriteria

from antiphon.errors import WrongValue
from antiphon.generation.decoding import Decoding, continued, left_padded

_READ = {"attention_mask", "inputs_embeds"}
_OWN = {"position_ids", "past_key_values", "cache_position", "use_cache", "logits_to_keep", "synced_gpus"}
"""What `generate` prepares for every decoder, and `continued` makes for itself."""


def contrastive_search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **prepared: Any,
) -> Any:
    """A decoding loop that `generate(custom_generate=...)` calls.

    Args:
        model: a causal language model that texts can branch in (see `generation.branches`).
        input_ids: `(B, T)`, padded on one side by the mask; `(B, 0)` where `inputs_embeds` are given.
        logits_processor: must be empty.
        stopping_criteria: a length and end tokens.
        generation_config: its `penalty_alpha` (0 to 1) and `top_k` are a and k.
        prepared: what `generate` has prepared: the mask or the vectors of the prompt are read.

    Returns:
        Token ids `(B, T + N)`, padded at their ends, or `GenerateDecoderOnlyOutput` where a dict is asked for.

    Raises:
        WrongValue: a setting that contrastive search has not, or lacks.
    """
    _check(logits_processor, stopping_criteria, generation_config, prepared)
    vectors, mask = prepared.get("inputs_embeds"), prepared.get("attention_mask")
    values = input_ids if vectors is None else vectors
    if mask is None:
        mask = torch.ones(values.shape[:2], dtype=torch.int64, device=values.device)
    cfg = Decoding(
        method="contrastive",
        candidates=generation_config.top_k,
        penalty=generation_config.penalty_alpha,
        max_tokens=generation_config.max_length - input_ids.shape[1],
    )
    ends = _ends(generation_config)
    found = continued(model, left_padded(values, mask), cfg, ends=ends)
    padding = generation_config.pad_token_id
    if padding is None:
        padding = ends[0] if ends else 0
    new = torch.where(found.mask, found.values, padding).to(input_ids.device)
    sequences = torch.cat([input_ids, new], dim=1)
    if generation_config.return_dict_in_generate:
        return GenerateDecoderOnlyOutput(sequences=sequences)
    return sequences


def _check(logits_processor: Any, stopping_criteria: Any, config: Any, prepared: dict[str, Any]) -> None:
    if config.penalty_alpha is None or not config.top_k:
        raise WrongValue(
            f"contrastive search with penalty_alpha={config.penalty_alpha} and top_k={config.top_k}: give both, for "
            "instance generate(..., penalty_alpha=0.6, top_k=4)"
        )
    if config.do_sample or config.num_beams not in (None, 1):
        raise WrongValue("contrastive search draws nothing and has no beams: give do_sample=False, num_beams=1")
    processors = [type(each).__name__ for each in logits_processor]
    stops = [type(each).__name__ for each in stopping_criteria
             if not isinstance(each, MaxLengthCriteria | EosTokenCriteria)]  # fmt: skip
    wanted = [name for name in ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
              if getattr(config, name, None)]  # fmt: skip
    others = [name for name, value in prepared.items() if value is not None and name not in _READ | _OWN]
    if processors or stops or wanted or others:
        raise WrongValue(
            f"contrastive search inside generate takes no {', '.join([*processors, *stops, *wanted, *others])}: leave "
            "that out, or use antiphon.generation.decoding.continued, which takes a stop of your own"
        )


def _ends(config: Any) -> list[int]:
    ends = config.eos_token_id
    if ends is None:
        return []
    return [int(end) for end in ends] if isinstance(ends, list | tuple) else [int(ends)]
