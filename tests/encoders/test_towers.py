"""Rows through frozen encoders: every item in its own row and column, and what cannot be read told about once each."""

import torch

from antiphon.decode import BadInput
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache
from antiphon.encoders.pooling import masked_mean
from antiphon.encoders.towers import Tower, encode_columns
from antiphon.types import Encoded, Padded


class Lengths(Encoder):
    """A text of n letters is n tokens, each holding n; "bad" cannot be read."""

    signal, width = "text", 1

    def collate(self, items):
        if "bad" in items:
            raise BadInput("a bad one")
        lengths = torch.tensor([0 if item is None else len(item) for item in items])
        longest = max(1, int(lengths.max()))
        return Padded(lengths[:, None, None].expand(-1, longest, 1).float().contiguous(), lengths)

    def forward(self, batch):
        return Encoded(batch.values, batch.mask, masked_mean(batch.values, batch.mask))

    def save(self, folder):
        (folder / "nothing").write_text("")

    @classmethod
    def load(cls, folder):
        return cls()


DATA = {
    "train": {"text_a": ["one", "bad", None], "text_b": ["four", "three", "x"]},
    "dev": {"text_a": ["ab"], "text_b": ["bad"]},
}


def _rows():
    return {"train": [{"id": str(at)} for at in range(3)], "dev": [{"id": "dev"}]}


def _encode(tmp_path, rows, data=DATA, **options):
    told = []
    cache, columns = FeatureCache(tmp_path), ["text_a", "text_b"]
    columns = encode_columns(
        rows, data, columns, Lengths(), cache, refused=lambda *words: told.append(words), **options
    )
    return columns, told


def test_every_item_is_in_its_row_and_column(tmp_path):
    rows = _rows()
    columns, told = _encode(tmp_path, rows)
    assert columns == ["text_a", "text_b"]
    assert rows["train"][0]["text_a"].tolist() == [[3.0]] * 3
    assert rows["train"][1]["text_b"].tolist() == [[5.0]] * 5
    assert rows["train"][2]["text_a"] is None
    assert rows["dev"][0]["text_a"].tolist() == [[2.0]] * 2
    assert sorted(told) == [("text_a", "1", "a bad one"), ("text_b", "dev", "a bad one")]
    assert rows["train"][1]["text_a"] is None
    assert rows["dev"][0]["text_b"] is None


def test_a_look_has_columns_of_its_own_in_the_splits_it_is_asked_for(tmp_path):
    rows = _rows()
    twice = ("doubled", lambda item, generator: item if item is None or item == "bad" else item * 2)
    columns, _ = _encode(tmp_path, rows, {"train": DATA["train"]}, look=twice, keep=1)
    assert columns == ["text_a_doubled", "text_b_doubled"]
    assert rows["train"][0]["text_a_doubled"].tolist() == [[6.0]]
    assert set(rows["train"][0]) == {"id", "text_a_doubled", "text_b_doubled"}
    assert set(rows["dev"][0]) == {"id"}


def test_a_tower_opens_its_encoder():
    assert Tower(encoder="scratch-tiny").open("text").signal == "text"
