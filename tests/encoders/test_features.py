"""The feature cache: nothing is computed twice, a torn file is noticed, a bad item is told about."""

import pytest
import torch

from antiphon.data.sources import made
from antiphon.decode import BadInput
from antiphon.encoders.features import FeatureCache, Features, content_key, encode_once, fingerprint
from antiphon.encoders.image import ScratchImage
from antiphon.encoders.speech import MelSpeech
from antiphon.encoders.text import ByteText


class _Counting(ByteText):
    """Counts the texts that it encodes."""

    seen = 0

    def forward(self, batch):
        type(self).seen += len(batch)
        return super().forward(batch)


@pytest.fixture
def counting():
    _Counting.seen = 0
    return _Counting("tiny").eval()


def test_the_second_time_comes_from_disk(tmp_path, counting):
    cache, texts = FeatureCache(tmp_path), ["a", "bb", None, "a"]
    first = encode_once(counting, texts, cache)
    assert counting.seen == 2  # "a" once
    second = encode_once(counting, texts, FeatureCache(tmp_path))
    assert counting.seen == 2
    assert first[2] is None
    assert torch.equal(first[0], first[3])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True) if a is not None)


def test_only_what_is_new_is_computed(tmp_path, counting):
    encode_once(counting, ["a"], FeatureCache(tmp_path))
    encode_once(counting, ["a", "b"], FeatureCache(tmp_path))
    assert counting.seen == 2


def test_other_weights_have_other_features(tmp_path):
    one, two = ByteText("tiny"), ByteText("tiny")
    assert fingerprint(one) != fingerprint(two)
    two.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(_with_settings(one, max_bytes=7))
    assert fingerprint(one, "keep=1") != fingerprint(one, "keep=2")


def _with_settings(encoder, **changes):
    other = ByteText("tiny", **changes)
    other.load_state_dict(encoder.state_dict())
    return other


def test_a_torn_file_is_reported_and_computed_again(tmp_path, counting):
    first = encode_once(counting, ["a", "bb"], FeatureCache(tmp_path))
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="is torn"):
        second = encode_once(counting, ["a", "bb"], FeatureCache(tmp_path))
    assert torch.equal(first[1], second[1])
    assert counting.seen == 4


def test_a_bad_item_is_told_about_and_left_out(tmp_path):
    rows = made.load(2)
    items = [rows[0]["image"], {"bytes": b"no picture", "path": None}, rows[1]["image"]]
    encoder = ScratchImage("tiny")
    refused = []
    found = encode_once(encoder, items, FeatureCache(tmp_path), refused=lambda at, error: refused.append((at, error)))
    assert [at for at, _ in refused] == [1]
    assert found[1] is None
    assert found[0] is not None
    assert found[2] is not None
    with pytest.raises(BadInput):
        encode_once(encoder, items, FeatureCache(tmp_path / "other"))


def test_bad_items_of_the_same_content_are_all_told_about(tmp_path):
    items = [{"bytes": b"no picture", "path": None}] * 3
    refused = []
    found = encode_once(
        ScratchImage("tiny"), items, FeatureCache(tmp_path), refused=lambda at, error: refused.append(at)
    )
    assert refused == [0, 1, 2]
    assert found == [None] * 3


def test_kept_segments_are_what_a_head_would_pool(tmp_path):
    encoder, clips = MelSpeech("tiny"), [row["speech"] for row in made.load(3)]
    kept = encode_once(encoder, clips, FeatureCache(tmp_path), keep=4)
    assert all(tokens.shape == (4, encoder.width) for tokens in kept)


def test_views_are_the_same_each_time_and_differ_from_the_item(tmp_path):
    encoder, pictures = ScratchImage("tiny"), [row["image"] for row in made.load(3)]

    def noise(item, generator):
        from antiphon.decode import decode_image

        return decode_image(item).rotate(float(torch.rand(1, generator=generator)) * 90)

    plain = encode_once(encoder, pictures, FeatureCache(tmp_path), keep=1)
    turned = encode_once(encoder, pictures, FeatureCache(tmp_path), keep=1, view=("turn", noise))
    again = encode_once(encoder, pictures, FeatureCache(tmp_path / "other"), keep=1, view=("turn", noise))
    assert not torch.equal(plain[0], turned[0])
    assert all(torch.equal(a, b) for a, b in zip(turned, again, strict=True))


def test_progress_counts_every_item(tmp_path):
    done = []
    encode_once(ByteText("tiny"), ["a", "b", "a", None], FeatureCache(tmp_path), progress=done.append)
    assert sum(done) == 4


def test_content_is_what_counts(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"abc")
    assert content_key({"bytes": None, "path": str(file)}) == content_key(file) == content_key(b"abc")
    assert content_key("abc") == content_key(b"abc")
    assert content_key("abd") != content_key(b"abc")


def test_features_stand_in_for_the_encoder(tmp_path):
    features = Features(3, signal="text")
    batch = features.collate([torch.ones(2, 3), None, torch.ones(1, 3) * 5])
    encoded = features(batch)
    assert batch.lengths.tolist() == [2, 0, 1]
    assert torch.equal(encoded.pooled, torch.tensor([[1.0] * 3, [0.0] * 3, [5.0] * 3]))
    features.save(tmp_path)
    assert Features.load(tmp_path).width == 3
