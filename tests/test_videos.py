"""Videos: frames by time whatever the frame rate, in files of several kinds; what cannot be used is refused."""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from antiphon.decode import BadInput, decode_vectors, decode_video
from antiphon.decode.videos import middles, shown


def frames(count: int = 10, height: int = 32, width: int = 48) -> np.ndarray:
    """Grey frames that grow brighter: frame i has the level 20 * i."""
    levels = np.arange(count, dtype=np.uint8)[:, None, None, None] * 20
    return np.broadcast_to(levels, (count, height, width, 3)).copy()


def level(video: torch.Tensor) -> list[int]:
    """Which frame each one is, by its brightness."""
    return [round(float(frame.float().mean()) / 20) for frame in video]


def animated(kind: str, durations: int | list[int] = 100, **options: object) -> bytes:
    first, *others = [Image.fromarray(frame) for frame in frames()]
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others, duration=durations, loop=0, **options)
    return file.getvalue()


def by_av(kind: str, codec: str, *, count: int = 10, sound: bool = False, rate: int = 10, **options: str) -> bytes:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for pixels in frames(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def only_sound() -> bytes:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        samples = np.zeros((1, 16_000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_middles_and_what_is_shown_then() -> None:
    assert middles(4.0, 4) == [0.5, 1.5, 2.5, 3.5]
    timed = [(0.0, "a"), (1.0, "b"), (3.0, "c")]
    assert shown(iter(timed), middles(4.0, 4)) == ["a", "b", "b", "c"]
    assert shown(iter(timed), [0.0, 9.0]) == ["a", "c"]
    assert shown(iter(timed[:1]), [0.1, 0.2]) == ["a", "a"]
    assert shown(iter([]), [0.1]) == []


def test_frames_behind_the_last_time_are_not_asked_for() -> None:
    def endless():
        at = 0
        while True:
            assert at < 5
            yield float(at), at
            at += 1

    assert shown(endless(), [0.5, 2.5]) == [0, 2]


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("GIF", {}), ("PNG", {})])
def test_animated_pictures(kind: str, options: dict[str, object]) -> None:
    found = decode_video(animated(kind, **options), 5)
    assert found.shape == (5, 32, 48, 3)
    assert found.dtype == torch.uint8
    assert level(found) == [1, 3, 5, 7, 9]
    assert level(decode_video(animated(kind, **options), 20)) == [at // 2 for at in range(20)]


def test_time_counts_and_not_the_number_of_frames() -> None:
    durations = [100] * 9 + [900]
    assert level(decode_video(animated("WEBP", durations, lossless=True), 4)) == [2, 6, 9, 9]


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mjpeg"), ("webm", "libvpx")]
)
def test_containers(kind: str, codec: str, tmp_path: Path) -> None:
    content = by_av(kind, codec)
    assert level(decode_video(content, 5)) == [1, 3, 5, 7, 9]
    (tmp_path / "film").write_bytes(content)
    assert torch.equal(decode_video({"bytes": None, "path": str(tmp_path / "film")}, 5), decode_video(content, 5))
    assert level(decode_video(by_av(kind, codec, rate=25), 5)) == [1, 3, 5, 7, 9]


def test_held_frames() -> None:
    assert level(decode_video(frames(), 5)) == [1, 3, 5, 7, 9]
    assert level(decode_video(torch.from_numpy(frames(2)), 4)) == [0, 0, 1, 1]


def test_a_length_that_is_not_announced() -> None:
    """As a browser's recorder writes it: the packets tell."""
    content = by_av("matroska", "mpeg4")
    duration = content.index(b"\x44\x89")  # the element that holds it
    assert level(decode_video(content[:duration] + b"\xec" + content[duration + 1 :], 5)) == [1, 3, 5, 7, 9]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lambda: b"", "0 bytes: the file is empty"),
        (lambda: "no/such/film.mp4", "no/such/film.mp4: no such file"),
        (lambda: b"RIFF1234WEBPxxxx", "16 bytes: not readable as an animated GIF, WebP or PNG"),
        (lambda: by_av("mp4", "mpeg4")[:700], "700 bytes: holds no pictures"),
        (
            lambda: half(by_av("matroska", "mpeg4", count=100, g="1")),
            r"its frames end at \d.\d of 10.0 s: it is cut short",
        ),
        (lambda: b"no video at all " * 9, "144 bytes: not readable as video"),
        (only_sound, "holds no pictures, only sound"),
        (lambda: animated("GIF", 65_000), "650.0 s, the limit is 600 s: cut it, or raise max_seconds"),
        (lambda: frames().astype(np.float32), r"frames of torch.float32 and shape \(10, 32, 48, 3\): wanted uint8"),
        (lambda: frames()[0], r"wanted uint8 \(T, H, W, 3\)"),
    ],
)
def test_refused(source: object, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        decode_video(source(), 4)
    assert "\n" not in str(caught.value)


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.decode.videos.MAX_PIXELS", 1000)
    for content in (animated("GIF"), by_av("mp4", "mpeg4")):
        with pytest.raises(BadInput, match="frames of 48 x 32 pixels, the limit is 1000"):
            decode_video(content, 4)


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    content = by_av("mp4", "mpeg4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadInput, match="videos need PyAV: pip install av, or give an animated GIF or WebP"):
        decode_video(content, 4)
    assert len(decode_video(animated("GIF"), 4)) == 4


def test_no_frames_are_no_question() -> None:
    with pytest.raises(ValueError, match="frames=0"):
        decode_video(frames(), 0)


def test_vectors_of_frames_at_even_times():
    """The middles of equal segments, whichever way the numbers are held; a short video repeats its frames."""
    held = torch.arange(20.0).reshape(10, 2)
    for source in (held, held.numpy(), held.tolist(), list(held), held.half()):
        assert torch.equal(decode_vectors(source, 5), held[[1, 3, 5, 7, 9]])
        assert torch.equal(decode_vectors(source), held)
    assert torch.equal(decode_vectors(held[:2], 4), held[[0, 0, 1, 1]])
    # the same frames as of a video that is held as pixels
    assert level(decode_video(frames(), 4)) == (decode_vectors(held, 4)[:, 0] / 2).int().tolist()


@pytest.mark.parametrize(("source", "said"), [
    ([[1.0, 2.0], [3.0]], "not vectors of frames .*: wanted T lines of D numbers"),
    ([1.0, 2.0], r"of shape \(2,\): wanted \(T, D\)"),
    ([], r"of shape \(0,\)"),
    ([["a"]], "not vectors of frames"),
    ([[1.0, float("inf")]], "not all finite"),
])  # fmt: skip
def test_what_are_no_vectors_of_frames(source, said):
    with pytest.raises(BadInput, match=said) as raised:
        decode_vectors(source, 2)
    assert "\n" not in str(raised.value)
