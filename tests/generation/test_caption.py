"""Captioners: the loss is the language model's, a cut model says what the whole one does, what is saved comes back."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from antiphon.errors import WrongValue
from antiphon.generation.caption import Captioner, cut, remembered, tokens_of
from antiphon.generation.decoding import Decoding
from antiphon.generation.models import open_language_model
from antiphon.types import Padded
from tests.generation.tiny import WORDS, model

TEXTS = ["a dog barks", "rain falls on a tin roof", "birds sing"]
NAMES = ["dog", "rain", "bird song"]


def _captioner(words=None):
    torch.manual_seed(0)
    lm, tokenizer = open_language_model("scratch-tiny")
    made = Captioner(cut(lm, words=words), tokenizer, width=6, words=words, soft=3, hidden=8, names=NAMES)
    made.name_vectors.copy_(normalize(torch.randn(3, 6), dim=1))
    return made.eval()


def _vectors(rows=3):
    return normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(1)), dim=1)


def _padded(lines):
    values = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.int64)
    for row, line in zip(values, lines, strict=True):
        row[: len(line)] = torch.tensor(line)
    return Padded(values, torch.tensor([len(line) for line in lines]))


@torch.no_grad()
@pytest.mark.parametrize("tags", [None, [["dog"], [], ["rain", "bird song"]]])
def test_the_loss_is_the_models_own_one_by_one(tags):
    captioner, vectors = _captioner(), _vectors()
    ids = captioner.ids(TEXTS, end=True)
    found = captioner.losses(vectors, _padded(ids), tags)
    for at, line in enumerate(ids):
        prompt = captioner.prompt(vectors[at : at + 1], None if tags is None else tags[at : at + 1])
        words = captioner.model.get_input_embeddings()(torch.tensor([line]))
        length = int(prompt.lengths[0])
        whole = torch.cat([prompt.values[:, :length], words], dim=1)
        logits = captioner.model(inputs_embeds=whole).logits[0, length - 1 : -1]
        assert found[at].item() == pytest.approx(
            cross_entropy(logits, torch.tensor(line), reduction="sum").item(), rel=1e-4
        )
        hard = 0 if tags is None or not tags[at] else len(f" Sounds: {', '.join(tags[at])}.")
        assert length == 3 + hard  # a byte is a token


def test_a_cut_model_says_what_the_whole_one_says():
    lm = model("llama")
    words = [5, 90, 3, 17, 60]
    small = cut(lm, words=words)
    ids = torch.tensor([[3, 0, 4]])
    whole = lm(input_ids=torch.tensor([words])[0][ids]).logits
    assert torch.allclose(small(input_ids=ids).logits, whole[..., words], atol=1e-5)
    assert small.get_input_embeddings().weight is not small.get_output_embeddings().weight
    shallow = cut(lm, layers=1)
    assert (shallow.config.num_hidden_layers, shallow.config.vocab_size) == (1, WORDS)
    assert torch.equal(shallow.model.layers[0].mlp.up_proj.weight, lm.model.layers[0].mlp.up_proj.weight)
    assert lm.config.num_hidden_layers == 2
    with pytest.raises(WrongValue, match="layers=3: the model has 2"):
        cut(lm, layers=3)


def test_other_families_are_cut_too():
    for family in ("gpt2", "opt", "qwen2"):
        small = cut(model(family), layers=1, words=[4, 8, 15])
        assert small(input_ids=torch.tensor([[0, 2, 1]])).logits.shape == (1, 3, 3)


def test_words_that_were_cut_off():
    _, tokenizer = open_language_model("scratch-tiny")
    words = sorted({token for text in TEXTS for token in tokens_of(tokenizer, text)} | {tokenizer.eos_token_id})
    captioner = _captioner(words)
    lines = captioner.ids(TEXTS, end=True)
    assert [tokenizer.decode([words[at] for at in line[:-1]]) for line in lines] == [f" {text}" for text in TEXTS]
    assert {words[line[-1]] for line in lines} == {tokenizer.eos_token_id}
    with pytest.raises(WrongValue, match="was cut to some words, 'z' is none of them"):
        captioner.ids(["a zoo"])


def test_names_near_a_vector():
    captioner = _captioner()
    found = captioner.nearest(captioner.name_vectors, 2)
    assert found[:, 0].tolist() == [0, 1, 2]
    with pytest.raises(WrongValue, match="4 names wanted, the captioner has 3"):
        captioner.nearest(_vectors(), 4)


@pytest.mark.parametrize("method", ["greedy", "beam", "contrastive"])
def test_captions_come_alone_as_in_a_batch(method):
    captioner, cfg = _captioner(), Decoding(method=method, max_tokens=12)
    together = captioner.captions(_vectors(), cfg, tags=1)
    assert together == [captioner.captions(_vectors()[at : at + 1], cfg, tags=1)[0] for at in range(3)]


def test_it_learns_to_say_what_a_vector_means():
    captioner, vectors = _captioner(), _vectors()
    ids = _padded(captioner.ids(TEXTS, end=True))
    optimizer = torch.optim.AdamW(captioner.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        captioner.losses(vectors, ids).mean().backward()
        optimizer.step()
    assert captioner.captions(vectors, Decoding(max_tokens=30)) == TEXTS


def test_what_is_saved_comes_back(tmp_path):
    _, tokenizer = open_language_model("scratch-tiny")
    words = sorted({token for text in [*TEXTS, "Sounds: ,.", *NAMES] for token in tokens_of(tokenizer, text)} | {257})
    captioner = _captioner(words)
    captioner.save(tmp_path / "captioner")
    again = Captioner.load(tmp_path / "captioner")
    assert again.state_dict().keys() == captioner.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in captioner.state_dict().items())
    cfg = Decoding(max_tokens=10)
    assert again.captions(_vectors(), cfg, tags=2) == captioner.captions(_vectors(), cfg, tags=2)
    with pytest.raises(WrongValue, match="holds no captioner"):
        Captioner.load(tmp_path)
    described = json.loads((tmp_path / "captioner/captioner.json").read_text()) | {"format": 9}
    (tmp_path / "captioner/captioner.json").write_text(json.dumps(described))
    with pytest.raises(WrongValue, match="this version reads format 1"):
        Captioner.load(tmp_path / "captioner")


def test_vectors_made_anew_of_a_memory():
    memory = torch.eye(3)
    assert torch.allclose(remembered(torch.tensor([[0.8, 0.6, 0.0]]), memory), torch.eye(3)[:1], atol=1e-4)
    even = remembered(normalize(torch.tensor([[1.0, 1.0, 0.0]]), dim=1), memory)
    assert torch.allclose(even, torch.tensor([[0.5**0.5, 0.5**0.5, 0.0]]), atol=1e-4)


def test_a_captioner_knows_how_many_names_its_prompts_hold(tmp_path, monkeypatch):
    _captioner().save(tmp_path / "captioner")
    described = json.loads((tmp_path / "captioner/captioner.json").read_text()) | {"tags": 2}
    (tmp_path / "captioner/captioner.json").write_text(json.dumps(described))
    captioner, seen = Captioner.load(tmp_path / "captioner"), []
    prompt = captioner.prompt
    monkeypatch.setattr(captioner, "prompt", lambda vectors, tags: seen.append(tags) or prompt(vectors, tags))
    for asked in (None, 1, 0):
        captioner.captions(_vectors(), Decoding(max_tokens=2), tags=asked)
    assert [None if tags is None else len(tags[0]) for tags in seen] == [2, 1, None]
