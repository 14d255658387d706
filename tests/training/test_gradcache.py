"""GradCache gives the gradient of the whole batch; plain accumulation does not."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from antiphon.training.gradcache import cached_backward
from antiphon.training.learner import Learner, split
from antiphon.types import Padded
from tests.training.toy import Toy, batch, gradients


def _plain(learner, whole):
    loss = learner(whole)["contrast"]
    loss.backward()
    return loss


@pytest.mark.parametrize("size", [1, 5, 8, 24, 100])
def test_equals_the_whole_batch(size):
    plain, cached = Toy(), Toy()
    loss = _plain(plain, batch())
    losses = cached_backward(cached, batch(), size, Accelerator(cpu=True))
    assert torch.allclose(losses["contrast"], loss)
    for name, gradient in gradients(cached).items():
        assert torch.allclose(gradient, gradients(plain)[name], atol=1e-6), name
    assert cached.scale.log_scale.grad.abs() > 0


def test_dropout_is_replayed():
    """The masks of the second pass are those of the first: the gradient is the loss's own."""
    cached = Toy(dropout=0.5)
    torch.manual_seed(3)
    cached_backward(cached, batch(), 6, Accelerator(cpu=True))
    reference = Toy(dropout=0.5)
    torch.manual_seed(3)
    views = [reference.embed(part) for part in split(batch(), 6)]
    reference.losses({name: torch.cat([view[name] for view in views]) for name in views[0]})["contrast"].backward()
    for name, gradient in gradients(cached).items():
        assert torch.allclose(gradient, gradients(reference)[name], atol=1e-6), name


def test_the_generators_go_on_from_after_the_loss():
    torch.manual_seed(3)
    cached_backward(Toy(dropout=0.5), batch(), 6, Accelerator(cpu=True))
    after = torch.rand(1)
    torch.manual_seed(3)
    learner = Toy(dropout=0.5)
    for part in split(batch(), 6):
        learner.embed(part)
    assert torch.equal(after, torch.rand(1))


def test_micro_batches_hold_rows_of_like_length_without_shared_padding():
    lengths, others = torch.tensor([7, 2, 5, 1, 6]), torch.tensor([3, 3, 3, 3, 0])
    values = torch.arange(5)[:, None].expand(5, 9)
    columns = {"text": Padded(values, lengths), "other": Padded(values[:, :4], others), "label": torch.arange(5)}
    parts = split({**columns, "name": list("abcde")}, 2)
    assert [part["label"].tolist() for part in parts] == [
        [3, 1],
        [2, 4],
        [0],
    ]  # all items of the other column are alike
    assert [part["name"] for part in parts] == [["d", "b"], ["c", "e"], ["a"]]
    assert [part["text"].values.shape for part in parts] == [(2, 2), (2, 6), (1, 7)]
    assert [part["text"].values[:, 0].tolist() for part in parts] == [[3, 1], [2, 4], [0]]
    assert [part["other"].lengths.tolist() for part in parts] == [[3, 3], [3, 0], [3]]


def test_items_that_are_all_absent_keep_one_position():
    assert Padded(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)).trimmed().values.shape == (2, 1)


def test_plain_accumulation_is_another_gradient():
    whole, accumulated = Toy(), Toy()
    _plain(whole, batch())
    for part in split(batch(), 6):
        (accumulated(part)["contrast"] / 4).backward()
    assert not torch.allclose(gradients(whole)["left.weight"], gradients(accumulated)["left.weight"], rtol=0.05)


def test_other_learners_are_refused():
    class Plain(Learner):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, batch):
            return {}

    with pytest.raises(TypeError, match="ContrastiveLearner"):
        cached_backward(Plain(), batch(), 2, Accelerator(cpu=True))
