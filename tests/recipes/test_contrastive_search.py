"""Contrastive search: the trained losses by loops, what is read and continued, and what is measured and shared."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from antiphon.config import ConfigError
from antiphon.errors import UserError
from antiphon.generation.decoding import Decoding, continued_texts
from antiphon.generation.models import open_language_model
from antiphon.objectives.simctg import token_contrast
from antiphon.recipes import contrastive_search
from antiphon.recipes.contrastive_search import SimCtg
from antiphon.recipes.contrastive_search.measuring import anchors, made, methods_drawn, scores, texts_drawn
from antiphon.recipes.contrastive_search.texts import Ids, Passages, cut_to, last_layers, passages, scratch, windows
from antiphon.runs import Run
from antiphon.training.fit import Train
from tests.generation.tiny import model, prompts

TEXTS = ["a dog barks at the moon", "rain falls", "the clock is ticking in the hall and nobody hears it"]


@pytest.fixture(scope="module")
def speaker():
    torch.manual_seed(0)
    return open_language_model("scratch-tiny")


def test_losses_by_a_loop_over_real_tokens():
    lm, batch = model("gpt2"), {"ids": prompts()}
    found = SimCtg(lm, 0.5)(batch)
    nats, states = [], []
    for row, length in zip(prompts().values, prompts().lengths.tolist(), strict=True):
        said = lm(input_ids=row[None, :length], output_hidden_states=True)
        nats.append(cross_entropy(said.logits[0, :-1], row[1:length], reduction="none"))
        states.append(said.hidden_states[-1][0])
    assert torch.allclose(found["mle"], torch.cat(nats).mean(), atol=1e-5)
    sums = sum(token_contrast(state[None]) * len(state) * (len(state) - 1) for state in states)
    pairs = sum(len(state) * (len(state) - 1) for state in states)
    assert torch.allclose(found["contrast"], sums / pairs, atol=1e-5)


def test_without_a_margin_it_is_plain_training():
    gradients = []
    for margin in (0.0, 0.5):
        lm = model("llama")
        losses = SimCtg(lm, margin)({"ids": prompts()})
        (losses["mle"] if margin else losses["mle"] + losses["contrast"]).backward()
        gradients.append([parameter.grad for parameter in lm.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_the_loss_makes_states_unlike():
    found = []
    for margin in (0.0, 1.0):
        lm = model("llama")
        learner = SimCtg(lm, margin)
        optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
        for _ in range(30):
            optimizer.zero_grad()
            sum(learner({"ids": prompts()}).values()).backward()
            optimizer.step()
        found.append(float(SimCtg(lm, 1.0)({"ids": prompts()})["contrast"].detach()))
    assert found[1] < found[0] - 0.01


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_only_the_last_layers_are_tuned_and_kept_in_checkpoints(family):
    lm = model(family)
    learner = SimCtg(lm, 0.5, tuned=1)
    sum(learner({"ids": prompts()}).values()).backward()
    moved = {name for name, parameter in lm.named_parameters() if parameter.grad is not None}
    assert moved
    assert all(".1." in name for name in moved), moved
    assert len(learner.state_dict()) == len(moved)
    with pytest.raises(UserError, match=r"tuned=3: .* has 2 layers"):
        last_layers(lm, 3)


def test_windows_are_of_one_size_and_texts_end(speaker):
    tokenizer, texts = speaker[1], ["ab", "cde"]
    rows = windows(tokenizer, texts, 3)
    assert [len(row["ids"]) for row in rows] == [3, 3]
    assert tokenizer.convert_ids_to_tokens(rows[0]["ids"]) == ["a", "b", "</s>"]
    assert tokenizer.convert_ids_to_tokens(rows[1]["ids"]) == ["c", "d", "e"]
    with pytest.raises(UserError, match="7 tokens of training texts make no window of 8: give more, or lower window"):
        windows(tokenizer, texts, 8)


def test_ids_are_padded_behind():
    batch = Ids().collate([[3, 4], None, [5]])
    assert batch.values.tolist() == [[3, 4], [0, 0], [5, 0]]
    assert batch.lengths.tolist() == [2, 0, 1]


def test_a_passage_is_of_one_text():
    found = passages(TEXTS, prefix=2, after=3, count=9, joined=False, seed=0)
    whole = [prefix + human for prefix, human in zip(found.prefixes, found.human, strict=True)]
    assert sorted(whole) == ["a dog barks at the", "the clock is ticking in", "the hall and nobody hears"]
    assert found.human[whole.index("a dog barks at the")] == " barks at the"
    few = passages(TEXTS, prefix=2, after=3, count=2, joined=False, seed=1)
    assert len(few.prefixes) == 2
    assert few == passages(TEXTS, prefix=2, after=3, count=2, joined=False, seed=1)
    drawn = {tuple(passages(TEXTS, prefix=2, after=3, count=1, joined=False, seed=at).prefixes) for at in range(9)}
    assert len(drawn) > 1
    joined = passages(TEXTS, prefix=4, after=4, count=9, joined=True, seed=0)
    at = joined.prefixes.index("a dog barks at")
    assert joined.human[at] == " the moon rain falls"
    with pytest.raises(UserError, match=r"no held-out text has 9 \+ 9 words"):
        passages(TEXTS, prefix=9, after=9, count=1, joined=False, seed=0)


def test_what_is_made_is_of_one_length_and_without_special_tokens(speaker, monkeypatch):
    lm, tokenizer = speaker
    whole = tokenizer.decode
    for method in ("greedy", "contrastive", "nucleus", "diverse", "beam", "typical"):
        written = []
        monkeypatch.setattr(tokenizer, "decode", lambda ids, of=written: of.append(list(ids)) or whole(ids))
        said = made(speaker, TEXTS, Decoding(method=method, max_tokens=20), 0)
        monkeypatch.undo()
        assert [len(ids) for ids in written] == [20] * len(TEXTS)
        assert max(token for ids in written for token in ids) < 256, "bytes alone, of whatever text"
        assert said == [whole(ids) for ids in written]
    assert lm.get_output_embeddings()._forward_hooks == {}
    free = continued_texts(lm, tokenizer, TEXTS, Decoding(max_tokens=20))
    assert made(speaker, TEXTS, Decoding(max_tokens=20), 0) == free  # greedy had not wanted one


def test_a_special_token_that_is_likeliest_is_not_made(speaker):
    lm, tokenizer = speaker
    end = int(tokenizer.eos_token_id)

    def favoured(_, __, logits):
        return logits + 1000 * torch.nn.functional.one_hot(torch.tensor(end), logits.shape[-1])

    hook = lm.get_output_embeddings().register_forward_hook(favoured)
    try:
        assert "</s>" not in "".join(made(speaker, TEXTS, Decoding(max_tokens=8), 0))
    finally:
        hook.remove()


def test_levels_beside_the_measures(speaker):
    human = [" barks at the moon all night and nobody in the street can sleep", " on the roof and on us"]
    asked = Passages(["a dog", "rain falls"], human)
    levels = anchors(speaker, asked, speaker)
    assert levels["human/diversity"] == 1
    assert levels["looped/diversity"] < 0.5
    assert levels["perplexity"] == pytest.approx(torch.tensor(-levels["human/coherence"]).exp().item(), rel=1e-5)
    assert levels["dealt/coherence"] != levels["human/coherence"]
    assert levels["isotropy"] == levels["isotropy/layer 02"]
    own = scores(asked.human, asked, speaker, None)
    assert own["coherence"] == pytest.approx(levels["human/coherence"], abs=1e-5)
    assert scores([" aaaa", " b"], asked, speaker, None)["diversity"] == 0  # no four words, nothing diverse
    assert cut_to(speaker[1], asked.human, 7) == [" barks ", " on the"]


def test_pictures_escape_what_was_made():
    asked = Passages(["<b>x"], [" y"])
    drawn, _ = texts_drawn(asked, ["<script>"], "nucleus")
    assert "&lt;script&gt;" in drawn
    assert "<script>" not in drawn
    row = {"diversity": 0.5, "rep-2": 1.0, "rep-3": 1.0, "rep-4": 1.0, "coherence": -2.0, "words": 3.0}
    assert "<td>people</td><td>0.5</td>" in methods_drawn({"people": row})[0]


def test_a_model_from_scratch_has_tokens_of_its_texts():
    texts = ["the dog and the dog and the cat"] * 4
    torch.manual_seed(0)
    first = scratch(texts, vocabulary=280, layers=1, width=16, heads=2)
    second = scratch(texts, vocabulary=280, layers=1, width=16, heads=2)
    assert first[1].get_vocab() == second[1].get_vocab()
    ids = first[1]("the dog, größer")["input_ids"]
    assert first[1].decode(ids) == "the dog, größer"
    assert len(ids) < len("the dog, größer".encode())
    assert first[0].config.vocab_size == len(first[1]) <= 280
    with pytest.raises(UserError, match=r"scratch\.vocabulary=100"):
        scratch(texts, vocabulary=100, layers=1, width=16, heads=2)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_model_as_it_came_is_measured_without_training_and_arms_share_its_levels(here):
    found = []
    for method in ("contrastive", "greedy"):
        cfg = contrastive_search.tiny().but(train=None, start=None, compared=(), decoding__method=method)
        run = Run.of("contrastive_search", cfg, root=here)
        found.append(contrastive_search.run(cfg, run))
        assert not (run.folder / "model").exists()
        assert run.metrics() == []
    assert len(list(here.glob("contrastive_search_anchors-*"))) == 1
    assert found[0]["test/perplexity"] == found[1]["test/perplexity"]
    assert found[0]["test/coherence"] != found[1]["test/coherence"]
    assert found[0]["test/start/isotropy"] == found[0]["test/isotropy"]


def test_the_kept_model_is_the_trained_one(here):
    cfg = contrastive_search.tiny().but(train=Train(steps=2, batch_size=8, lr=1e-2), tuned=1, start=None, compared=())
    run = Run.of("contrastive_search", cfg, root=here)
    contrastive_search.run(cfg, run)
    torch.manual_seed(0)
    before = open_language_model("scratch-tiny")[0].state_dict()
    after = open_language_model(run.folder / "model")[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".layers.1." in name for name in changed)
    assert run.pictures().keys() == {"continuations", "decoders", "isotropy"}


def test_typical_sampling_has_a_mass_of_its_own():
    cfg = contrastive_search.tiny()
    masses = {method: contrastive_search._decoding(cfg, method).mass for method in ("nucleus", "typical", "diverse")}
    assert masses == {"nucleus": 0.95, "typical": 0.2, "diverse": 0.95}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"rho": 3}, "rho: input should be less than or equal to 2"),
        ({"split": "train"}, "split: string should match pattern"),
        ({"decoding__method": "best"}, r"decoding\.method"),
        ({"window": 1}, "window: input should be greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be(setting, said):
    with pytest.raises(ConfigError, match=said):
        contrastive_search.tiny().but(**setting)


def test_it_trains_on_texts_of_ones_own(here):
    lines = [f"The {animal} {deed} and {other}." for animal in ("dog", "cat", "hen", "cow") for deed in ("eats", "runs")
             for other in ("sleeps", "sings", "waits", "leaves")]  # fmt: skip
    (here / "my.csv").write_text("text\n" + "\n".join(lines) + "\n", encoding="utf-8")
    cfg = contrastive_search.tiny().but(
        data__source="folder", data__options={"folder": str(here / "my.csv")}, data__limit=None, start=None,
        model="scratch", scratch={"vocabulary": 300, "layers": 1, "width": 16, "heads": 2}, compared=("diverse",),
        train=Train(steps=3, batch_size=8, lr=1e-2), window=16, decoding__max_tokens=8,
    )  # fmt: skip
    run = Run.of("contrastive_search", cfg, root=here / "runs")
    measures = contrastive_search.run(cfg, run)
    assert measures["test/diverse/words"] > 0
    assert 0 <= measures["test/start/isotropy"] <= 2
    lm, tokenizer = open_language_model(run.folder / "model")
    assert len(continued_texts(lm, tokenizer, ["The dog"], Decoding(max_tokens=5))) == 1
