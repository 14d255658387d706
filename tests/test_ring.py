"""Keys that go round give the gradients of one process with the dense loss, in float64, for uneven batches."""

import pytest
import torch
from accelerate import Accelerator
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from antiphon.distributed import Ring, rank
from antiphon.objectives.contrast import contrast, symmetric_contrast
from antiphon.objectives.negatives import debiased_contrast, false_negative_mask, hard_negative_columns
from antiphon.objectives.sigmoid import sigmoid_contrast
from antiphon.objectives.targets import by_similarity, identity, normalise_rows, pad_negatives
from antiphon.objectives.tiled import contrast_tiled, sigmoid_tiled
from antiphon.objectives.tiles import BySimilarity, NotNearer, SameLabel
from antiphon.training.gradcache import cached_backward
from antiphon.training.learner import split
from antiphon.types import Padded
from tests.processes import run_in_processes
from tests.training.toy import Toy, batch, gradients

ROWS = 20
BIAS = -1.5


def sizes(count):
    each = [ROWS // count] * count
    each[0] += 3  # uneven on purpose
    each[-1] = ROWS - sum(each[:-1])
    return each


def own_rows(count):
    start = sum(sizes(count)[: rank()])
    return slice(start, start + sizes(count)[rank()])


def given():
    """What a batch knows beside the vectors: labels, a teacher's vectors of both sides, trust."""
    generator = torch.Generator().manual_seed(5)
    teacher = torch.randn(2, ROWS, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (ROWS,), generator=generator)
    weights = torch.rand(ROWS, generator=generator, dtype=torch.float64)
    negatives = torch.randn(ROWS, 2, 4, generator=generator, dtype=torch.float64)
    return labels, teacher[0], teacher[1], weights, normalize(negatives, dim=2)


def dense(loss, left, right, scale):
    labels, teacher, teacher_keys, weights, negatives = given()
    scores = scale * left @ right.T
    if loss == "identity":
        return symmetric_contrast(scores, weights=weights)
    if loss == "labels":
        same = normalise_rows((labels[:, None] == labels[None]).double())
        return symmetric_contrast(scores, same, weights=weights)
    if loss == "teacher":
        return symmetric_contrast(scores, by_similarity(teacher, teacher_keys), weights=weights)
    if loss == "masked":
        return symmetric_contrast(scores, mask=false_negative_mask(teacher @ teacher_keys.T))
    if loss == "negatives":
        wider, mask = hard_negative_columns(scores, scale * left, negatives)
        return contrast(wider, pad_negatives(identity(ROWS).double(), 2), mask=mask)
    if loss == "prior":
        return debiased_contrast(scores, prior=0.1, lowest=-scale)
    return sigmoid_contrast(scores, bias=BIAS * scale, weights=weights)


def tiled(loss, left, right, scale, rows, ring):
    labels, teacher, teacher_keys, weights, negatives = (each[rows] for each in given())
    shared = {"scale": scale, "tile": 4, "exchange": ring}
    if loss == "identity":
        return contrast_tiled(left, right, weights=weights, **shared)
    if loss == "labels":
        return contrast_tiled(left, right, targets=SameLabel(labels), weights=weights, **shared)
    if loss == "teacher":
        return contrast_tiled(left, right, targets=BySimilarity(teacher, teacher_keys), weights=weights, **shared)
    if loss == "masked":
        return contrast_tiled(left, right, masks=[NotNearer(teacher, teacher_keys)], **shared)
    if loss == "negatives":
        return contrast_tiled(left, right, negatives=negatives, symmetric=False, **shared)
    if loss == "prior":
        return contrast_tiled(left, right, prior=0.1, symmetric=False, **shared)
    return sigmoid_tiled(left, right, bias=BIAS * scale, weights=weights, **shared)


class Circle(Toy):
    """The toy, whose losses see the own rows only."""

    gathers = False

    def __init__(self, loss, rows, dropout=0.0):
        super().__init__(dropout=dropout)
        self.loss, self.rows = loss, rows

    def losses(self, views):
        left, right = (normalize(views[name], dim=1) for name in ("left", "right"))
        return {"contrast": tiled(self.loss, left, right, self.scale.scale, self.rows, Ring())}


def doubled(whole):
    return {name: Padded(column.values.double(), column.lengths) for name, column in whole.items()}


def in_circle(count, loss, microbatch, dropout):
    """One process's part: the loss, and the gradients after DDP's average."""
    rows = own_rows(count)
    learner = Circle(loss, rows, dropout).double()
    wrapped = DistributedDataParallel(learner) if count > 1 else learner
    part = {name: column[rows] for name, column in doubled(batch(ROWS)).items()}
    torch.manual_seed(rank())
    if microbatch is None:
        losses = wrapped(part)
        losses["contrast"].backward()
    else:
        losses = cached_backward(wrapped, part, microbatch, Accelerator(cpu=True))
    return losses["contrast"].item(), {name: gradient.numpy() for name, gradient in gradients(learner).items()}


def alone(count, loss, microbatch, dropout):
    """The reference: one process, the dense loss, each part embedded under its process's seed."""
    learner = Toy(dropout=dropout).double()
    whole, views, start = doubled(batch(ROWS)), [], 0
    for number, size in enumerate(sizes(count)):
        torch.manual_seed(number)
        part = {name: column[start : start + size] for name, column in whole.items()}
        views += [learner.embed(piece) for piece in split(part, microbatch or size)]
        start += size
    left, right = (normalize(torch.cat([view[name] for view in views]), dim=1) for name in ("left", "right"))
    value = dense(loss, left, right, learner.scale.scale)
    value.backward()
    return value.item(), {name: gradient.numpy() for name, gradient in gradients(learner).items()}


CASES = {
    1: [("identity", 3, 0.5)],
    2: [("identity", None, 0.0), ("teacher", 3, 0.5), ("sigmoid", None, 0.5), ("sigmoid", 4, 0.0)],
    3: [("labels", None, 0.0), ("masked", 2, 0.0), ("sigmoid", None, 0.0), ("negatives", None, 0.5), ("prior", 3, 0.5)],
    4: [
        ("identity", 2, 0.5),
        ("teacher", None, 0.0),
        ("labels", None, 0.5),
        ("negatives", 2, 0.0),
        ("prior", None, 0.0),
    ],
}


def all_in_circle(count):
    return [in_circle(count, *case) for case in CASES[count]]


@pytest.mark.parametrize("count", CASES)
def test_gradients_equal_one_process(count):
    wanted = [alone(count, *case) for case in CASES[count]]
    for found in run_in_processes(count, all_in_circle, count):
        for case, (found_value, gradients_found), (value, gradients_wanted) in zip(
            CASES[count], found, wanted, strict=True
        ):
            assert found_value == pytest.approx(value, rel=1e-9), case
            for name, gradient in gradients_wanted.items():
                error = abs(gradients_found[name] - gradient).max() / max(abs(gradient).max(), 1e-12)
                assert error < 1e-6, f"{case} {name}: {error}"


def passed():
    held, sums = [], torch.zeros(rank() + 1, 2)
    carried = (torch.full((rank() + 1, 2), rank()), torch.empty(rank() + 1, 0))
    for own, (rows, _), (into,) in Ring().circulate(carried, (sums,)):
        held.append((own, rows[0, 0].item(), len(rows)))
        into += 10 ** rank()
    return held, sums.tolist()


def test_each_block_visits_every_process_and_its_sums_come_home():
    for number, (held, sums) in enumerate(run_in_processes(3, passed)):
        assert held == [(step == 0, (number - step) % 3, (number - step) % 3 + 1) for step in range(3)]
        assert sums == [[111.0, 111.0]] * (number + 1)


def test_alone_the_ring_is_one_block():
    rows = torch.ones(2, 3)
    assert [(own, block[0] is rows, sums) for own, block, sums in Ring().circulate((rows,))] == [(True, True, ())]
    assert Ring().total(rows) is Ring().own(rows) is Ring().shared(rows) is rows
