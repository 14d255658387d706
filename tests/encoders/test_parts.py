"""Parts of long items, and their order: cuts, alone as in a batch, memory that does not grow, what a mean forgets."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.open import load_encoder, open_encoder, save_encoder
from antiphon.encoders.parts import Ordered, Parts, sentences
from antiphon.encoders.sequence import MelChunks
from antiphon.encoders.space import Branch
from antiphon.errors import WrongValue
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_round_trip, wave

TEXTS = ["A dog barks. Then comes rain; is it loud?", "Rain.", "A cat\nA bird sings. A cow"]
WAVES = [wave(seconds, seed) for seed, seconds in enumerate((2.5, 0.4, 1.0))]


def _audio(**options):
    return Parts([MelChunks(1.0), MelChunks(0.25)], seconds=1.0, **options)


def _text(**options):
    return Parts([open_encoder("text", "scratch-tiny")], **options)


def test_sentences():
    assert sentences(TEXTS[0]) == ["A dog barks.", "Then comes rain;", "is it loud?"]
    assert sentences(" A cat\n\n  A bird sings. ") == ["A cat", "A bird sings."]
    assert sentences("3.5 seconds") == ["3.5 seconds"]


def test_clips_last_so_long_and_the_last_one_reaches_back():
    encoder, inner = _audio().eval(), MelChunks(1.0)
    found = encoder(encoder.collate(WAVES))
    assert found.mask.sum(1).tolist() == [3, 1, 1]
    assert found.tokens.shape[2] == encoder.width == 2 * inner.width
    cuts = [WAVES[0][:16_000], WAVES[0][16_000:32_000], WAVES[0][-16_000:], WAVES[1], WAVES[2]]
    wanted = inner(inner.collate(cuts)).pooled
    assert torch.equal(found.tokens[found.mask][:, : inner.width], wanted)


def test_sentences_are_encoded_each_by_itself():
    encoder = _text().eval()
    (inner,) = encoder.inners
    found = encoder(encoder.collate(TEXTS))
    assert found.mask.sum(1).tolist() == [3, 1, 3]
    wanted = inner(inner.collate(["is it loud?"])).pooled[0]
    assert torch.allclose(found.tokens[0, 2], wanted, atol=1e-5)


def test_composed_recordings_are_their_clips():
    """What is cached of single clips is what the whole recording gives."""
    encoder = _audio().eval()
    clips = [wave(1.0, seed) for seed in range(4)]
    whole = encoder(encoder.collate([torch.cat(clips)])).tokens[0]
    single = torch.cat([encoder(encoder.collate([clip])).tokens[0] for clip in clips])
    assert torch.allclose(whole, single, atol=1e-5)


def test_only_so_many_from_the_start():
    encoder = _audio(most=2).eval()
    whole = _audio().eval()
    assert torch.equal(encoder(encoder.collate(WAVES[:1])).tokens, whole(whole.collate(WAVES[:1])).tokens[:, :2])


@pytest.mark.parametrize(("make", "items"), [(_audio, WAVES), (_text, TEXTS)])
def test_alone_as_in_a_batch_and_saved(make, items, tmp_path):
    check_alone_is_batch(make(), items)
    check_round_trip(make(most=5, at_once=2), tmp_path, items)
    few, many = make(at_once=1).eval(), make(at_once=50).eval()
    many.load_state_dict(few.state_dict())
    assert torch.allclose(few(few.collate(items)).tokens, many(many.collate(items)).tokens, atol=1e-5)


def test_what_cannot_be_parts():
    with pytest.raises(WrongValue, match="parts of nothing"):
        Parts([])
    with pytest.raises(WrongValue, match="parts of audio, text: wanted encoders of"):
        Parts([MelChunks(), open_encoder("text", "scratch-tiny")])
    with pytest.raises(WrongValue, match="most=0"):
        _audio(most=0)


LONG = """
import resource, sys, torch
from antiphon.encoders.parts import Parts
from antiphon.encoders.speech import MelSpeech
torch.manual_seed(0)
torch.set_num_threads(1)
encoder = Parts([MelSpeech("tiny", signal="audio")], seconds=5.0).eval()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with torch.inference_mode():
    for seconds in (40, 300):
        found = encoder(encoder.collate([torch.randn(seconds * 16_000)]))
        print(found.mask.sum().item(), peak())
