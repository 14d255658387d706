"""Spans of documents: places and lengths as the paper draws them, losses by slow loops, masks, and the whole study."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from antiphon.data.pairs import Pairs
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.recipes import text_contrast
from antiphon.recipes.text_contrast.spans import SpanBatches, Spans, anchors_of, nt_xent, positive_of
from antiphon.runs import Run


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _config(**changes):
    return text_contrast.tiny().but(
        study="spans", classes=None, probes=None, anchors=2, shortest=2, longest=6, vocabulary=50, **changes
    )


def test_anchors_lie_apart_and_are_long():
    random = np.random.default_rng(0)
    lengths = []
    for words in (24, 25, 200):
        for _ in range(400):
            (a, b), (c, d) = anchors_of(words, 2, 2, 6, random)
            assert 0 <= a < b <= words
            assert d <= words
            assert c - a >= 12
            lengths += [b - a, d - c]
    assert set(lengths) == {2, 3, 4, 5, 6}
    assert np.mean(lengths) == pytest.approx(2 + (5 * 4 / 6 - 0.5), abs=0.15)  # Beta(4, 2) of five lengths


def test_positives_overlap_adjoin_or_lie_in_their_anchor_and_are_short():
    random, places, lengths = np.random.default_rng(0), set(), []
    for _ in range(4000):
        first, last = positive_of(10, 16, 40, 2, 6, random)
        assert 0 <= first < last <= 40
        assert last >= 10
        assert first <= 16
        places.add(
            "before" if last == 10 else "behind" if first == 16 else "in" if 10 <= first < last <= 16 else "over"
        )
        lengths.append(last - first)
    assert places == {"before", "behind", "in", "over"}
    assert np.mean(lengths) == pytest.approx(2 + (5 * 2 / 6 - 0.5), abs=0.15)
    assert all(positive_of(0, 6, 6, 2, 6, random)[1] <= 6 for _ in range(100))  # no further than the document's end


def test_the_contrast_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    first, second = (normalize(torch.randn(3, 4, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    both = [*first, *second]
    wanted = 0.0
    for at, one in enumerate(both):
        own = both[(at + 3) % 6]
        others = [math.exp(float(one @ other) / 0.1) for k, other in enumerate(both) if k != at]
        wanted -= math.log(math.exp(float(one @ own) / 0.1) / sum(others)) / 6
    assert float(nt_xent(first, second, 0.1)) == pytest.approx(wanted)


def _batch(cfg, documents, rows=(0, 1, 2), epoch=0, seed=0):
    return SpanBatches(cfg, documents, seed)([{"__index__": at, "__epoch__": epoch} for at in rows])


DOCUMENTS = [list(range(1 + 100 * at, 61 + 100 * at)) for at in range(3)]


def test_spans_hang_on_seed_epoch_and_row_alone():
    cfg = _config(mlm=1.0)
    whole, alone = _batch(cfg, DOCUMENTS), _batch(cfg, DOCUMENTS, rows=(2,))
    length = int(alone["near_1_0"].lengths[0])
    assert torch.equal(whole["near_1_0"].values[2, :length], alone["near_1_0"].values[0, :length])
    later = _batch(cfg, DOCUMENTS, epoch=1)
    assert not torch.equal(whole["asked_0"].lengths, later["asked_0"].lengths)


@pytest.mark.parametrize("near", ["own", "other"])
def test_positives_are_of_the_own_document_or_of_another(near):
    batch = _batch(_config(near=near), DOCUMENTS)
    for entry in ("near_0_0", "near_0_1", "near_1_0", "near_1_1"):
        for at, (ids, length) in enumerate(zip(batch[entry].values, batch[entry].lengths, strict=True)):
            (source,) = {int(one) // 100 for one in ids[:length]}
            assert (source == at) == (near == "own")


def test_losses_are_those_of_means_and_of_masked_words():
    torch.manual_seed(0)
    cfg = _config(mlm=0.5, masked=0.5)
    encoder = WordCnn("tiny", buckets=400, dropout=0.0)
    learner = Spans(cfg, encoder, torch.tensor(sorted({one for each in DOCUMENTS for one in each[::2]})))
    batch = _batch(cfg, DOCUMENTS)
    losses = {name: loss.detach() for name, loss in learner(batch).items()}
    branch = learner.branches["text"]

    def vectors(name):
        return branch.head(encoder(batch[name]))

    anchors = [normalize(vectors(f"anchor_{a}"), dim=1) for a in range(2)]
    near = [normalize((vectors(f"near_{a}_0") + vectors(f"near_{a}_1")) / 2, dim=1) for a in range(2)]
    wanted = nt_xent(torch.cat(anchors), torch.cat(near), cfg.temperature).detach()  # in another order of rows
    assert float(losses["spans"]) == pytest.approx(float(wanted), rel=1e-5)
    told = []
    table = encoder.embedding.weight[learner.words.vocabulary]
    for a in range(2):
        tokens, asked = encoder(batch[f"anchor_{a}"]).tokens, batch[f"asked_{a}"].values
        for row, place in asked.nonzero().tolist():
            number = (learner.words.vocabulary == asked[row, place]).nonzero()
            if len(number):
                told.append(cross_entropy(table @ tokens[row, place] + learner.words.bias, number[0, 0]))
    assert told
    assert float(losses["mlm"]) == pytest.approx(0.5 * float(torch.stack(told).mean().detach()), rel=1e-5)


def test_the_study_trains_and_is_measured_beside_its_floors(tmp_path):
    data = Pairs(source="made_documents", columns=("text",), split_by="document")
    with pytest.raises(UserError, match=r"wants two documents or more of 24 words .* lower longest"):
        text_contrast.run(cfg := _config(data=data), Run(tmp_path / "short", cfg))
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = [f"{at}\t" + " ".join(f"w{at}{k % 3}" for k in range(40)) for at in range(60)]
    (folder / "rows.tsv").write_text("id\ttext\n" + "\n".join([*rows, "60\ttoo short"]) + "\n")
    cfg = _config(
        data=Pairs(source="folder", columns=("text",), split_by="id", options={"folder": str(folder / "rows.tsv")})
    )
    arms = {near: Run.of("text_contrast", cfg.but(near=near), root=tmp_path / "runs") for near in ("own", "none")}
    found = {near: text_contrast.run(run.config, run) for near, run in arms.items()}
    key = "test/document/R@1"
    assert found["none"][key] == found["none"][f"random/{key}"]
    assert found["own"][f"tfidf/{key}"] == found["none"][f"tfidf/{key}"]
    assert len(list((tmp_path / "runs").glob("text_contrast_floors-*"))) == 1
    assert (arms["own"].folder / "space/space.json").is_file()
    assert arms["own"].pictures()
    losses = [line["loss"] for line in arms["own"].metrics()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shortest": 9}, "shortest=9 is more than longest=6"),
        ({"text__encoder": "scratch-tiny", "longest": 1, "shortest": 1}, "wants an encoder of words"),
        ({"data__columns": ("image",)}, "one column of texts, data.columns gives image"),
    ],
)
def test_what_does_not_fit_is_told(changes, told, tmp_path):
    cfg = _config().but(anchors=1, **changes)
    with pytest.raises(UserError, match=told):
        text_contrast.run(cfg, Run(tmp_path, cfg))
