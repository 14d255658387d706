"""Products of a few rows with a matrix: what a text that grows asks for at each token, one row or one a candidate.

On processors torch multiplies up to four rows by one thread, and two to four in more time than one: `linear` asks the
library for X W^T. For the transpose, W X^T, the same library takes all threads and reads the matrix faster. Measured
with torch 2.13, MKL and an EPYC of AVX-512 on SmolLM2's matrices: 1.3 to 4.3 times as fast by one thread, 1.2 to 8.7 by
two (but .87 for five rows of 1,536). One row is faster as two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

MOST, WIDTH = 5, 1000
"""More rows, or wider ones (a thread), are left to `linear`, which is faster there."""


def plain_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of a model whose products may be made here: float32, on a processor, called by nothing else."""
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and "forward" not in vars(layer)]
    return [layer for layer in layers if layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"]


@contextmanager
def few_rows(layers: list[nn.Linear]) -> Iterator[None]:
    """For a while, layers that multiply a few rows fast; the same numbers, up to the last bits."""
    for layer in layers:
        vars(layer)["forward"] = partial(product, layer)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def product(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """What the layer makes of inputs `(..., D)`."""
    weight, bias, width = layer.weight, layer.bias, inputs.shape[-1]
    rows = inputs.numel() // width
    if not 0 < rows <= MOST or width >= WIDTH * torch.get_num_threads():
        return linear(inputs, weight, bias)
    columns = inputs.reshape(rows, width).t() if rows > 1 else inputs.reshape(1, width).repeat(2, 1).t()
    out = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return out[:, :rows].t().contiguous().view(*inputs.shape[:-1], -1)
