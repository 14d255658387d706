"""Video towers: ours against `transformers`' CLIP and X-CLIP on the same weights, and what each part hears of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil, CLIPModel, XCLIPConfig, XCLIPModel

from antiphon.encoders.crossframe import Prompts
from antiphon.encoders.features import Features
from antiphon.encoders.open import open_encoder
from antiphon.encoders.pretrained import video_model
from antiphon.encoders.video import Frames, Patches, VideoTower
from antiphon.errors import WrongValue
from tests.encoders.test_text import END, SIZES, TEXTS, VOCABULARY, bert, clip, tokenizer
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_round_trip, save, scatter

PIXELS, PATCH, FRAMES = 8, 4, 3


def videos(frames=FRAMES, size=PIXELS):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (frames, size, size + 4, 3), generator=generator, dtype=torch.uint8) for _ in range(3)
    ]


def _tower(**options):
    torch.manual_seed(0)
    stem = Patches(16, frames=FRAMES, pixels=PIXELS, patch=PATCH)
    settings = {"cells": 4, "frames": FRAMES, "width": 16, "out": 8, "layers": 2, "heads": 2} | options
    return scatter(VideoTower(stem, **settings), size=0.3)


def _frames(**options):
    torch.manual_seed(0)
    return Frames(open_encoder("image", "scratch-tiny"), **({"frames": 2, "pixels": 32, "project": 8} | options))


@pytest.mark.parametrize("options", [{}, {"cross": False}, {"integrate": 0}, {"cross": False, "integrate": 0}])
def test_alone_as_in_a_batch_and_saved(options, tmp_path):
    check_alone_is_batch(_tower(**options), videos())
    again = check_round_trip(_tower(**options), tmp_path, videos())
    assert isinstance(again.stem, Patches)
    check_gradients(_tower(**options), [*videos(), None])


def test_frames_by_a_frozen_encoder(tmp_path):
    check_alone_is_batch(_frames(), videos())
    again = check_round_trip(_frames(), tmp_path, videos())
    assert torch.equal(again.rows, _frames().rows)
    found = _frames(at_once=1).eval()
    assert torch.allclose(found(found.collate(videos())).tokens, again(again.collate(videos())).tokens, atol=1e-5)
    plain = _frames(project=0).eval()
    whole = plain(plain.collate(videos())).tokens
    assert torch.allclose(whole @ again.rows, again(again.collate(videos())).tokens, atol=1e-5)
    assert torch.allclose(again.rows.T @ again.rows, torch.eye(8), atol=1e-5)
    with pytest.raises(WrongValue, match="mapped from 64 to 65"):
        _frames(project=65)


@pytest.mark.parametrize(("options", "hears"), [
    ({"cross": True, "integrate": 0}, False), ({"cross": False, "integrate": 0}, False),
    ({"cross": False, "integrate": 1}, True), ({"cross": True, "integrate": 1}, True),
])  # fmt: skip
def test_only_the_blocks_over_time_hear_the_order(options, hears):
    """Messages have no place in time: the video and its reverse are one to them, to rounding."""
    tower = _tower(**options).eval()
    film = videos()[0]
    ahead, back = tower(tower.collate([film, film.flip(0)])).pooled
    assert torch.allclose(ahead, back, atol=1e-5) != hears


def test_messages_pass_between_frames():
    film, other = videos()[0], videos()[0].clone()
    other[2] = 255 - other[2]
    for cross in (False, True):
        tower = _tower(cross=cross).eval()
        first = [tower(tower.collate([one])).tokens[0, 0] for one in (film, other)]
        assert torch.equal(*first) != cross


def test_grown_keeps_what_both_have():
    small = _tower(cross=False, integrate=0).eval()
    torch.manual_seed(1)
    large = small.grown(cross=True, integrate=1)
    own, grown = small.state_dict(), large.state_dict()
    assert all(torch.equal(grown[name], value) for name, value in own.items())
    new = {name for name in grown if name not in own}
    assert new
    held = {id(value) for part in large.new_parts() for value in part.parameters()}
    assert new == {name for name, value in large.named_parameters() if id(value) in held}
    assert small.new_parts() == []


def test_over_what_made_the_features():
    frames = _frames().eval()
    settings = {"cells": 4, "frames": 2, "width": 16, "out": 8, "layers": 1, "heads": 2}
    tower = VideoTower(Features(8, signal="video"), **settings).eval()
    tokens = frames(frames.collate(videos())).tokens
    tower.settings["cells"] = tower.cells = tokens.shape[1] // 2
    tower.position_embedding.data = torch.randn(1 + tower.cells, 16)
    before = tower(tower.collate(list(tokens))).pooled
    whole = tower.over(frames).eval()
    assert torch.allclose(whole(whole.collate(videos())).pooled, before, atol=1e-5)


# ---- against transformers ----


def xclip() -> XCLIPModel:
    text = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 20, **SIZES}
    text |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": END}
    seen = SIZES | {"image_size": PIXELS, "patch_size": PATCH, "num_frames": FRAMES, "mit_hidden_size": 12}
    seen |= {"mit_intermediate_size": 48, "mit_num_attention_heads": 2, "mit_num_hidden_layers": 2}
    seen |= {"drop_path_rate": 0.0}
    options = {"projection_dim": 12, "prompt_layers": 2, "prompt_num_attention_heads": 3, "prompt_alpha": 0.4}
    return XCLIPModel(XCLIPConfig(text_config=text, vision_config=seen, **options))


def _processor():
    return CLIPImageProcessorPil(size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS})


def _pixels(films):
    flat = [np.asarray(frame) for film in films for frame in film]
    pixels = _processor()(images=flat, return_tensors="pt")["pixel_values"]
    return torch.unflatten(pixels, 0, (len(films), -1))


@torch.inference_mode()
def test_ours_is_xclip(tmp_path):
    folder = save(xclip(), tmp_path, tokenizer(), _processor())
    model, ours = XCLIPModel.from_pretrained(folder).eval(), video_model(folder)
    tower, prompts = ours.tower.eval(), ours.prompts.eval()
    inputs = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    wanted = model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], pixel_values=_pixels(videos())
    )
    batch = tower.collate(videos())
    encoded, patches = tower.look(batch)
    assert torch.allclose(normalize(encoded.pooled, dim=1), wanted.video_embeds, atol=1e-5)
    head, text = ours.text.head, ours.text.encoder.eval()
    classes = head(text(text.collate(TEXTS)))
    prompted = normalize(prompts(classes, prompts.memory(patches)), dim=2)
    assert torch.allclose(prompted, wanted.text_embeds, atol=1e-5)
    scores = torch.einsum("be,bke->bk", normalize(encoded.pooled, dim=1), prompted) / ours.temperature
    assert torch.allclose(scores, wanted.logits_per_video, atol=1e-4)


@torch.inference_mode()
def test_ours_is_the_mean_of_clips_frames(tmp_path):
    model = clip()
    folder = save(model, tmp_path, tokenizer(), _processor())
    ours = video_model(folder, frames=FRAMES)
    assert ours.prompts is None
    tower = ours.tower.eval()
    films = videos()
    pixels = _pixels(films)
    frames = (
        CLIPModel.from_pretrained(folder).eval().get_image_features(pixel_values=pixels.flatten(0, 1)).pooler_output
    )
    wanted = torch.unflatten(frames, 0, (len(films), FRAMES))
    found = tower(tower.collate(films))
    assert torch.allclose(found.tokens, wanted, atol=1e-5)
    assert torch.allclose(found.pooled, wanted.mean(1), atol=1e-5)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(WrongValue, match="holds a bert: wanted a CLIP or an X-CLIP"):
        video_model(save(bert(), tmp_path, tokenizer()))


def test_prompts_by_hand():
    """With alpha at 0 a class is what it was; and each video changes it by itself."""
    torch.manual_seed(0)
    prompts, classes = scatter(Prompts(6, 4), size=0.5), torch.randn(3, 4)
    patches = torch.randn(2, 5, 7, 6)
    found = prompts(classes, prompts.memory(patches))
    assert found.shape == (2, 3, 4)
    assert torch.allclose(found[1], prompts(classes, prompts.memory(patches[1:]))[0], atol=1e-6)
    assert torch.allclose(prompts.memory(patches), prompts.memory(patches.flip(1)), atol=1e-6)  # no time
    with torch.no_grad():
        prompts.alpha.zero_()
    assert torch.equal(prompts(classes, prompts.memory(patches))[0], classes)


def test_how_it_cannot_be_built():
    with pytest.raises(WrongValue, match="width=16 of 3 heads"):
        _tower(heads=3)
    with pytest.raises(WrongValue, match="activation='relu': wanted multiples, and one of gelu, quick_gelu"):
        _tower(activation="relu")
