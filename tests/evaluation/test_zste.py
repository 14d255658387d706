"""ZSTE: spaces that hear everything, nothing, or only which events there are, and the recordings themselves."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot

from antiphon.evaluation import zste as questions
from antiphon.evaluation.zste import (
    FADE,
    LEVEL,
    after,
    at_once,
    before,
    draw_pairs,
    during,
    in_turn,
    order_margins,
    stretch,
    zste,
)

KINDS = ("bell", "cat", "dog", "rain")
SECONDS = 0.1
HALF = 1600


def tone(place: int, samples: int = 4000) -> torch.Tensor:
    """Kinds are told apart by pitch: 1000 Hz, 2000 Hz, ..."""
    return torch.sin(2 * torch.pi * 1000 * (place + 1) * torch.arange(samples) / 16_000)


CLIPS = [tone(at % 4) for at in range(12)]
NAMES = [KINDS[at % 4] for at in range(12)]


def heard(wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of each pitch sounds in the first and in the second half."""
    halves = wave.unflatten(0, (2, -1))
    power = torch.fft.rfft(halves).abs().square()
    bins = [round(1000 * (at + 1) * halves.shape[1] / 16_000) for at in range(4)]
    found = (power[:, bins] / power[:, bins].sum(1, keepdim=True)) > 0.2
    return found[0].float(), found[1].float()


