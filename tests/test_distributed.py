"""Gathered gradients equal a single process's, in float64, for uneven batches."""

import pytest
import torch
from accelerate import Accelerator
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from antiphon.distributed import gather, rank, world_size
from antiphon.objectives.tiled import contrast_tiled
from antiphon.training.gradcache import cached_backward
from tests.processes import run_in_processes
from tests.training.toy import Toy, batch, gradients


def _part(whole, count):
    sizes = [len(whole["left"]) // count] * count
    sizes[0] += 3  # uneven on purpose
    sizes[-1] = len(whole["left"]) - sum(sizes[:-1])
    start = sum(sizes[: rank()])
    return {name: column[start : start + sizes[rank()]] for name, column in whole.items()}


def _double(whole):
    from antiphon.types import Padded

    return {name: Padded(column.values.double(), column.lengths) for name, column in whole.items()}


class Tiled(Toy):
    """The toy with the tiled loss of what was gathered."""

    def losses(self, views):
        left, right = (normalize(views[name], dim=1) for name in ("left", "right"))
        return {"contrast": contrast_tiled(left, right, scale=self.scale.scale, tile=4)}


def _gradients(count, microbatch, learner=Toy):
    learner = learner().double()
    wrapped = DistributedDataParallel(learner) if count > 1 else learner
    whole = _double(batch(20))
    part = _part(whole, count) if count > 1 else whole
    if microbatch is None:
        wrapped(part)["contrast"].backward()
    else:
        cached_backward_in_double(wrapped, part, microbatch)
    return {name: gradient.numpy() for name, gradient in gradients(learner).items()}


def cached_backward_in_double(wrapped, part, microbatch):
    cached_backward(wrapped, part, microbatch, Accelerator(cpu=True))


def _gathered():
    rows = torch.full((rank() + 1, 2), float(rank()))
    labels = torch.full((rank() + 1,), rank())
    return gather(rows).tolist(), gather(labels).tolist(), world_size()


def test_rows_come_in_the_order_of_ranks():
    for rows, labels, count in run_in_processes(2, _gathered):
        assert rows == [[0, 0], [1, 1], [1, 1]]
        assert labels == [0, 1, 1]
        assert count == 2


@pytest.mark.parametrize(
    ("count", "microbatch", "learner"), [(2, None, Toy), (2, 3, Toy), (3, None, Toy), (2, 3, Tiled), (4, None, Tiled)]
)
def test_gradients_equal_one_process(count, microbatch, learner):
    wanted = _gradients(1, None)
    for found in run_in_processes(count, _gradients, count, microbatch, learner):
        for name, gradient in wanted.items():
            error = abs(found[name] - gradient).max() / max(abs(gradient).max(), 1e-12)
            assert error < 1e-6, f"{name}: {error}"


def test_alone_nothing_is_gathered():
    rows = torch.ones(2, 3, requires_grad=True)
    assert gather(rows) is rows
