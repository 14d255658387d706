"""Encoding ragged texts with all-MiniLM-L6-v2, against `SentenceTransformer.encode` on the same weights."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.measuring import Row, in_turns, seconds, version
from benchmarks.sentences import sts_pairs, texts

MODEL = "all-MiniLM-L6-v2"
COUNT = 5000


def float32() -> Row:
    """The same vectors, sooner."""
    ours, peer = _sides()
    items, source = texts(COUNT)
    apart = float((ours(items) - peer(items)).abs().max())
    if apart > 1e-5:
        raise SystemExit(f"the vectors differ by {apart:.1e}: a ratio of speeds would mean nothing")
    took, theirs = in_turns(lambda: ours(items), lambda: peer(items), rounds=2, warm=0)
    return _row(took, theirs, 1.5, items, {"texts": source, "largest_difference": apart}, torch.float32)


def bfloat16() -> Row:
    """In half precision, at a rank correlation of 0.995 or more of the similarities."""
    ours, peer = _sides(precision="bfloat16")
    items, source = texts(COUNT)
    half = len(items) // 2
    pairs = (
        sts_pairs()[:3000] if source.startswith("STS") else list(zip(items[:half], items[half:][:half], strict=True))
    )
    rank = _spearman(_similarities(ours, pairs), _similarities(_sides()[0], pairs))
    if rank < 0.995:
        raise SystemExit(f"the similarities' rank correlation is {rank:.4f}: a ratio of speeds would mean nothing")
    took, theirs = in_turns(lambda: ours(items), lambda: peer(items), rounds=3, warm=0)
    return _row(took, theirs, 3.0, items, {"texts": source, "spearman": rank, "pairs": len(pairs)}, torch.bfloat16)


def _sides(**options: Any) -> tuple[Any, Any]:
    from sentence_transformers import SentenceTransformer

    from antiphon.encoders.batched import embed_items
    from antiphon.encoders.heads import unit
    from antiphon.encoders.text import TransformersText
    from antiphon.encoders.weights import wheel_path

    peer = SentenceTransformer(str(wheel_path(MODEL)), device="cpu")
    encoder = TransformersText(MODEL, max_tokens=peer.max_seq_length).eval()
    return (
        lambda items: unit(embed_items(encoder, items, **options)),
        lambda items: peer.encode(items, normalize_embeddings=True, convert_to_tensor=True),
    )


def _row(took: float, theirs: float, reach: float, items: list[str], details: Any, dtype: torch.dtype) -> Row:
    from antiphon.encoders.text import TransformersText

    lengths = TransformersText(MODEL, max_tokens=256).collate(items).lengths
    flops = 6 * 2 * (4 * 384**2 + 2 * 384 * 1536) * int(lengths.sum()) + 6 * 4 * 384 * int(lengths.square().sum())
    rate = _rate(dtype)
    return Row(
        ours=len(items) / took,
        peer=len(items) / theirs,
        unit="texts/s",
        peer_name=version("sentence-transformers"),
        reach=reach,
        want="at least",
        bound=f"{flops / 1e9:.0f} GFLOP of real tokens: {flops / took / rate:.0%} of the {rate / 1e9:.0f} GFLOP/s that "
        f"one {str(dtype).partition('.')[2]} product of matrices reaches here",
        details=details | {"padded_over_real": 1.0, "tokens": int(lengths.sum())},
    )


def _rate(dtype: torch.dtype) -> float:
    """FLOP a second of the model's widest map, weights laid out by oneDNN."""
    inputs = torch.randn(1024, 384, dtype=dtype)
    weight = torch.ops.mkldnn._reorder_linear_weight(torch.randn(1536, 384, dtype=dtype), 1024)
    return max(
        20 * 2 * 1024 * 384 * 1536 / seconds(lambda: [_product(inputs, weight) for _ in range(20)]) for _ in range(10)
    )


def _product(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, None, "none", [], "")


def _similarities(side: Any, pairs: list[tuple[str, str]]) -> torch.Tensor:
    return (side([one for one, _ in pairs]) * side([other for _, other in pairs])).sum(1)


def _spearman(one: torch.Tensor, other: torch.Tensor) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one.numpy(), other.numpy()).statistic)


ROWS = {"encode-texts-float32": float32, "encode-texts-bfloat16": bfloat16}
