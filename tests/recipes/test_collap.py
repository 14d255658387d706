"""CoLLAP: the score by slow loops and at its limits, what is not there never counts, rows whose parts are theirs."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from antiphon.encoders.space import Space
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.recipes import collap
from antiphon.recipes.collap import fused
from antiphon.recipes.collap.measures import measured, ranks, reranked, turned
from antiphon.recipes.collap.rows import WORDINGS, Scenes, Stock
from antiphon.recipes.collap.score import attended, shares
from antiphon.runs import Run
from tests.encoders.test_text import tokenizer
from tests.encoders.tiny import save, wave

FOCUS = torch.tensor(8.0).double()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def _parts(rows=3, clips=4, texts=5, said=3, width=6):
    """Random vectors; the second recording has two clips, the first text one sentence."""
    generator = torch.Generator().manual_seed(0)
    sound = torch.randn(rows, clips, width, generator=generator).double()
    text = torch.randn(texts, 1 + said, width, generator=generator).double()
    there, has = torch.ones(rows, clips, dtype=torch.bool), torch.ones(texts, 1 + said, dtype=torch.bool)
    there[1, 2:], has[0, 2:] = False, False
    return sound * there[:, :, None], there, text * has[:, :, None], has


def _cos(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def _look(parts, asking):
    """Softmax over parts, in words of the docstring."""
    powers = [math.exp(float(FOCUS) * _cos(part, asking)) for part in parts]
    return [power / sum(powers) for power in powers]


def _by_loop(sound, there, text, has, attention, fusion):
    found = torch.zeros(len(sound), len(text)).double()
    for i in range(len(sound)):
        clips = sound[i][there[i]]
        mean = clips.mean(0)
        for j in range(len(text)):
            whole, *said = text[j][has[j]]
            weights = _look(clips, whole)
            if fusion == "score":
                found[i, j] = sum(w * _cos(clip, whole) for w, clip in zip(weights, clips, strict=True))
                continue
            v = mean if attention == "none" else mean + sum(w * a for w, a in zip(weights, clips, strict=True))
            u = (
                whole + sum(w * t for w, t in zip(_look(said, mean), said, strict=True))
                if attention == "both"
                else whole
            )
            found[i, j] = _cos(v, u)
    return found


@pytest.mark.parametrize(
    ("attention", "fusion"), [("none", "vector"), ("text", "vector"), ("both", "vector"), ("text", "score")]
)
def test_the_score_by_a_loop(attention, fusion):
    parts = _parts()
    found = fused(*parts, FOCUS, attention=attention, fusion=fusion)
    assert torch.allclose(found, _by_loop(*parts, attention, fusion), atol=1e-9)


def test_even_attention_is_the_mean_and_sharp_attention_the_best_clip():
    sound, there, text, has = _parts()
    mean = fused(sound, there, text, has, FOCUS, attention="none")
    assert torch.allclose(fused(sound, there, text, has, 0 * FOCUS), mean, atol=1e-9)
    cosines = torch.tensor([[max(_cos(clip, one[0]) for clip in row[real]) for one in text]
                            for row, real in zip(sound, there, strict=True)]).double()  # fmt: skip
    sharp = fused(sound, there, text, has, 1e4 * FOCUS, fusion="score")
    assert torch.allclose(sharp, cosines, atol=1e-6)


@pytest.mark.parametrize("attention", ["none", "text", "both"])
def test_what_is_not_there_does_not_count(attention):
    sound, there, text, has = _parts()
    wanted = fused(sound, there, text, has, FOCUS, attention=attention)
    wider = [torch.nn.functional.pad(one, (0, 0, 0, 3), value=0.0) for one in (sound, text)]
    masks = [torch.nn.functional.pad(one, (0, 3)) for one in (there, has)]
    assert torch.allclose(fused(wider[0], masks[0], wider[1], masks[1], FOCUS, attention=attention), wanted, atol=1e-9)
    sound[1, 2:] = 0.0
    weights = attended(sound, there, text[:, 0], FOCUS)
    assert torch.all(weights[1, 2:] == 0)
    assert torch.allclose(weights.sum(1), torch.ones(3, 5).double())


@pytest.mark.parametrize("attention", ["none", "text", "both"])
def test_shares_make_the_score(attention):
    sound, there, text, has = _parts()
    clips, parts = shares(sound, there, text, has, FOCUS, attention=attention)
    v = torch.einsum("akb,akd->abd", clips, sound)
    u = torch.einsum("bma,bmd->abd", parts, text[:, : parts.shape[1]])
    wanted = torch.nn.functional.cosine_similarity(v, u, dim=2)
    assert torch.allclose(fused(sound, there, text, has, FOCUS, attention=attention), wanted, atol=1e-9)


def test_the_score_has_gradients():
    sound, there, text, has = _parts()
    sound, text, focus = (one.clone().requires_grad_() for one in (sound, text, FOCUS))
    assert torch.autograd.gradcheck(lambda a, b, f: fused(a, there, b, has, f, attention="both"), (sound, text, focus))


def _learner(**changes):
    torch.manual_seed(0)
    cfg = collap.tiny().but(**changes)
    return collap.Collap(cfg, "speech", {"speech": 6, "text": 5}, {"speech": 4, "text": 3}).eval()


def _batch(learner, flipped=False):
    generator = torch.Generator().manual_seed(1)
    sound = [torch.randn(count, 6, generator=generator) for count in (4, 2, 3)]
    text = [torch.randn(count, 5, generator=generator) for count in (3, 2, 3)]
    inner = {name: ordered.inner for name, ordered in learner.ordered.items()}
    sound = [one.flip(0) for one in sound] if flipped else sound
    return {"speech": inner["speech"].collate(sound), "text": inner["text"].collate(text), "label": torch.arange(3)}


def test_only_attention_hears_the_order():
    """The mean of clips is the same in any order, whatever is added for their places."""
    for attention, hears in (("none", False), ("text", True), ("both", True)):
        learner = _learner(attention=attention)
        ahead, back = (learner.scores(learner.embed(_batch(learner, flipped))) for flipped in (False, True))
        assert torch.allclose(ahead, back, atol=1e-5) != hears, attention


def test_the_loss_is_infonce_of_the_score_over_rows_that_have_both():
    learner = _learner()
    views = learner.embed(_batch(learner))
    views["text_mask"][2] = False
    few = {name: view[:2] for name, view in views.items()}
    first = few["speech_first"] @ few["text_first"].T
    own, cross = torch.arange(2), torch.nn.functional.cross_entropy
    losses = learner.losses(views)
    for name, scores in (("contrast", learner.scores(few) / 0.07), ("first", first / 0.07)):
        wanted = (cross(scores, own) + cross(scores.T, own)) / 2
        assert losses[name].item() == pytest.approx(wanted.item(), rel=1e-4), name


def test_the_saved_space_gives_the_first_stage_which_moves_its_heads_alone():
    learner = _learner()
    batch = _batch(learner)
    views = learner.embed(batch)
    for name in ("speech", "text"):
        assert torch.allclose(learner.branches[name](batch[name]), views[f"{name}_first"], atol=1e-5)
    learner.losses(views)["first"].backward()
    moved = {name for name, value in learner.named_parameters() if value.grad is not None and value.grad.any()}
    assert moved <= {f"branches.{name}.head.linear.{part}" for name in ("speech", "text") for part in ("weight", "bias")
                     } | {"first_scale.log_scale"}  # fmt: skip
    assert len(moved) >= 3


def test_ranks_and_two_stages():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.7, 0.7, 0.1], [0.3, 0.2, 0.1]])
    assert ranks(scores, torch.arange(3)).tolist() == [1, 2, 3]
    assert ranks(scores, torch.tensor([0, 0, 1])).tolist() == [1, 1, 3]
    recall = torch.tensor([[0.1, 0.9, 0.8], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    assert torch.equal(ranks(reranked(recall, scores, 3), torch.arange(3)), ranks(scores, torch.arange(3)))
    assert ranks(reranked(recall, scores, 2), torch.arange(3)).tolist() == [3, 1, 3]  # the first was not handed on


def test_measures_of_a_score_that_knows():
    labels = torch.arange(4)
    text = torch.eye(4)[:, None].expand(-1, 3, -1)
    views = {"audio": torch.eye(4)[:, None], "audio_mask": torch.ones(4, 1, dtype=torch.bool), "text": text,
             "text_mask": torch.ones(4, 3, dtype=torch.bool), "label": labels, "audio_first": torch.eye(4),
             "text_first": torch.eye(4)}  # fmt: skip
    other = views | {"text": -text}
    found = measured(lambda a, b: a["audio"][:, 0] @ b["text"][:, 0].T, views, other, "audio")
    assert found["R@1"] == found["by recording/R@1"] == found["two stages/R@1"] == found["order"] == 1.0
    assert found["chance R@1"] == 0.25


def test_turned_texts():
    rows = [{"text": torch.arange(count)[:, None].float()} for count in (4, 5, 1)] + [{"text": None}]
    assert [row["text"] if row["text"] is None else row["text"][:, 0].tolist() for row in turned(rows)] == [
        [2, 3, 0, 1], [2, 3, 4, 0, 1], [0], None,
    ]  # fmt: skip


def test_composed_rows_say_what_they_hold():
    kinds = ["a", "b", "c"] * 4
    clips = [torch.full((1, 2), float(at)) for at in range(12)]
    text = collap.Parts([Tower(encoder="scratch-tiny").open("text")])
    stock = Stock(clips, kinds, "audio", text)
    rows = stock.rows(40, 2, 5, heard=None, seed=0)
    assert {len(row["audio"]) for row in rows} == {2, 3, 4, 5}
    for row in rows:
        heard = [kinds[int(clip)] for clip in row["audio"][:, 0]]
        assert len(set(heard[:3])) == min(3, len(heard))  # none twice before all were taken
        for kind, said in zip(heard, row["said"], strict=True):
            assert said in [form.format(kind) for form in WORDINGS]
        assert torch.equal(row["text"], torch.cat([stock.words[one] for one in row["said"]]))
    same = {}
    for row in rows:
        order = tuple(kinds[int(clip)] for clip in row["audio"][:, 0])
        assert same.setdefault(order, row["label"]) == row["label"]
    assert len(set(same.values())) == len(same)
    again = stock.rows(40, 2, 5, heard=2, seed=0)
    assert all(torch.equal(short["audio"], row["audio"][:2]) for short, row in zip(again, rows, strict=True))
    assert [row["said"] for row in again] == [row["said"] for row in rows]
    assert stock.rows(40, 2, 5, heard=None, seed=1)[0]["said"] != rows[0]["said"]


def _models(folder):
    tokens = tokenizer()
    roberta = RobertaConfig(vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                            intermediate_size=16, max_position_embeddings=40, pad_token_id=1)  # fmt: skip
    gpt2 = GPT2Config(vocab_size=200, n_embd=16, n_layer=1, n_head=2, n_positions=40)
    bare = PreTrainedTokenizerFast(tokenizer_object=tokens.backend_tokenizer)  # GPT-2's has no padding token
    return {
        "first": save(RobertaModel(roberta), folder / "roberta", tokens),
        "last": save(GPT2Model(gpt2), folder / "gpt2", bare),
    }


@pytest.mark.parametrize("reading", ["first", "last"])
def test_both_text_towers_on_rows_of_ones_own(reading, tmp_path):
    """Long recordings and texts from a folder, through RoBERTa and through GPT-2; one of them is damaged."""
    import soundfile

    folder = tmp_path / "mine"
    folder.mkdir()
    for at in range(12):
        soundfile.write(folder / f"{at:02d}.wav", wave(1.0 + 0.2 * at, at).numpy(), 16_000)
        (folder / f"{at:02d}.txt").write_text(f"a red dog number {at}. the cat sees it.", encoding="utf-8")
    (folder / "03.wav").write_bytes(b"RIFF but no more")
    cfg = collap.tiny().but(
        data__source="folder", data__options={"folder": str(folder)}, data__columns=("speech", "text"), scenes=None,
        data__limit=None, text__encoder=str(_models(tmp_path)[reading]), reading=reading, attention="both",
        train__steps=2, train__batch_size=4,
    )  # fmt: skip
    run = Run.of("collap", cfg, root=tmp_path / "runs")
    measures = collap.run(cfg, run)
    assert 0 <= measures["test/R@1"] <= 1
    assert run.quarantined() == {("speech", "03")}
    space = Space.load(run.folder / "space")
    assert space.embed(text=["a cat. a dog."]).shape == space.embed(speech=[folder / "05.wav"]).shape


@pytest.mark.parametrize("attention", ["none", "text", "both"])
def test_pictures_are_kept(tmp_path, attention):
    cfg = collap.tiny().but(train__steps=2, attention=attention)
    run = Run.of("collap", cfg, root=tmp_path)
    collap.run(cfg, run)
    found = run.pictures()
    assert sorted(found) == ["attention-1", "attention-2", "attention-3"]
    assert all("looks at the clips" in figure and "of the test split" in figure for figure in found.values())
    assert all(("looks at the sentences" in figure) == (attention == "both") for figure in found.values())


@pytest.mark.parametrize(("changes", "said"), [
    ({"data__columns": ("image",)}, "collap wants one column of sounds, and classes=shape: .* gives no sounds"),
    ({"classes": "species"}, "classes=species"),
    ({"scenes": None, "data__columns": ("speech",), "data__options": {"rows": 72}, "classes": "shape"}, None),
])  # fmt: skip
def test_rows_that_do_not_fit(tmp_path, changes, said):
    cfg = collap.tiny().but(train__steps=1, **changes)
    if said is None:  # rows with texts of their own: the column `text` is taken without being named
        assert collap.run(cfg, Run.of("collap", cfg, root=tmp_path))["test/n"] > 0
        return
    with pytest.raises(UserError, match=said):
        collap.run(cfg, Run.of("collap", cfg, root=tmp_path))


def test_scenes_in_order():
    with pytest.raises(ValueError, match="fewest=5 is more than most=4"):
        Scenes(fewest=5, most=4)
