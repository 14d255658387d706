from __future__ import annotations

import math

import pytest
import torch

from antiphon.evaluation.collapse import (
    CollapseWatch,
    constant_vectors,
    dead_codes,
    rank_fallen,
    stuck_at_log_batch,
    temperature_stuck,
)


def made(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_constant_vectors():
    assert constant_vectors(made(16, 8)) is None
    assert constant_vectors(made(1, 8)) is None
    one_point = torch.ones(16, 8) + 1e-3 * made(16, 8)
    assert "The text have collapsed to a point: 16 different items" in constant_vectors(one_point, name="text")
    assert constant_vectors(one_point, spread=1e-9) is None
    assert "hold nan or inf" in constant_vectors(torch.full((2, 2), math.nan))


def test_only_directions_count():
    assert constant_vectors(made(16, 8) * 1e-6) is None
    lengths = torch.arange(1.0, 17.0)[:, None]
    assert constant_vectors(torch.ones(16, 8) * lengths) is not None


def test_spread_is_one_minus_the_mean_cosine():
    vectors = torch.nn.functional.normalize(made(16, 8) + 3, dim=1)
    spread = 1 - float((vectors @ vectors.T).mean())
    assert constant_vectors(vectors, spread=spread * 0.999) is None
    assert constant_vectors(vectors, spread=spread * 1.001) is not None


def test_stuck_at_log_batch():
    guess = math.log(64)
    assert "log(64) = 4.16 for 2 logs" in stuck_at_log_batch([guess, guess * 1.005], [64, 64])
    assert stuck_at_log_batch([guess, guess * 0.9], [64, 64]) is None
    assert stuck_at_log_batch([math.log(64), math.log(30)], [64, 30]) is not None
    assert stuck_at_log_batch([math.nan], [64]) is None
    assert stuck_at_log_batch([0.0], [1]) is None
    assert stuck_at_log_batch([], []) is None


def test_temperature_stuck():
    assert temperature_stuck(False, 0.01) is None
    assert "at its bound, 0.01:" in temperature_stuck(True, 0.01)


def test_rank_fallen():
    assert rank_fallen(3.0, 10.0) is None
    assert "effective rank is 2.0, and was 10.0" in rank_fallen(2.0, 10.0)


def test_dead_codes():
    assert dead_codes(torch.ones(64)) is None
    one = torch.zeros(64)
    one[3] = 1000.0
    assert "63 of 64 were never chosen, and the rest do the work of 1.0" in dead_codes(one, name="prototypes")
    few = torch.zeros(64)
    few[:6] = 100.0  # a perplexity of 6, and 6.4 is a tenth
    assert dead_codes(few) is not None
    assert dead_codes(few, share=0.09) is None
    assert dead_codes(torch.zeros(8)) is None
    with pytest.raises(ValueError, match="not negative"):
        dead_codes(torch.tensor([1.0, -1.0]))


def test_few_items_do_not_kill_codes():
    counts = torch.zeros(1024)
    counts[:20] = 1.0
    assert dead_codes(counts) is None  # twenty items cannot choose more


def test_watch_sees_codes_die():
    watch = CollapseWatch(patience=3)
    counts = torch.tensor([500, 0, 0, 0, 0, 0, 0, 0])
    said = [watch.observe(step, codes={"words": counts}) for step in range(4)]
    assert [len(each) for each in said] == [0, 0, 1, 0]
    assert said[2][0].startswith("Step 2: The words are dying: 7 of 8")
    moving = [torch.eye(8)[step % 8] * 100 for step in range(8)]  # each log has one code, all of them have all
    watch = CollapseWatch(patience=8)
    assert [watch.observe(step, codes={"words": each}) for step, each in enumerate(moving)] == [[]] * 8


def test_watch_is_quiet_about_a_healthy_run():
    watch = CollapseWatch(patience=3)
    for step in range(10):
        loss = math.log(64) * 0.9**step
        vectors = {"text": made(64, 16, step), "image": made(64, 16, 50 + step)}
        said = watch.observe(step, loss=loss, batch_size=64, vectors=vectors, temperature=0.07)
        assert said == []


def test_watch_says_each_diagnosis_once():
    watch = CollapseWatch(patience=3)
    said = [watch.observe(step, loss=math.log(8), batch_size=8) for step in range(5)]
    assert [len(each) for each in said] == [0, 0, 1, 0, 0]
    assert said[2][0].startswith("Step 2: The loss has stayed at log(8) = 2.08 for 3 logs")
    assert [len(watch.observe(step, temperature=0.01, at_bound=True)) for step in range(3)] == [1, 0, 0]


def test_one_good_loss_starts_the_count_again():
    watch = CollapseWatch(patience=2)
    losses = [math.log(8), 1.0, math.log(8), math.log(8)]
    assert [len(watch.observe(i, loss=loss, batch_size=8)) for i, loss in enumerate(losses)] == [0, 0, 0, 1]


def test_watch_speaks_for_each_space_by_its_name():
    watch = CollapseWatch()
    bad = torch.ones(8, 4)
    said = watch.observe(7, vectors={"text": bad, "image": made(8, 4), "speech": bad})
    assert [text.split(" have")[0] for text in said] == ["Step 7: The text", "Step 7: The speech"]
    assert watch.observe(8, vectors={"text": bad}) == []


def test_watch_sees_dimensions_go():
    watch = CollapseWatch()
    line = torch.cat([made(32, 1, 5), 1e-3 * made(32, 15, 6)], 1)
    assert watch.observe(0, vectors=made(32, 16)) == []
    assert watch.observe(1, vectors=line[:8]) == []  # a smaller batch could not reach the rank
    (said,) = watch.observe(2, vectors=line)
    assert said.startswith("Step 2: The vectors are losing dimensions: their effective rank is 1.")


def test_errors():
    with pytest.raises(ValueError, match="patience 0 and share"):
        CollapseWatch(patience=0)
