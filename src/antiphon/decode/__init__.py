"""From what stands in a row (a path, bytes, a Hugging Face dict) to a waveform, a picture, a video's frames or a text.

Whatever cannot be used is refused as `BadInput`, in one line, and limits are checked before anything is
decoded.
"""

from __future__ import annotations

from antiphon.decode.pictures import MAX_PIXELS, SVG_SIDE, decode_image
from antiphon.decode.sound import MAX_SECONDS, RATES, decode_audio, probe_seconds
from antiphon.decode.source import BadInput
from antiphon.decode.text import MAX_CHARACTERS, clean_text, split_words
from antiphon.decode.videos import decode_vectors, decode_video

__all__ = [
    "MAX_CHARACTERS",
    "MAX_PIXELS",
    "MAX_SECONDS",
    "RATES",
    "SVG_SIDE",
    "BadInput",
    "clean_text",
    "decode_audio",
    "decode_image",
    "decode_vectors",
    "decode_video",
    "probe_seconds",
    "split_words",
]
