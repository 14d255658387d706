"""GradCache (Gao et al. 2021, arXiv 2101.06983): a large batch's contrastive gradient in a small one's memory.

1. Embed every micro-batch (rows of like length, see `learner.split`) without a graph, remembering the state of the
   generators.
2. Gather the views; take the loss and its gradient by the views *and by the loss's own parameters*, else a
   learned temperature gets none.
3. Embed each micro-batch again, under the same generator states (so dropout repeats), and back-propagate the inner
   product with its cached gradient. Processes exchange gradients in the last micro-batch only.

Plain gradient accumulation is another, wrong thing: its micro-batches see only their own negatives.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from antiphon.training.learner import Batch, ContrastiveLearner, Replay, split
from antiphon.types import Views


def cached_backward(learner: nn.Module, batch: Batch, size: int, accelerator: Accelerator) -> dict[str, Tensor]:
    """Accumulate the whole batch's gradient, `size` rows at a time; gives the losses.

    Args:
        learner: a `ContrastiveLearner`, wrapped by accelerate or not.
        batch: all rows of this process.
        size: rows of a micro-batch.

    Raises:
        TypeError: the learner is not contrastive, so there is nothing to cache.
    """
    inner = accelerator.unwrap_model(learner)
    if not isinstance(inner, ContrastiveLearner):
        raise TypeError(
            f"microbatch needs a ContrastiveLearner, {type(inner).__name__} is none: leave train.microbatch out"
        )
    parts = split(batch, size)
    states, views = _embed(inner, parts, accelerator)
    losses, view_grads, parameter_grads = _loss_gradients(inner, views, accelerator)
    after = _generator_state()
    at = 0
    for number, (part, state) in enumerate(zip(parts, states, strict=True), start=1):
        last = number == len(parts)
        rows = len(next(iter(part.values())))
        cached = {name: grad[at : at + rows] for name, grad in view_grads.items()}
        at += rows
        _restore_generators(state)
        with nullcontext() if last else accelerator.no_sync(learner):
            surrogate = learner(part, replay=Replay(cached, parameter_grads if last else ()))["replay"]
            accelerator.backward(surrogate)
    _restore_generators(after)
    return losses


def _embed(inner: ContrastiveLearner, parts: list[Batch], accelerator: Accelerator) -> tuple[list[list[Tensor]], Views]:
    states, views = [], []
    with torch.no_grad(), accelerator.autocast():
        for part in parts:
            states.append(_generator_state())
            views.append(inner.embed(part))
    return states, {name: torch.cat([view[name] for view in views]) for name in views[0]}


def _loss_gradients(
    inner: ContrastiveLearner, views: Views, accelerator: Accelerator
) -> tuple[dict[str, Tensor], Views, tuple[tuple[nn.Parameter, Tensor], ...]]:
    leaves = {name: _leaf(view) for name, view in views.items() if view.is_floating_point()}
    with accelerator.autocast():
        losses = inner.losses(inner.met({**views, **leaves}))
    parameters = [parameter for parameter in inner.parameters() if parameter.requires_grad]
    total = torch.stack(list(losses.values())).sum()
    grads = torch.autograd.grad(total, [*leaves.values(), *parameters], allow_unused=True)
    of_views = {name: grad for name, grad in zip(leaves, grads, strict=False) if grad is not None}
    own = zip(parameters, grads[len(leaves) :], strict=True)
    of_parameters = tuple((parameter, grad) for parameter, grad in own if grad is not None)
    return {name: loss.detach() for name, loss in losses.items()}, of_views, of_parameters


def _leaf(view: Tensor) -> Tensor:
    """In float32, or as it is where it is finer."""
    return view.detach().to(torch.promote_types(view.dtype, torch.float32)).requires_grad_()


def _generator_state() -> list[Tensor]:
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *devices]


def _restore_generators(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
