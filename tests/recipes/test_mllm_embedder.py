"""Gen2Embed: SaHa by a slow loop, its order and its two rounds, the loss by a loop, prompts, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import Ridge
from torch.nn.functional import normalize
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from antiphon.data.sources import load
from antiphon.encoders.features import FeatureCache, Features
from antiphon.encoders.heads import identity_head
from antiphon.encoders.items import Items
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.text import ByteText
from antiphon.errors import UserError, WrongValue
from antiphon.generation.models import open_language_model
from antiphon.recipes import mllm_embedder
from antiphon.recipes.mllm_embedder.pictures import (
    PENALTY,
    Captioning,
    Ids,
    connected,
    linear_head,
    mapped,
    telling_means,
)
from antiphon.recipes.mllm_embedder.prompts import (
    SHOWN,
    SYSTEM,
    USER,
    WORD,
    WORD_SHOWN,
    WORDINGS,
    caption_prompt,
    prompt_of,
)
from antiphon.recipes.mllm_embedder.rows import Twins, Whole, joined, twins_of, twins_of_classes
from antiphon.recipes.mllm_embedder.saha import Cluster, Mined, clusters_of, purity
from antiphon.recipes.mllm_embedder.trial import Trial, clusters_drawn
from antiphon.runs import Run
from tests.encoders.test_prompted import PARTS, byte_tokenizer, llama, saved_qwen2vl


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def of_texts(**changes):
    """`tiny()` on pairs of texts."""
    made = mllm_embedder.tiny().dev[0].but(options={"task": "made", "split": "train"})
    return mllm_embedder.tiny().but(data=made, least=4.0).but(**changes)


def pairs_of(count: int, seed: int, *, documents: int | None = None, queries: int | None = None) -> Mined:
    """Drawn vectors; some pairs share a document or a query where there are fewer of them."""
    generator = torch.Generator().manual_seed(seed)
    queries, documents = queries or count, documents or count
    asked = [*range(queries), *torch.randint(queries, (count - queries,), generator=generator).tolist()]
    given = [*range(documents), *torch.randint(documents, (count - documents,), generator=generator).tolist()]
    vectors_QD, document_MD = (
        normalize(torch.randn(some, 6, generator=generator), dim=1) for some in (queries, documents)
    )
    return Mined(asked, given, vectors_QD[torch.tensor(asked)], document_MD)


def by_loop(pairs: Mined, hard: int, pool: int, seed: int, *, ascending: bool = True) -> list[list[int]]:
    """SaHa as it is told, one step after the other."""
    count = len(pairs.queries)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    used, clusters = set(), []

    def search(i: int, size: int, free: set[int]) -> list[int]:
        scores = pairs.document_MD.double() @ pairs.query_ND[i].double()
        nearest = sorted(range(len(scores)), key=lambda d: -float(scores[d]))[: 2 * size]
        owners = []
        for d in nearest:
            if d == pairs.documents[i]:
                continue
            own = [j for j in range(count) if pairs.documents[j] == d and j in free]
            own = [j for j in own if pairs.queries[j] != pairs.queries[i]]
            if own and len(owners) < size:
                owners.append(max(own, key=lambda j: float(pairs.query_ND[i].double() @ pairs.query_ND[j].double())))
        if ascending:
            owners.sort(key=lambda j: float(pairs.query_ND[i].double() @ pairs.query_ND[j].double()))
        return owners[:hard]

    for again in (False, True):
        for i in order:
            if i in used:
                continue
            free = set(range(count)) if again else set(range(count)) - used
            found = search(i, hard * pool * (1 + again), free)
            if len(found) == hard:
                clusters.append([i, *found])
                used |= {i, *found}
    return clusters


@pytest.mark.parametrize(("count", "documents", "queries"), [(40, None, None), (41, 25, None), (30, 20, 22)])
@pytest.mark.parametrize("ascending", [True, False])
def test_clusters_by_a_slow_loop(count, documents, queries, ascending):
    for seed in range(3):
        pairs = pairs_of(count, seed, documents=documents, queries=queries)
        found = clusters_of(pairs, "saha" if ascending else "unsorted", hard=3, pool=2, seed=seed)
        assert [one.rows for one in found] == by_loop(pairs, 3, 2, seed, ascending=ascending)


def test_what_a_cluster_is():
    pairs = pairs_of(60, 0, documents=45)
    found = clusters_of(pairs, "saha", hard=3, pool=3, seed=0)
    first = [row for one in found if not one.again for row in one.rows]
    assert len(first) == len(set(first)), "clusters of the first round are apart"
    assert {row for one in found for row in one.rows} == set(range(60)), "the second round leaves no pair out"
    for one in found:
        away = [float(pairs.query_ND[one.anchor] @ pairs.query_ND[row]) for row in (*one.hard, *one.dropped)]
        assert away == sorted(away), "owners ascend: the nearest ones are dropped"
        assert pairs.documents[one.anchor] not in {pairs.documents[row] for row in one.hard}
    assert any(one.again for one in found)
    assert found != clusters_of(pairs, "saha", hard=3, pool=3, seed=1)


def test_a_likely_answer_is_dropped_and_a_near_stranger_kept():
    """Four documents near q_0: two whose queries are near it too, and two whose queries are not."""
    q0, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    queries = normalize(torch.stack([q0, q0 + 0.1 * other, q0 + 0.2 * other, other, other - 0.1 * q0]), dim=1)
    documents = normalize(torch.stack([q0 + 0.01 * at * other for at in range(5)]), dim=1)
    pairs = Mined(range(5), range(5), queries, documents)
    cases = {"saha": {3, 4}, "top": {1, 2}}
    for rule, wanted in cases.items():
        for seed in range(20):
            found = clusters_of(pairs, rule, hard=2, pool=2, seed=seed)
            mine = next((one for one in found if one.anchor == 0 and not one.again), None)
            if mine is not None:
                assert set(mine.hard) == wanted
                break
        else:
            pytest.fail("no order begins with the first query")


def test_controls_take_the_ranks_they_say():
    pairs = pairs_of(50, 1)
    for one in clusters_of(pairs, "top", hard=4, pool=2, seed=0):
        near = (pairs.document_MD @ pairs.query_ND[one.anchor]).argsort(descending=True).tolist()
        near.remove(one.anchor)
        assert one.hard == near[:4]
    for one in clusters_of(pairs, "skip", hard=4, pool=2, seed=0):
        near = (pairs.document_MD @ pairs.query_ND[one.anchor]).argsort(descending=True).tolist()
        near.remove(one.anchor)
        assert one.hard == near[8:12]
    drawn = [row for one in clusters_of(pairs, "batch", hard=4, pool=2, seed=0) for row in one.rows]
    assert sorted(drawn) == list(range(50))


def test_a_query_is_never_its_own_negative():
    """Of one question with many answers, no two are told apart."""
    pairs = pairs_of(40, 2, queries=8)
    for rule in ("saha", "unsorted", "top", "skip"):
        for one in clusters_of(pairs, rule, hard=2, pool=2, seed=0):
            assert pairs.queries[one.anchor] not in {pairs.queries[row] for row in one.hard}


def test_purity_by_hand():
    pairs = Mined(range(4), range(4), torch.eye(4), torch.eye(4))
    found = purity([Cluster(0, [1, 2], []), Cluster(3, [2, 1], [])], pairs, lambda a, b: {a, b} in ({0, 1}, {1, 2}))
    assert found["false_negatives"] == 1 / 4
    assert found["within"] == 6 / 12  # 0-1 and 1-2 of the first, 2-1 of the second, each both ways
    assert found["chance"] == 2 / 6
    assert found["hardness"] == 0.0


def test_too_few_pairs():
    for rule in ("batch", "top", "skip", "saha", "unsorted"):
        with pytest.raises(WrongValue, match="3 pairs: no query finds 7 others to be compared with"):
            clusters_of(pairs_of(3, 0), rule, hard=7, pool=3, seed=0)


def test_loss_by_a_loop():
    learner = mllm_embedder.Gen2Embed(mllm_embedder.tiny(), Branch(Features(4, signal="text"), identity_head(4)))
    views = {name: normalize(torch.randn(5, 4), dim=1) for name in ("query", "document")}
    views |= {"query_id": torch.tensor([0, 1, 2, 2, 3]), "document_id": torch.tensor([0, 1, 2, 3, 1])}
    total = 0.0
    for i in range(5):
        parts = {
            j: math.exp(float(views["query"][i] @ views["document"][j]) / 0.05)
            for j in range(5)
            if i == j
            or (views["query_id"][i] != views["query_id"][j] and views["document_id"][i] != views["document_id"][j])
        }
        total -= math.log(parts[i] / sum(parts.values())) / 5
    assert learner.losses(views)["contrast"].item() == pytest.approx(total, rel=1e-4)


def test_prompts_differ_in_what_their_names_say():
    for wording in range(WORDINGS):
        both = prompt_of("both", wording)
        assert (both.system, both.before, both.after) == (SYSTEM[wording], *USER[wording])
        assert prompt_of("both", wording, instruction=False) == both.but(before="")
        assert prompt_of("system", wording) == both.but(before="", after="")
        assert prompt_of("user", wording) == both.but(system="")
        assert prompt_of("chat", wording) == both.but(system="", before="", after="")
        assert prompt_of("none", wording) == prompt_of("none", 0) == prompt_of("mean", wording)
        assert not prompt_of("none", wording).chat
        word = prompt_of("word", wording)
        assert (word.before, word.after) == WORD[wording]
        shown, word_shown = (prompt_of(level, wording, image=True) for level in ("both", "word"))
        assert (shown.system, shown.before, shown.after) == (SYSTEM[wording], *SHOWN[wording])
        assert (word_shown.before, word_shown.after) == WORD_SHOWN[wording]
        assert not word.chat
        assert all("one word" in text or "single word" in text for text in (both.system, both.after, word.after))


def test_pairs_of_rows():
    rows = Dataset.from_dict(
        {"a": ["x", "x", "y", None, " ", "z"], "b": ["1", "1", "2", "3", "4", "5"], "score": [5.0, 5, 4, 5, 5, 1]}
    )
    assert twins_of(rows, ("a", "b"), least=None, most=None).queries == ["x", "y", "z"]
    assert twins_of(rows, ("a", "b"), least=4.0, most=None).documents == ["1", "2"]
    assert len(twins_of(rows, ("a", "b"), least=None, most=2)) == 2
    with pytest.raises(UserError, match="no rows with both a and b"):
        twins_of(rows, ("a", "b"), least=9.0, most=None)


def test_no_document_is_in_two_splits():
    twins = Twins([f"q{at}" for at in range(60)], [f"d{at % 25}" for at in range(60)])
    sides = twins.split(0)
    assert sum(len(side) for side in sides.values()) == 60
    assert sum(len(set(side.documents)) for side in sides.values()) == 25
    assert len(set(sides["train"].documents)) == 15
    assert sides != twins.split(1)


def test_no_query_is_in_two_splits_either():
    """a asks for 1 and 2, b for 2 and 3: one group; what shares nothing is divided as before."""
    twins = Twins(["a", "a", "b", "b", *(f"q{at}" for at in range(30))], list("1223") + [f"d{at}" for at in range(30)])
    for seed in range(8):
        sides = twins.split(seed)
        assert sum(len(side) for side in sides.values()) == 34
        texts = [set(side.texts()) for side in sides.values()]
        assert all(not one & other for at, one in enumerate(texts) for other in texts[:at])
        assert abs(len(set(sides["train"].documents)) - 20) <= 2


def test_retrieval_by_words_in_common():
    twins = Twins(["red car", "sky of blue", "green"], ["car road red", "blue", "sky of green"])
    found = twins.by_words()
    assert found["R@1"] == pytest.approx(2 / 3)  # "sky of green" shares 2 of 4 words with the second, "blue" 1 of 3
    assert found["R@10"] == 1.0


def test_labelled_sets_keep_the_order_of_retrieval():
    pairs = pairs_of(40, 3)
    kept = clusters_of(pairs, "saha", hard=3, pool=2, seed=0, labelled=True)
    assert kept == clusters_of(pairs, "unsorted", hard=3, pool=2, seed=0)
    assert kept != clusters_of(pairs, "saha", hard=3, pool=2, seed=0)


def test_pairs_of_one_class():
    rows = Dataset.from_dict({"text": list("abcdefg"), "intent": list("xyxyxyx")})
    twins = twins_of_classes(rows, "intent")
    assert (twins.queries, twins.documents, twins.classes) == (["a", "e", "b"], ["c", "g", "d"], ["x", "x", "y"])
    assert twins.alike(0, 1)
    assert not twins.alike(0, 2)


def test_pairs_alike_in_words():
    twins = Twins(["a", "b", "c"], ["red, car, road", "red, car", "blue, sky"])
    assert twins.alike(0, 1)  # 2 of 3 words
    assert not twins.alike(0, 2)


def test_a_batch_is_made_of_whole_clusters(tmp_path):
    twins = Twins(list("abcdef"), list("uvwxyz"))
    encoder = ByteText("tiny")
    items = Items(encoder, twins.texts(), FeatureCache(tmp_path))
    pairs = twins.mined(lambda texts: normalize(torch.randn(len(texts), 4), dim=1))
    whole = Whole(twins, pairs, items, [Cluster(0, [2, 4], []), Cluster(1, [3, 5], [])])
    batch = whole(list(reversed(whole.rows())))
    assert batch["query_id"].tolist() == [1, 3, 5, 0, 2, 4]
    assert batch["document_id"].tolist() == [1, 3, 5, 0, 2, 4]
    torch.testing.assert_close(batch["document"].values[2, 0], items.of["z"][0].float())


def test_draws_with_replacement_by_the_seed():
    made = mllm_embedder.tiny().dev
    texts = [Trial.of(made, (), None, each=2, most=20, drawn=drawn).texts() for drawn in (None, 0, 0, 1)]
    assert texts[1] == texts[2] != texts[3]
    assert set(texts[1]) < set(texts[0])
    assert all(len(some) == 40 for some in texts)


def test_queries_of_intents_are_drawn_too(tmp_path):
    tiny = mllm_embedder.tiny()
    found = []
    for seed in (0, 0, 1, 2, 3):
        trial = Trial.of((), (), tiny.intents, classes=tiny.classes, each=4, drawn=seed)
        generator = torch.Generator().manual_seed(0)
        vectors = {text: torch.randn(2, generator=generator) for text in dict.fromkeys(trial.texts())}
        embed = embed_by({text: normalize(vector, dim=0) for text, vector in vectors.items()})
        found.append(trial.measured(embed)["intents/R@1"])
        assert 0 < trial.floors()["jaccard/intents/R@1"] <= 1
    assert found[0] == found[1]
    assert len(set(found)) > 1


def test_floors_stand_beside_every_metric_of_texts(tmp_path):
    cfg = of_texts(reference="scratch-tiny", train__steps=2)
    measures = mllm_embedder.run(cfg, Run.of("mllm_embedder", cfg, root=tmp_path))
    for metric in ("test/sts", "intents/R@1", "tuned/test/R@1"):
        for floor in ("random", "tfidf", "jaccard", "scratch-tiny"):
            assert f"{floor}/{metric}" in measures
    assert measures["jaccard/tuned/test/R@1"] == measures["jaccard/test/R@1"]


def test_pictures_show_what_was_dropped_and_escape_texts():
    twins = Twins(["<q0>", "q1", "q2"], ["d0", "d1", "d2"])
    drawn = clusters_drawn(twins, [Cluster(0, [1], [2])])
    assert "&lt;q0&gt;" in drawn
    assert drawn.index("d1 (q1)") < drawn.index("d2 (q2)")


def test_nothing_is_trained_where_nothing_is_mined(tmp_path):
    cfg = of_texts(negatives="off", wording=None)
    run = Run.of("mllm_embedder", cfg, seed=1, root=tmp_path)
    measures = mllm_embedder.run(cfg, run)
    assert not any(name.startswith(("tuned/", "clusters/")) for name in measures)
    assert not run.metrics()
    space = Space.load(run.folder / "space")
    assert space.branch("text").encoder.prompt == prompt_of("both", 1, chat=False)


@pytest.mark.parametrize("dora", [False, True])
def test_low_rank_maps_learn_inside_the_model_and_are_merged(dora, tmp_path):
    cfg = of_texts(locked=False, rank=2, dora=dora, train__steps=4, dev=(), test=(), intents=None)
    run = Run.of("mllm_embedder", cfg, root=tmp_path)
    measures = mllm_embedder.run(cfg, run)
    assert measures["tuned/test/R@1"] >= 0
    space = Space.load(run.folder / "space")
    assert not any(name.endswith((".up", ".magnitude")) for name, _ in space.named_parameters())
    before = open_language_model("scratch-tiny")[0].model.layers[0].mlp.up_proj.weight
    after = space.branch("text").encoder.decoder.layers[0].mlp.up_proj.weight
    assert after.shape == before.shape
    texts = ["a red circle", "it"]
    assert torch.equal(space.embed(text=texts), Space.load(run.folder / "space").embed(text=texts))


def test_on_rows_of_ones_own(tmp_path):
    lines = [f"how many is {at},it is {at} of them" for at in range(30)]
    (tmp_path / "pairs.csv").write_text("\n".join(["text_query,text_document", *lines]), encoding="utf-8")
    cfg = mllm_embedder.tiny().but(
        data__source="folder", data__options={"folder": str(tmp_path / "pairs.csv")}, least=None, train__steps=4,
        data__columns=("text_query", "text_document"), dev=(), test=(), intents=None,
    )  # fmt: skip
    measures = mllm_embedder.run(cfg, Run.of("mllm_embedder", cfg, root=tmp_path))
    assert measures["clusters/count"] >= 6
    assert 0 <= measures["tuned/test/R@1"] <= 1


def test_settings_that_cannot_be(tmp_path):
    one = of_texts(data__columns=("text_1",))
    with pytest.raises(UserError, match=r"data\.columns=text_1: wanted two, of queries and of documents"):
        mllm_embedder.run(one, Run.of("mllm_embedder", one, root=tmp_path))
    few = of_texts(each=400)
    with pytest.raises(UserError, match="intents: no class has 400 texts or more; give a lower each="):
        mllm_embedder.run(few, Run.of("mllm_embedder", few, root=tmp_path))


def pictures_of_six():
    """Three concepts, two pictures each; the last has two captions."""
    return Twins([f"picture {at}" for at in range(6)], ["a", "a", "b", "b", "c", "d"], list("xxyyzz"))


def embed_by(vectors):
    return lambda names: torch.stack([vectors[name] for name in names])


def test_answers_of_pictures_are_those_of_their_class_both_ways():
    axes = dict(zip("xyz", torch.eye(3), strict=True))
    twins = pictures_of_six()
    right = {name: axes[of] for side in (twins.queries, twins.documents) for name, of in
             zip(side, twins.classes, strict=True)}  # fmt: skip
    found = twins.answers(embed_by(right))
    assert found["R@1"] == found["turned/R@1"] == found["both/R@1"] == 1.0
    wrong = right | {"picture 4": axes["x"]}  # asks for a; as a document, 5 still answers c and d
    found = twins.answers(embed_by(wrong))
    assert found["R@1"] == pytest.approx(5 / 6)
    assert found["both/R@1"] == pytest.approx((found["R@1"] + found["turned/R@1"]) / 2)
    # of four captions 1 is right for x and y, 2 for z; of six pictures 2 are right for each caption
    assert twins.chance(embed_by(right))["R@1"] == pytest.approx((4 * 1 / 4 + 2 * 2 / 4) / 6)
    assert twins.turned().chance(embed_by(right))["R@1"] == pytest.approx(2 / 6)
    drawn = {twins.found(embed_by(wrong), seed)["R@1"] for seed in range(8)}
    assert len(drawn) > 1, "queries are drawn with replacement"


def test_sub_sets_side_by_side_keep_their_clusters_apart_and_no_picture_is_its_own_negative(tmp_path):
    twins = pictures_of_six()
    names = twins.texts()
    vectors = dict(zip(names, normalize(torch.randn(len(names), 4), dim=1), strict=True))
    sets = [twins, twins.turned()]
    mined = [one.mined(embed_by(vectors)) for one in sets]
    found = [[Cluster(0, [2, 4], [3])], [Cluster(1, [2, 4], [], True)]]
    both, pairs, clusters = joined(sets, mined, found)
    assert [one.rows for one in clusters] == [[0, 2, 4], [7, 8, 10]]
    assert (clusters[0].dropped, clusters[1].again) == ([3], True)
    assert (both.queries[7], both.documents[7]) == ("a", "picture 1")
    torch.testing.assert_close(pairs.document_MD[pairs.documents[7]], vectors["picture 1"])
    torch.testing.assert_close(pairs.query_ND[7], vectors["a"])
    assert len(set(pairs.queries[:6]) & set(pairs.queries[6:])) == 0
    items = Items(ByteText("tiny"), names, None)
    batch = Whole(both, pairs, items, clusters)(Whole(both, pairs, items, clusters).rows())
    assert batch["query_id"].tolist() == batch["document_id"].tolist() == [0, 1, 2, 0, 1, 2]
    assert joined(sets[:1], mined[:1], found[:1])[1] is mined[0]


def test_a_picture_is_read_as_its_caption_is_learned_by_hand():
    """The loss is -log p of each token behind the picture, over all tokens, and of padding nothing."""
    model, tokenizer = open_language_model("scratch-tiny")
    model.requires_grad_(False)
    eye = Features(5, signal="image")
    cells = [torch.randn(4, 5) for _ in range(3)]
    image = connected(model, tokenizer, caption_prompt(chat=False), eye, hidden=6, cells=cells)
    captions = [[5, 6, 7], [8], [9, 10]]
    learner = Captioning(image, model.get_output_embeddings())
    batch = {"cells": eye.collate(cells), "ids": Ids().collate(captions)}
    found = learner(batch)["caption"]
    words, nats = model.get_input_embeddings(), 0.0
    for at, ids in enumerate(captions):
        soft = image.connector(torch.stack(cells))[at]
        start = words(torch.tensor([tokenizer.bos_token_id]))
        logits = model(inputs_embeds=torch.cat([start, soft, words(torch.tensor(ids))])[None]).logits[0]
        nats -= sum(logits[4 + place].log_softmax(0)[token] for place, token in enumerate(ids))
    torch.testing.assert_close(found, nats / 6, atol=1e-4, rtol=1e-4)
    assert {name.partition(".")[0] for name, _ in learner.named_parameters()} == {"connector"}
    found.backward()
    assert all(value.grad is not None for value in image.connector.parameters())


def test_rare_words_weigh_more_in_a_captions_mean():
    words = torch.eye(4)
    found = telling_means([[0, 1], [0, 2], [0, 3]], words)
    assert found[0, 1] > 0.99
    assert found.sum(1).tolist() == pytest.approx([1.0] * 3)
    torch.testing.assert_close(telling_means([[0], [0]], words), words[[0, 0]])


def test_a_linear_head_is_ridge_regression():
    cells = {f"p{at}": torch.randn(4, 5) for at in range(20)}
    told = normalize(torch.randn(20, 3), dim=1)
    head = linear_head(cells, sorted(cells), told)
    means = torch.stack([cells[key].mean(0) for key in sorted(cells)])
    inputs = ((means - means.mean(0)) / means.std(0)).numpy()
    ridge = Ridge(alpha=PENALTY * 20).fit(inputs, told.numpy())
    wanted = normalize(torch.from_numpy(ridge.predict(inputs)).float(), dim=1)
    torch.testing.assert_close(mapped(head, [cells[key] for key in sorted(cells)]), wanted, atol=1e-5, rtol=1e-5)


def test_pictures_in_a_space_and_what_arms_share(tmp_path):
    off = mllm_embedder.tiny().but(negatives="off", dev=(), test=(), intents=None)
    kept = {}
    for name, cfg, seed in [
        ("both", off, 0), ("none", off.but(prompt="none"), 1), ("untrained", off.but(shown="untrained"), 0),
        ("linear", off.but(shown="linear", reference="scratch-tiny"), 0),
    ]:  # fmt: skip
        run = Run.of("mllm_embedder", cfg, seed=seed, root=tmp_path)
        measures = mllm_embedder.run(cfg, run)
        assert 0 <= measures["test/both/R@1"] <= 1
        kept[name] = Space.load(run.folder / "space")
    assert len(list(tmp_path.glob("mllm_embedder_start-*"))) == 1, "one connector for all arms and seeds"
    learned, other = (kept[name].branch("image").encoder.connector.state_dict() for name in ("both", "none"))
    assert all(torch.equal(value, other[name]) for name, value in learned.items())
    bare = kept["untrained"].branch("image").encoder.connector.state_dict()
    assert not torch.equal(bare["linear.weight"], learned["linear.weight"])
    pictures = list(load("made", rows=4)["image"])
    vectors = {name: space.embed(image=pictures) for name, space in kept.items()}
    assert all(value.shape == (4, kept[name].width) for name, value in vectors.items())
    assert not torch.allclose(vectors["both"], vectors["untrained"], atol=1e-3)
    assert kept["none"].branch("image").encoder.prompt == prompt_of("none", 0, chat=False, image=True)


def llava(folder):
    """A tiny LLaVA as the hub has it, whose template takes parts."""
    seen = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=8, **seen), text_config=llama().config,
        image_token_index=259, vision_feature_select_strategy="default",
    )  # fmt: skip
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    given = {"patch_size": 8, "vision_feature_select_strategy": "default", "image_token": "<image>"}
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    made = LlavaProcessor(pixels, tokenizer, chat_template=PARTS, num_additional_image_tokens=1, **given)
    made.save_pretrained(folder)


@pytest.mark.parametrize("saved", [saved_qwen2vl, llava])
def test_a_model_of_texts_and_images_reads_both_itself(saved, tmp_path):
    saved(tmp_path / "hub")
    cfg = mllm_embedder.tiny().but(
        text__encoder=str(tmp_path / "hub"), chat=True, square=32, train__steps=2, dev=(), test=(), intents=None
    )
    run = Run.of("mllm_embedder", cfg, root=tmp_path)
    assert 0 <= mllm_embedder.run(cfg, run)["tuned/test/both/R@1"] <= 1
    assert not list(tmp_path.glob("mllm_embedder_start-*")), "no connector is trained"
    space = Space.load(run.folder / "space")
    assert type(space.branch("image").encoder).__name__ == "PromptedImage"
    pictures, texts = list(load("made", rows=4)["image"]), ["a red circle", "a blue square"]
    vectors = [space.embed(image=pictures), space.embed(text=texts)]
    assert torch.equal(vectors[0], Space.load(run.folder / "space").embed(image=pictures))
    assert all((one[1:] - one[0]).norm(dim=1).min() > 1e-4 for one in vectors)


def test_papers_setting_runs_on_a_tiny_qwen2vl(tmp_path):
    saved_qwen2vl(tmp_path / "hub")
    small, paper = of_texts(), mllm_embedder.paper()
    cfg = paper.but(
        data=small.data, least=4.0, text__encoder=str(tmp_path / "hub"), train__steps=2, train__batch_size=2, hard=2,
        dev=(), test=(), intents=None,
    )  # fmt: skip
    run = Run.of("mllm_embedder", cfg, root=tmp_path)
    assert 0 <= mllm_embedder.run(cfg, run)["tuned/test/R@1"] <= 1
    assert Space.load(run.folder / "space").embed(text=["a dog"]).shape == (1, 48)


def test_what_is_mined_untrained_is_mined_before_training(tmp_path, monkeypatch):
    """With locked=false the encoder that mines is the one that learns."""
    mined = []
    purity = mllm_embedder.purity
    monkeypatch.setattr(
        mllm_embedder, "purity", lambda clusters, pairs, alike: mined.append(pairs) or purity(clusters, pairs, alike)
    )
    for steps, lr in ((1, 1e-9), (4, 3e-2)):
        cfg = of_texts(locked=False, rank=2, train__steps=steps, train__lr=lr, dev=(), test=())
        mllm_embedder.run(cfg, Run.of("mllm_embedder", cfg, root=tmp_path))
    assert len(mined) == 4
    for first, second in zip(mined[:2], mined[2:], strict=True):
        torch.testing.assert_close(first.query_ND, second.query_ND)


def test_captions_may_ask_for_pictures(tmp_path):
    cfg = mllm_embedder.tiny().but(data__columns=("text", "image"), train__steps=4, dev=(), test=(), intents=None)
    measures = mllm_embedder.run(cfg, Run.of("mllm_embedder", cfg, root=tmp_path))
    assert 0 <= measures["tuned/test/both/R@1"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"locked": False}, "locked=false trains on texts alone, and data.columns has pictures: say locked=true"),
        (
            {"shown": "linear", "reference": None, "negatives": "off"},
            "shown=linear is measured untrained, in a text encoder",
        ),
        ({"prompt": "mean"}, "prompt=mean is of texts alone"),
        ({"data__columns": ("image", "speech")}, "data.columns=image,speech: wanted one of pictures and one of texts"),
    ],
)
def test_pictures_that_cannot_be(changes, message, tmp_path):
    cfg = mllm_embedder.tiny().but(**changes)
    with pytest.raises(UserError, match=message):
        mllm_embedder.run(cfg, Run.of("mllm_embedder", cfg, root=tmp_path))
