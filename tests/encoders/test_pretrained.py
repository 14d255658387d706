"""A CLIP checkpoint as a space: its vectors are those of `transformers`, from a folder on disk."""

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil, CLIPModel

from antiphon.encoders.pretrained import clip_space
from antiphon.encoders.space import Space
from antiphon.errors import WrongValue
from tests.encoders.test_text import TEXTS, bert, clip, tokenizer
from tests.encoders.tiny import save

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
