"""CCP's masked words: the loss of a checkpoint's own head, which ids are hidden, and a whole run on such an encoder."""

import string

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from antiphon.encoders.grams import GramBag
from antiphon.encoders.text import TransformersText
from antiphon.errors import UserError
from antiphon.objectives.masked_words import NOT_ASKED
from antiphon.recipes import ccp
from antiphon.recipes.ccp.rows import Windows
from antiphon.recipes.ccp.words import NewHead, guesser, hiding, vectors_of
from antiphon.runs import Run
from tests.recipes.test_ccp import rows_of

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {"bert": (BertConfig, BertForMaskedLM), "xlm-roberta": (XLMRobertaConfig, XLMRobertaForMaskedLM)}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def tokenizer():
    """Letters."""
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *string.ascii_lowercase]
    inner = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(letters)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", model_max_length=64, **names
    )


def checkpoint(folder, family="bert", *, bare=False):
    torch.manual_seed(0)
    config, whole = FAMILIES[family]
    made = tokenizer()
    settings = config(vocab_size=len(made), max_position_embeddings=72, pad_token_id=made.pad_token_id, **SIZES)
    model = BertModel(settings) if bare else whole(settings)
    for name, value in model.named_parameters():
        if "bias" in name or "norm" in name.lower():
            torch.nn.init.normal_(value, std=0.3)  # as trained: not the zeros and ones of a new head
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers(family, tmp_path):
    name = checkpoint(tmp_path, family)
    encoder, whole = TransformersText(name).eval(), FAMILIES[family][1].from_pretrained(name).eval()
    words = guesser(encoder, name)
    ids = encoder.collate(["somewords", "few"])
    chances = [torch.Generator().manual_seed(at) for at in range(2)]
    seen, asked = hiding(encoder, 0.9)(ids, chances)
    assert int((asked.values != NOT_ASKED).sum()) > 2
    lost, number = words(encoder(seen).tokens, asked.values, vectors_of(encoder))
    labels = asked.values.where(asked.values != NOT_ASKED, -100)
    told = whole(input_ids=seen.values, attention_mask=seen.mask.long(), labels=labels).loss
    assert float(lost.sum() / number.sum()) == pytest.approx(float(told), rel=1e-5)


def test_special_tokens_are_never_hidden(tmp_path):
    encoder = TransformersText(checkpoint(tmp_path))
    ids = encoder.collate(["abcd"] * 50)
    seen, asked = hiding(encoder, 1.0)(ids, [torch.Generator().manual_seed(at) for at in range(50)])
    special = set(encoder.tokenizer.all_special_ids)
    first, last = ids.values[0, 0], ids.values[0, -1]
    assert {int(first), int(last)} <= special
    assert bool((seen.values[:, 0] == first).all())
    assert bool((seen.values[:, -1] == last).all())
    assert not special & set(asked.values.flatten().tolist())
    assert encoder.tokenizer.mask_token_id in seen.values


def test_a_checkpoint_without_a_head_begins_a_new_one(tmp_path):
    name = checkpoint(tmp_path, bare=True)
    with pytest.warns(NewHead, match="holds no head of masked words that can be read: a new one begins"):
        words = guesser(TransformersText(name), name)
    assert words.bias.tolist() == [0.0] * len(words.bias)


def test_words_of_another_width_than_the_states_are_refused(tmp_path):
    name = checkpoint(tmp_path)
    encoder = TransformersText(name)
    encoder.width = 8
    with pytest.raises(UserError, match="have 16 numbers, its states 8: set mlm=0"):
        guesser(encoder, name)


def test_what_knows_no_masked_word_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"mlm: GramBag knows no masked word: set mlm=0, or text\.encoder to a model"):
        hiding(GramBag("tiny", buckets=64), 0.15)
    with pytest.raises(UserError, match="mlm: GramBag knows no masked word"):
        ccp.run(ccp.tiny().but(mlm=1.0), Run(tmp_path, ccp.tiny().but(mlm=1.0)))


def test_a_batch_hides_words_anew_in_every_epoch_and_asks_for_them(tmp_path):
    encoder = TransformersText(checkpoint(tmp_path))
    told, plain = Windows(encoder, 0, 2, hiding(encoder, 0.9)), Windows(encoder, 0, 2)
    rows = rows_of()
    batch, again = told(rows), told(rows)
    other = told([row | {"__epoch__": 1} for row in rows])
    assert torch.equal(batch["asked"].values, again["asked"].values)
    assert not torch.equal(batch["asked"].values[:, :2], other["asked"].values[:, :2])
    assert "masked" not in plain(rows)
    learner = ccp.CCP(ccp.tiny().but(mlm=0.5, text={"encoder": str(tmp_path)}), encoder, 2)
    losses = learner.losses(learner.embed(batch))
    assert losses["masked_words"] > 0
    losses["masked_words"].backward()
    assert vectors_of(encoder).grad.abs().sum() > 0
    assert "masked_words" not in learner.losses(learner.embed(plain(rows)))


def test_a_run_on_such_an_encoder_learns_to_guess(tmp_path):
    name = checkpoint(tmp_path / "hub")
    cfg = ccp.tiny().but(mlm=1.0, text={"encoder": name})
    run = Run(tmp_path / "run", cfg)
    ccp.run(cfg, run)
    lost = [line["masked_words"] for line in run.metrics() if "masked_words" in line]
    assert sum(lost[-10:]) < sum(lost[:10])