"""


def test_five_minutes_take_the_memory_of_a_few_clips():
    """Attention over all 15,000 positions at once would take 900 MB a head; the samples themselves take 19 MB."""
    out = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True, timeout=250).stdout
    (short, before), (long, after) = (map(float, line.split()) for line in out.splitlines())
    assert (short, long) == (8, 60)
    assert after - before < 100, f"{before:.0f} MB for 40 s, {after:.0f} MB for 300 s"


# ---- in order ----


def _ordered(pooling, *, width=16):
    torch.manual_seed(0)
    blocks = 0 if pooling == "mean" else 1
    return Ordered(Features(6, signal="text"), width, hidden=8, blocks=blocks, pooling=pooling)


ITEMS = [torch.randn(count, 6, generator=torch.Generator().manual_seed(count)) for count in (5, 1, 3)]


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_ordered_alone_as_in_a_batch_and_saved(pooling, tmp_path):
    check_alone_is_batch(_ordered(pooling), ITEMS)
    check_round_trip(_ordered(pooling), tmp_path, ITEMS)
    check_gradients(_ordered(pooling), [*ITEMS, None])


def test_the_mean_does_not_hear_the_order_and_the_others_do():
    for pooling in ("mean", "first", "last"):
        encoder = _ordered(pooling).eval()
        ahead, back = encoder(encoder.collate([ITEMS[0], ITEMS[0].flip(0)])).pooled
        assert torch.allclose(ahead, back, atol=1e-5) == (pooling == "mean"), pooling


def test_causal_parts_do_not_see_what_comes():
    encoder = _ordered("last").eval()
    whole, start = (encoder(encoder.collate([item])) for item in (ITEMS[0], ITEMS[0][:3]))
    assert torch.allclose(whole.tokens[0, :3], start.tokens[0], atol=1e-5)
    assert torch.equal(whole.pooled[0], whole.tokens[0, 4])
    both = _ordered("first").eval()
    whole, start = (both(both.collate([item])) for item in (ITEMS[0], ITEMS[0][:3]))
    assert not torch.allclose(whole.tokens[0, :3], start.tokens[0], atol=1e-3)


def test_the_same_weights_over_what_made_the_features(tmp_path):
    text = _text().eval()
    encoder = Ordered(Features(text.width, signal="text"), 16, hidden=8, blocks=1, pooling="first")
    parts = text(text.collate(TEXTS))
    tokens = [row[mask] for row, mask in zip(parts.tokens, parts.mask, strict=True)]
    encoder.prepare(tokens)
    assert torch.allclose(encoder.norm(torch.cat(tokens)).mean(0), torch.zeros(text.width), atol=1e-5)
    whole = encoder.over(text).eval()
    encoder.eval()
    before = encoder(encoder.collate(tokens)).pooled
    assert torch.allclose(whole(whole.collate(TEXTS)).pooled, before, atol=1e-5)
    save_encoder(whole, tmp_path)
    again = load_encoder(tmp_path).eval()
    assert torch.equal(again(again.collate(TEXTS)).pooled, whole(whole.collate(TEXTS)).pooled)
    with pytest.raises(WrongValue, match="puts out width 6, wanted"):
        encoder.over(Features(6, signal="text"))


def test_a_mean_goes_through_a_head_before_or_after():
    """A branch's vector is the mean of its parts' vectors: what the two-stage search rests on."""
    encoder, head = _ordered("mean").eval(), Head(16, 8, HeadConfig(norm="none"))
    batch = encoder.collate(ITEMS[:1])
    mean = head.linear(encoder(batch).tokens[0]).mean(0)
    assert torch.allclose(Branch(encoder, head)(batch)[0], mean / mean.norm(), atol=1e-5)


def test_how_it_cannot_be_built():
    with pytest.raises(WrongValue, match="width=10: wanted a multiple of 8"):
        _ordered("mean", width=10)
    with pytest.raises(WrongValue, match="pooling=first with blocks=0"):
        Ordered(Features(6, signal="text"), 16, pooling="first")
