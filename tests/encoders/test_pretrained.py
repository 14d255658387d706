"""CLIP and CLAP checkpoints as spaces: their vectors are those of `transformers`, from a folder on disk."""

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import ClapFeatureExtractor, ClapModel, CLIPImageProcessorPil, CLIPModel

from antiphon.encoders.pretrained import clap_space, clip_space
from antiphon.encoders.space import Space
from antiphon.encoders.text import TransformersText
from antiphon.errors import WrongValue
from tests.encoders.test_text import TEXTS, bert, clap, clip, tokenizer
from tests.encoders.tiny import check_alone_is_batch, check_round_trip, save, wave

bands = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values:UserWarning")
PICTURES = [Image.new("RGB", (12, 9), colour) for colour in ("red", "teal", "white")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    return save(clip(), tmp_path_factory.mktemp("clip"), tokenizer(), processor)


@torch.inference_mode()
def test_its_vectors_are_those_of_transformers(folder):
    space, temperature = clip_space(folder)
    model = CLIPModel.from_pretrained(folder).eval()
    inputs = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    texts = model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(images=PICTURES, return_tensors="pt")["pixel_values"]
    images = model.get_image_features(pixel_values=pixels)
    assert torch.allclose(space.embed(text=TEXTS), normalize(texts.pooler_output, dim=1), atol=1e-5)
    assert torch.allclose(space.embed(image=PICTURES), normalize(images.pooler_output, dim=1), atol=1e-5)
    assert temperature == pytest.approx(1 / model.logit_scale.exp().item())


def test_it_is_saved_as_any_space(folder, tmp_path):
    space, _ = clip_space(folder)
    again = Space.load(space.save(tmp_path / "space"))
    assert torch.equal(again.embed(text=TEXTS), space.embed(text=TEXTS))


def test_other_models_are_refused(tmp_path):
    with pytest.raises(WrongValue, match="holds a bert: wanted a CLIP checkpoint"):
        clip_space(save(bert(), tmp_path, tokenizer()))


@pytest.fixture(scope="module")
def sounding(tmp_path_factory):
    extractor = ClapFeatureExtractor(sampling_rate=16_000, max_length_s=2, truncation="rand_trunc")
    return save(clap(), tmp_path_factory.mktemp("clap"), tokenizer(), extractor)


@bands
@torch.inference_mode()
def test_claps_vectors_are_those_of_transformers(sounding):
    space, temperature = clap_space(sounding)
    model = ClapModel.from_pretrained(sounding).eval()
    inputs = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    texts = model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert torch.allclose(space.embed(text=TEXTS), normalize(texts.pooler_output, dim=1), atol=1e-5)
    extractor, waves = ClapFeatureExtractor.from_pretrained(sounding), [wave(2.0), wave(1.2, 3)]
    heard = extractor([one.numpy() for one in waves], sampling_rate=16_000, return_tensors="pt")
    sounds = model.get_audio_features(**heard).pooler_output
    assert torch.allclose(space.embed(audio=waves), normalize(sounds, dim=1), atol=1e-5)
    assert temperature == pytest.approx(1 / model.logit_scale_a.exp().item())


@bands
def test_claps_towers_are_saved_and_keep_the_promise_of_encoders(sounding, tmp_path):
    space, _ = clap_space(sounding)
    for branch, items in ((space.branches["audio"], [wave(2.0), wave(5.1, 2)]), (space.branches["text"], TEXTS)):
        check_alone_is_batch(branch.encoder, items)
        check_round_trip(branch.encoder, tmp_path / branch.encoder.signal, items)
    again = Space.load(space.save(tmp_path / "space"))
    assert torch.equal(again.embed(text=TEXTS), space.embed(text=TEXTS))
    assert torch.equal(again.embed(audio=[wave(2.0)]), space.embed(audio=[wave(2.0)]))


def test_what_is_not_clap_is_refused(folder):
    with pytest.raises(WrongValue, match="holds a clip: wanted a CLAP checkpoint"):
        clap_space(folder)
    with pytest.raises(WrongValue, match="is a clip model: only CLAP's vectors are projected"):
        TransformersText(folder, projected=True)
