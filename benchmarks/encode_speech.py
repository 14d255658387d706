"""Encoding the stamps' recordings from their files with one wav2vec 2.0 of random weights, against `encode` on paths.

`sentence-transformers` hands paths to the extractor of `transformers`, which for wav2vec 2.0 takes samples only; so the
peer's extractor is given `transformers`' own reader of files (soundfile and soxr, as ours). Its order and its batches
are untouched: it sorts paths by the length of the file's name.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import Row, in_turns, seconds, version

COUNT = 400


def recordings() -> Row:
    """Files to vectors."""
    from antiphon.data.sampling import padding_waste
    from antiphon.encoders.batched import embed_items, item_sizes, like_with_like
    from antiphon.encoders.speech import WaveSpeech

    files = _files()
    with TemporaryDirectory() as folder:
        peer = _peer(Path(folder))
        encoder = WaveSpeech(folder).eval()
        alone = [
            float((embed_items(encoder, [f]) - peer.encode([f], convert_to_tensor=True)).abs().max()) for f in files[:3]
        ]
        if max(alone) > 1e-4:
            raise SystemExit(f"the vectors of a recording alone differ by {max(alone):.1e}: other work is compared")
        lengths = item_sizes(files, "speech")
        plan = like_with_like(lengths, "speech")
        order = np.argsort([-len(file) for file in files])
        theirs = [order[at : at + 32].tolist() for at in range(0, len(order), 32)]
        took, other = in_turns(lambda: embed_items(encoder, files), lambda: peer.encode(files), rounds=2, warm=0)
        decoding = seconds(lambda: [encoder.collate([file]) for file in files])
    waste = padding_waste(plan, lengths)
    if waste > 1.05:
        raise SystemExit(f"padded over real is {waste:.3f}, at most 1.05 is wanted")
    return Row(
        ours=COUNT / took,
        peer=COUNT / other,
        unit="clips/s",
        peer_name=version("sentence-transformers"),
        reach=2.0,
        want="at least",
        bound=f"decoding and resampling alone takes {decoding / took:.0%} of ours, the rest is the encoder",
        details={"padded_over_real": waste, "theirs": padding_waste(theirs, lengths), "seconds_of_sound": sum(lengths)},
    )


def _files() -> list[str]:
    from antiphon.data.sources import stamps

    rows = stamps.load()
    spoken = [name for name in rows.column_names if name.startswith("speech_")]
    found = sorted(item["path"] for name in spoken for item in rows[name] if item is not None)
    return random.Random(0).sample(found, COUNT)


def _peer(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
        Wav2Vec2Processor,
    )
    from transformers.audio_utils import load_audio

    class Reads(Wav2Vec2FeatureExtractor):
        def __call__(self, files: list[str], **options: Any) -> Any:
            options["sampling_rate"] = 16_000
            # named: where torchcodec is installed it would be taken, which resamples otherwise
            read = [load_audio(file, sampling_rate=16_000, backend="soundfile") for file in files]
            return super().__call__(read, **options)

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 1024}
    convolutions = {"conv_dim": (128,) * 7, "num_conv_pos_embeddings": 32, "feat_extract_norm": "layer"}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions, do_stable_layer_norm=True)).save_pretrained(folder)
    letters = {letter: at for at, letter in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|"])}
    (folder / "vocab.json").write_text(json.dumps(letters), encoding="utf-8")
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))).save_pretrained(folder)
    module = Transformer(str(folder))
    module.processor.feature_extractor.__class__ = Reads
    return SentenceTransformer(modules=[module, Pooling(256, "mean")], device="cpu")


ROWS = {"encode-recordings": recordings}
