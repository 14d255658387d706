"""Small random models of several families; weights do not depend on how a version of transformers draws them."""

import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    XLMRobertaConfig,
    XLMRobertaForCausalLM,
)

from antiphon.types import Padded

LENGTHS = (9, 5, 12)
WORDS = 97
_IDS = {"vocab_size": WORDS, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128} | _IDS
_GATED = _SIZES | {"intermediate_size": 48, "num_key_value_heads": 2, "tie_word_embeddings": True}

FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_GATED)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, **_IDS)),
    "opt": lambda: OPTForCausalLM(OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **_SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_GATED)),
}

_PLAIN = {"vocab_size": WORDS, "hidden_size": 32}
SPECIAL = {
    "bloom": lambda: BloomForCausalLM(BloomConfig(n_layer=2, n_head=4, **_PLAIN)),
    "mamba": lambda: MambaForCausalLM(MambaConfig(num_hidden_layers=2, state_size=4, **_PLAIN)),
    "lfm2": lambda: Lfm2ForCausalLM(Lfm2Config(layer_types=["conv", "full_attention"], **_GATED)),
    "xlmr": lambda: XLMRobertaForCausalLM(XLMRobertaConfig(is_decoder=True, intermediate_size=48, **_SIZES)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(sliding_window=8, **_GATED)),
    "gptneo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=8, **_PLAIN)
    ),
}
"""Models whose texts cannot branch on one cache: the last two beyond their windows."""


def model(family):
    """In evaluation mode."""
    return _drawn(FAMILIES[family]())


def special(name):
    """In evaluation mode."""
    return _drawn(SPECIAL[name]())


def _drawn(made):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in sorted(made.named_parameters()):
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() > 1:
                value.copy_(noise / value.shape[-1] ** 0.5)
            else:
                value.copy_(noise * 0.1 + (0 if name.endswith("bias") else 1))
    return made.eval()


def prompts():
    """Three of unequal lengths."""
    generator = torch.Generator().manual_seed(1)
    lines = [torch.randint(1, WORDS, (length,), generator=generator) for length in LENGTHS]
    values = torch.zeros(len(lines), max(LENGTHS), dtype=torch.int64)
    for row, line in zip(values, lines, strict=True):
        row[: len(line)] = line
    return Padded(values, torch.tensor(LENGTHS))


def left(prompt):
    """Ids and mask as a tokenizer pads on the left."""
    width = prompt.values.shape[1]
    ids, mask = torch.zeros_like(prompt.values), torch.zeros_like(prompt.values)
    for at, length in enumerate(prompt.lengths.tolist()):
        ids[at, width - length :], mask[at, width - length :] = prompt.values[at, :length], 1
    return {"input_ids": ids, "attention_mask": mask}