def said(text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of a caption."""
    kinds = [kind for _, kind in sorted((text.index(kind), kind) for kind in KINDS if kind in text)]
    marks = [one_hot(torch.tensor(KINDS.index(kind)), 4).float() for kind in kinds]
    if len(marks) == 1:
        return marks[0], marks[0]
    if "while" in text:
        return marks[0] + marks[1], marks[0] + marks[1]
    if "after" in text or "preceded" in text:
        marks.reverse()
    return marks[0], marks[1]


def both_halves(parts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.cat(parts)


def bag(parts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (parts[0] + parts[1]).clamp(max=1)


def asked(of, sound=heard, text=said, **options):
    return zste(
        lambda waves: torch.stack([of(sound(wave)) for wave in waves]),
        lambda texts: torch.stack([of(text(one)) for one in texts]),
        CLIPS, NAMES, pairs=30, seconds=SECONDS, **options,
    )  # fmt: skip


def test_a_space_that_hears_all_answers_all():
    found = asked(both_halves, unseen=[frozenset(("bell", "cat"))])
    for name in ("single", "both", "either in overlay", "order", "relation", "composition", "order/unseen connectives"):
        assert found[name] == 1.0, name
    assert found["order/unseen pairs"] == found["order/seen pairs"] == 1.0


@pytest.mark.parametrize(("of", "wanted"), [(both_halves, (1.0, -1.0)), (bag, (0.0, 0.0))])
def test_margins_of_the_order(of, wanted):
    """A space that hears the order tells the sentences apart by a cosine of 1; a bag of events not at all."""
    found = order_margins(
        lambda waves: torch.stack([of(heard(wave)) for wave in waves]),
        lambda texts: torch.stack([of(said(one)) for one in texts]),
        CLIPS, NAMES, pairs=30, seconds=SECONDS,
    )  # fmt: skip
    for margins, each in zip(found, wanted, strict=True):
        assert margins == pytest.approx([each] * 30, abs=1e-6)


def test_length_and_loudness_give_no_answer():
    """What is asked about is of one length and loudness, so a space that measures only these is right by chance."""
    waves = []
    zste(
        lambda asked: waves.extend(asked) or torch.randn(len(asked), 3),
        lambda texts: torch.randn(len(texts), 3),
        CLIPS, NAMES, pairs=9, seconds=SECONDS,
    )  # fmt: skip
    assert len(waves) == 12 + 3 * 9
    assert {len(wave) for wave in waves} == {2 * HALF}
    assert all(wave.square().mean().sqrt().item() == pytest.approx(LEVEL, rel=1e-4) for wave in waves)


def test_a_bag_of_events_has_no_order():
    found = asked(bag)
    assert found["single"] == found["both"] == 1.0
    assert found["order"] == found["order/unseen connectives"] == found["relation"] == 0.0  # ties are wrong
    assert "order/unseen pairs" not in found


def test_a_space_that_goes_by_the_place_in_the_text_is_right_half_the_time():
    found = asked(both_halves, text=lambda text: said(text.replace("after", "before").replace("preceded", "followed")))
    assert (found["order/before"], found["order/after"], found["order"]) == (1.0, 0.0, 0.5)
    assert found["order/unseen connectives"] == 0.5


def test_chance_levels_are_those_of_a_random_space():
    generator = torch.Generator().manual_seed(0)
    names = ("single", "order", "relation", "composition", "both")
    sums = dict.fromkeys(names, 0.0)
    for seed in range(30):
        found = zste(
            lambda waves: torch.randn(len(waves), 8, generator=generator),
            lambda texts: torch.randn(len(texts), 8, generator=generator),
            CLIPS, NAMES, pairs=20, seconds=SECONDS, seed=seed,
        )  # fmt: skip
        for name in names:
            sums[name] += (found[name] - found[f"{name}/chance"]) / 30
    assert all(abs(apart) < 0.05 for apart in sums.values()), sums


def test_pairs_are_of_unlike_kinds_and_come_from_the_seed():
    drawn = draw_pairs(NAMES, 300, seed=3)
    assert all(NAMES[i] != NAMES[j] for i, j in drawn)
    assert len({(NAMES[i], NAMES[j]) for i, j in drawn}) == 12
    assert drawn == draw_pairs(NAMES, 300, seed=3) != draw_pairs(NAMES, 300, seed=4)
    lopsided = ["cat"] * 90 + ["dog"] * 5 + ["rain"] * 5
    cats = sum("cat" in (lopsided[i], lopsided[j]) for i, j in draw_pairs(lopsided, 600, seed=0)) / 600
    assert cats == pytest.approx(2 / 3, abs=0.06)  # by kinds, not by clips


def test_recordings_are_of_one_length_and_loudness():
    a, b = stretch(7 * tone(0), HALF), stretch(0.01 * tone(1, 500), HALF)
    made = [in_turn(a, b), at_once(a, b), stretch(tone(2), 2 * HALF)]
    for wave in (a, b, *made):
        assert wave.square().mean().sqrt().item() == pytest.approx(LEVEL, rel=1e-4)
    assert len(made[0]) == len(made[2]) == 2 * HALF
    turn = in_turn(a, b)
    assert turn[HALF - 1] == turn[HALF] == 0  # no click
    assert torch.corrcoef(torch.stack([turn[: HALF - FADE], a[: HALF - FADE]]))[0, 1] > 0.9999
    assert torch.equal(a, stretch(7 * tone(0), HALF))  # nothing is changed in place


def test_a_stretch_begins_where_it_is_told():
    clip = torch.arange(1.0, 101.0)
    ratio = stretch(clip, 10, 0.5)
    assert (ratio / ratio[0] * 46).round().tolist() == list(range(46, 56))
    looped = stretch(clip[:4], 10)
    assert (looped / looped[0]).round().tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    with pytest.raises(ValueError, match="silence alone"):
        stretch(torch.zeros(9), 5)


def test_the_captions():
    assert (before("a", "b"), after("a", "b"), during("a", "b")) == ("a before b", "a after b", "a while b")
    texts = questions._texts(["cat", "dog", "rain"], [("cat", "dog")])
    assert len(texts) == len(set(texts)) == 3 + 6 + 6 + 2 + 6
    assert "dog preceded by cat" in texts


def test_too_few_kinds():
    with pytest.raises(ValueError, match="2 clips of 2 kinds, 2 of them distinct: wanted 3 or more"):
        zste(lambda w: torch.zeros(len(w), 2), lambda t: torch.zeros(len(t), 2), CLIPS[:2], NAMES[:2])
