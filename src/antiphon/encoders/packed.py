"""BERT and its kin on texts laid end to end: inference on the CPU without a single padded position.

The tokens of a batch stand in one row of N, texts of one length side by side: linear maps see real tokens only, and
attention sees each length as a batch of its own, which needs no mask. The weights are those of the `transformers`
model, laid out once as oneDNN wants them, queries, keys and values as one map; GELU runs inside the map before it.

Axes: B texts, T positions, N real tokens of a batch, D width, H heads, G texts of one length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention
from transformers import BertModel, RobertaModel, XLMRobertaModel

from antiphon.types import Padded

Map = Callable[[Tensor], Tensor]
Group = tuple[int, int, int]
"""Where a group's tokens start, how many texts it has, and their length."""


class PackedText:
    """The forward of a BERT, RoBERTa or XLM-RoBERTa in evaluation, for a frozen copy of its weights.

    Args:
        model: as `packable` finds it.
        dtype: float32, or bfloat16 (the norms' sums and the result stay float32).
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        parts: Any = model
        config = parts.config
        self.heads, self.dtype = int(config.num_attention_heads), dtype
        self.words = parts.embeddings.word_embeddings.weight.detach()
        # RoBERTa and its kin count positions from behind the padding token's id
        first = 0 if isinstance(model, BertModel) else int(config.pad_token_id) + 1
        places = parts.embeddings.position_embeddings.weight.detach()[first:]
        self.places = places + parts.embeddings.token_type_embeddings.weight.detach()[0]
        self.norm = _norm(parts.embeddings.LayerNorm, torch.float32)
        self.layers = [_Layer(layer, self.heads, dtype) for layer in parts.encoder.layer]

    def __call__(self, batch: Padded) -> Float[Tensor, "b t d"]:
        """Token ids `(B, T)` to last hidden states, zero where there is no token."""
        size = batch.values.shape[1]
        order, groups = _by_length(batch.lengths)
        rows_N = order.repeat_interleave(batch.lengths[order])
        places_N = torch.cat([torch.arange(length).repeat(count) for _, count, length in groups] or [rows_N])
        hidden_ND = embedding(batch.values[rows_N, places_N], self.words) + self.places[places_N]
        hidden_ND = self.norm(hidden_ND).to(self.dtype)
        for layer in self.layers:
            hidden_ND = layer(hidden_ND, groups)
        tokens = torch.zeros(len(batch) * size, hidden_ND.shape[1])
        tokens.index_copy_(0, rows_N * size + places_N, hidden_ND.float())
        return tokens.view(len(batch), size, -1)


def packable(model: nn.Module, device: torch.device) -> bool:
    """Whether `PackedText` computes what this model does, here: CPU, GELU by the error function, BERT's layers."""
    if type(model) not in (BertModel, RobertaModel, XLMRobertaModel) or device.type != "cpu":
        return False
    config: Any = model.config
    plain = config.hidden_act == "gelu" and not getattr(config, "is_decoder", False)
    return plain and all(weight.dtype == torch.float32 and not weight.is_inference() for weight in model.parameters())


def state_of(model: nn.Module) -> tuple[tuple[int, int], ...]:
    """What changes whenever a weight does: where each one lies, and how often it was written to."""
    return tuple((weight.data_ptr(), weight._version) for weight in model.parameters())


class _Layer:
    def __init__(self, layer: Any, heads: int, dtype: torch.dtype) -> None:
        attention, self.heads = layer.attention, heads
        query, key, value = attention.self.query, attention.self.key, attention.self.value
        scale = (query.weight.shape[0] // heads) ** -0.5  # of the scores, taken into the queries
        weight = torch.cat([query.weight * scale, key.weight, value.weight]).detach()
        bias = torch.cat([query.bias * scale, key.bias, value.bias]).detach()
        self.inputs = _map(weight, bias, dtype)
        self.output = _map(attention.output.dense.weight, attention.output.dense.bias, dtype)
        self.up = _map(layer.intermediate.dense.weight, layer.intermediate.dense.bias, dtype, then_gelu=True)
        self.down = _map(layer.output.dense.weight, layer.output.dense.bias, dtype)
        self.first, self.second = _norm(attention.output.LayerNorm, dtype), _norm(layer.output.LayerNorm, dtype)

    def __call__(self, hidden_ND: Tensor, groups: list[Group]) -> Tensor:
        inputs, mixed_ND = self.inputs(hidden_ND), torch.empty_like(hidden_ND)
        for start, count, length in groups:
            part = slice(start, start + count * length)
            query, key, value = inputs[part].view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            if inputs.dtype == torch.float32:
                mixed_GHTD = scaled_dot_product_attention(query, key, value, scale=1.0)
            else:  # in half precision, two products of matrices are faster on texts of every length
                mixed_GHTD = torch.softmax(query @ key.transpose(2, 3), -1) @ value
            mixed_ND[part].view(count, length, self.heads, -1).copy_(mixed_GHTD.transpose(1, 2))
        hidden_ND = self.first(self.output(mixed_ND).add_(hidden_ND))
        return self.second(self.down(self.up(hidden_ND)).add_(hidden_ND))


def _by_length(lengths_B: Int[Tensor, " b"]) -> tuple[Tensor, list[Group]]:
    """Rows that have a text, from long to short, and the groups that they make."""
    order = lengths_B.argsort(descending=True, stable=True)
    order = order[lengths_B[order] > 0]
    groups, start = [], 0
    lengths, counts = torch.unique_consecutive(lengths_B[order], return_counts=True)
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        groups.append((start, count, length))
        start += count * length
    return order, groups


def _map(weight: Tensor, bias: Tensor, dtype: torch.dtype, *, then_gelu: bool = False) -> Map:
    weight, bias = weight.detach().to(dtype), bias.detach().to(dtype)
    if not _onednn(dtype):
        return lambda inputs: gelu(linear(inputs, weight, bias)) if then_gelu else linear(inputs, weight, bias)
    # the operators that torch.compile itself calls in the place of a frozen linear map
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1024)
    after, how = ("gelu", "none") if then_gelu else ("none", "")
    return lambda inputs: torch.ops.mkldnn._linear_pointwise(inputs, laid_out, bias, after, [], how)


def _onednn(dtype: torch.dtype) -> bool:
    there = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return bool(there and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def _norm(norm: Any, dtype: torch.dtype) -> Map:
    weight, bias = norm.weight.detach().to(dtype), norm.bias.detach().to(dtype)
    return lambda inputs: layer_norm(inputs, weight.shape, weight, bias, norm.eps)
