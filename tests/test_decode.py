"""Decoding: what is right comes out right, what is hostile is refused in one line, before it costs much."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import math
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from antiphon.decode import BadInput, clean_text, decode_audio, decode_image, probe_seconds

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def sound(samples: np.ndarray = TONE, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 20), kind: str = "PNG", colour: object = "red") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind)
    return file.getvalue()


def svg(inside: str = '<rect width="40" height="20" fill="red"/>', *, size: str = 'width="40" height="20"') -> bytes:
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {spaces} {size}>{inside}</svg>".encode()


def refused(call: object, *words: str) -> str:
    with pytest.raises(BadInput) as caught:
        call()  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


# ---- sound that is right ----


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_formats_agree(kind: str, tmp_path: Path) -> None:
    content = sound(kind=kind)
    path = tmp_path / "a.bin"  # what a file is, its content says
    path.write_bytes(content)
    wave = decode_audio(content)
    assert wave.dtype == torch.float32
    assert abs(len(wave) - RATE) < RATE / 10
    assert float(wave[: RATE // 2].pow(2).mean().sqrt()) == pytest.approx(0.5 / math.sqrt(2), rel=0.05)
    for source in (path, str(path), {"bytes": content, "path": None}, {"bytes": None, "path": str(path)}):
        assert torch.equal(decode_audio(source), wave)
    assert probe_seconds(path) == pytest.approx(len(wave) / RATE)


def test_resampling_keeps_the_tone() -> None:
    time_48 = np.arange(48_000) / 48_000
    high = (0.5 * np.sin(2 * np.pi * 440 * time_48)).astype(np.float32)
    wave = decode_audio(sound(high, 48_000, subtype="FLOAT"))
    assert len(wave) == RATE
    assert np.abs(wave.numpy() - TONE)[500:-500].max() < 1e-3


def test_channels_are_averaged() -> None:
    eight = np.stack([TONE * i for i in range(8)], axis=1) / 8
    wave = decode_audio(sound(eight, subtype="FLOAT"))
    assert np.abs(wave.numpy() - TONE * 3.5 / 8).max() < 1e-6


def test_decoded_sound_passes() -> None:
    assert torch.equal(decode_audio(torch.from_numpy(TONE)), torch.from_numpy(TONE))
    assert decode_audio(TONE.astype(np.float64)).dtype == torch.float32
    assert len(decode_audio({"array": TONE, "sampling_rate": 8_000})) == 2 * RATE
    assert probe_seconds({"array": TONE, "sampling_rate": 8_000}) == 2
    assert probe_seconds(torch.from_numpy(TONE), rate=8_000) == 2


# ---- sound that is wrong ----


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_sound_cut_short_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    content = sound(noise, kind=kind)
    assert len(decode_audio(content)) > 0
    refused(lambda: decode_audio(content[: int(len(content) * share)]))


def test_an_mp3_that_does_not_know_its_length() -> None:
    uneven = np.concatenate([np.zeros(5 * RATE), np.random.default_rng(0).normal(0, 0.3, 5 * RATE)]).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, uneven, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    content = file.getvalue()
    start = content.index(b"\xff\xf3", 4)  # the second frame: the first one holds the length
    assert probe_seconds(content[start:]) > 15  # a guess
    assert len(decode_audio(content[start:], max_seconds=11)) == pytest.approx(10 * RATE, rel=0.02)
    refused(lambda: decode_audio(content[start:], max_seconds=9), "limit is 9 s")


def test_a_wav_written_into_a_pipe_is_whole() -> None:
    content = bytearray(sound())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    assert len(decode_audio(bytes(content))) == RATE


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    refused(lambda: decode_audio(tmp_path / "no.wav"), "no.wav", "no such file")
    refused(lambda: decode_audio(tmp_path), "no such file")
    (tmp_path / "empty.wav").write_bytes(b"")
    refused(lambda: decode_audio(tmp_path / "empty.wav"), "empty.wav", "empty")
    refused(lambda: decode_audio(b""), "empty")
    refused(lambda: decode_audio("a\0b"))
    refused(lambda: decode_audio("x" * 5000))
    (tmp_path / "notes.raw").write_bytes(b"hello, I am not a sound" * 10)
    refused(lambda: decode_audio(tmp_path / "notes.raw"), "notes.raw", "WAV, FLAC, OGG or MP3")
    refused(lambda: decode_audio(picture()), "not readable as sound")
    refused(lambda: decode_audio(None), "NoneType")
    refused(lambda: decode_audio({"bytes": None, "path": None}))


def test_bad_samples_are_refused() -> None:
    refused(lambda: decode_audio(sound(np.zeros(0, np.float32))), "no samples")
    broken = TONE.copy()
    broken[7] = np.nan
    broken[9] = np.inf
    refused(lambda: decode_audio(sound(broken, subtype="FLOAT")), "2 of 16000", "NaN")
    refused(lambda: decode_audio(torch.from_numpy(broken)), "NaN")
    refused(lambda: decode_audio(torch.zeros(2, 100)), "(2, 100)", "average the channels")
    refused(lambda: decode_audio(np.zeros(100, np.int16)), "int16", "divide")
    refused(lambda: decode_audio({"array": TONE}), "sampling_rate")


@pytest.mark.parametrize("rate", [1, 999, 384_001])
def test_unbelievable_rates_are_refused(rate: int) -> None:
    refused(lambda: decode_audio(sound(rate=rate)), f"{rate} samples per second")


def test_extreme_rates_that_are_believed() -> None:
    assert len(decode_audio(sound(rate=384_000))) == pytest.approx(RATE / 24, abs=2)
    assert len(decode_audio(sound(TONE[:1000], rate=1_000))) == RATE


def test_three_hours_are_refused_by_the_header(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    size = 3 * 3600 * RATE * 2
    head = (
        b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    )
    with path.open("wb") as file:
        file.write(head + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)  # sparse: no disk is used
    began = time.perf_counter()
    refused(lambda: decode_audio(path), "10800.0 s", "600 s", "max_seconds")
    assert time.perf_counter() - began < 1
    assert probe_seconds(path) == 3 * 3600
    refused(lambda: decode_audio(TONE, max_seconds=0.5), "1.0 s", "0.5 s")
    assert len(decode_audio(sound(), max_seconds=1)) == RATE


def test_containers_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
    content = b"\0\0\0\x20ftypM4A " + bytes(100)
    refused(lambda: decode_audio(content), "PyAV", "pip install av")
    refused(lambda: probe_seconds(content), "PyAV")


def test_containers_by_pyav() -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(np.stack([TONE, TONE / 2]), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for part in (frame, None):
            for packet in stream.encode(part):
                container.mux(packet)
    content = file.getvalue()
    wave = decode_audio(content)
    assert len(wave) / RATE == pytest.approx(1, abs=0.2)
    assert float(wave[4000:12_000].pow(2).mean().sqrt()) == pytest.approx(0.375 / math.sqrt(2), rel=0.02)
    assert probe_seconds(content) == pytest.approx(1, abs=0.2)
    refused(lambda: decode_audio(content, max_seconds=0.5), "limit is 0.5 s")
    refused(lambda: decode_audio(content[: len(content) // 2]), "not readable as sound")


# ---- pictures that are right ----


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_picture_formats(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong_extension.txt"
    path.write_bytes(picture(kind=kind))
    for source in (
        path,
        path.read_bytes(),
        {"bytes": None, "path": str(path)},
        Image.open(io.BytesIO(path.read_bytes())),
    ):
        out = decode_image(source)
        assert (out.mode, out.size) == ("RGB", (40, 20))
        red, green, blue = out.getpixel((20, 10))
        assert red > 240
        assert max(green, blue) < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_becomes_white(mode: str) -> None:
    file = io.BytesIO()
    if mode == "P":
        Image.new("P", (8, 8), 0).save(file, "PNG", transparency=0)
    else:
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode if mode != "PA" else "RGBA").save(file, "PNG")
    source = file.getvalue() if mode != "PA" else Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert("PA")
    assert decode_image(source).getpixel((4, 4)) == (255, 255, 255)


def test_half_transparent_red_becomes_pink() -> None:
    red, green, blue = decode_image(picture("RGBA", colour=(255, 0, 0, 128))).getpixel((1, 1))
    assert (red, green, blue) == (255, 127, 127)


def test_first_frame_of_an_animation() -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "red", "green")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(file.getvalue()).getpixel((4, 4)) == (0, 0, 255)


def test_sixteen_bits_are_scaled() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), 32_896, np.uint16)).save(file, "PNG")
    assert decode_image(file.getvalue()).getpixel((1, 1)) == (128, 128, 128)


def test_exif_turn_is_applied() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (40, 20)).save(file, "JPEG", exif=exif)
    assert decode_image(file.getvalue()).size == (20, 40)


def test_size_is_the_longer_side() -> None:
    assert decode_image(picture(), size=10).size == (10, 5)
    assert decode_image(picture(), size=80).size == (80, 40)
    assert decode_image(picture(size=(300, 1)), size=100).size == (100, 1)
    assert decode_image(svg(), size=64).size == (64, 32)
    assert decode_image(svg()).size == (512, 256)


def test_arrays_are_pictures() -> None:
    assert decode_image(np.zeros((3, 5, 3), np.uint8)).size == (5, 3)
    refused(lambda: decode_image(np.zeros((3, 5, 3), np.float32)), "float32", "uint8")
    refused(lambda: decode_image(np.zeros((3, 0, 3), np.uint8)))


# ---- pictures that are wrong ----


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_cut_short_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    content = file.getvalue()
    for share in (0.9, 0.5, 0.05):
        refused(lambda share=share: decode_image(content[: int(len(content) * share)]))


def test_a_bomb_is_refused_by_its_header() -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    refused(
        lambda: decode_image(bomb + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))),
        "limit",
    )
    wide = picture("L", (10_000, 6_000), colour=0)  # between our limit and Pillow's warning
    refused(lambda: decode_image(wide), "10000 x 6000", "50000000")


def test_foreign_pictures_are_refused(tmp_path: Path) -> None:
    refused(lambda: decode_image(tmp_path / "no.png"), "no such file")
    refused(lambda: decode_image(sound()), "PNG, JPEG")
    refused(lambda: decode_image(b"II*\0" + bytes(50)), "PNG, JPEG")
    refused(lambda: decode_image(12), "int")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_never_raise_anything_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "WAV", "FLAC", "OGG"]))
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    if kind in ("WAV", "FLAC", "OGG"):
        soundfile.write(file, TONE[:2000], RATE, format=kind)
    else:
        Image.fromarray(noise).save(file, kind)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadInput):
        if kind in ("WAV", "FLAC", "OGG"):
            assert torch.isfinite(decode_audio(bytes(content))).all()
        else:
            assert decode_image(bytes(content)).mode == "RGB"


# ---- SVG ----


@pytest.mark.parametrize(
    "inside",
    [
        '<image xlink:href="FILE" width="20" height="20"/>',
        '<image href="FILE" width="20" height="20"/>',
        '<image href="file://FILE" width="20" height="20"/>',
        '<image href=" FILE" width="20" height="20"/>',
        '<image href="&#47;etc/passwd" width="20" height="20"/>',
        '<image href="https://example.org/a.png" width="20" height="20"/>',
        '<filter id="a"><feImage xlink:href="FILE"/></filter><rect filter="url(#a)" width="9" height="9"/>',
        '<use href="other.svg#a"/>',
        '<rect style="fill:url(other.svg#a)" width="9" height="9"/>',
        '<rect fill="url( \'http://example.org/a\' )" width="9" height="9"/>',
        "<style>@import 'http://example.org/a.css';</style>",
        "<style>rect { fill: url(a.svg#b) }</style>",
        '<image href="data:image/svg+xml;base64,AAAA" width="20" height="20"/>',
        '<image href="data:text/html,AAAA" width="20" height="20"/>',
    ],
)
def test_svg_that_reaches_outside_is_refused(inside: str, tmp_path: Path) -> None:
    red = tmp_path / "red.png"
    red.write_bytes(picture())
    refused(lambda: decode_image(svg(inside.replace("FILE", str(red)))), "self-contained")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'<!DOCTYPE svg [<!ENTITY a "red">]>' + svg(), "entity 'a'"),
        (b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg("<text>&a;</text>"), "entity"),
        (b'<!DOCTYPE svg [<!ENTITY % a "x">]>' + svg(), "entity"),
        (b'<?xml-stylesheet href="http://example.org/a.css"?>' + svg(), "style sheet"),
        (svg(size='width="1e9" height="1e9"'), "width"),
        (svg('<filter id="a"><feTurbulence numOctaves="100000"/></filter>'), "numOctaves"),
        (svg('<filter id="a"><feMorphology radius="1000 1"/></filter>'), "radius"),
        (gzip.compress(svg(), mtime=0), "compressed"),  # without a time, so that every process names the test alike
        (svg()[:-8], "well-formed"),
        (b"<html><body/></html>", "<html>"),
        (b"<svg>\xff\xfe</svg>", "not utf-8"),
        (b'<?xml version="1.0" encoding="klingon"?>' + svg(), "klingon"),
        (svg(size='width="0" height="10"'), "invalid size"),
    ],
)
def test_hostile_svg_is_refused(content: bytes, word: str) -> None:
    refused(lambda: decode_image(content), word)


def test_svg_that_is_right() -> None:
    inner = base64.b64encode(picture()).decode()
    paint = '<radialGradient id="g"><stop stop-color="red"/></radialGradient>'
    for inside in (
        f'<image xlink:href="data:image/png;base64,{inner}" width="40" height="20"/>',
        '<defs><rect id="a" width="40" height="20" fill="red"/></defs><use xlink:href="#a"/>',
        paint + '<rect fill="url(#g)" width="40" height="9"/>',
        '<a href="https://example.org"><rect width="40" height="20" fill="red"/></a>',
    ):
        assert decode_image(svg(inside), size=40).getpixel((20, 5)) == (255, 0, 0)
    plain = b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/a.dtd">'
    assert decode_image(plain + svg(), size=40).getpixel((20, 10)) == (255, 0, 0)
    latin = b'<?xml version="1.0" encoding="iso-8859-1"?>' + svg("<title>e</title>").replace(b">e<", b">\xe9<")
    assert decode_image(latin, size=40).size == (40, 20)
    assert decode_image(svg().decode().encode("utf-16"), size=40).size == (40, 20)
    assert decode_image(svg(""), size=8).getpixel((2, 2)) == (255, 255, 255)
    assert decode_image(svg(size='width="210mm" height="297mm"'), size=100).size == (71, 100)


def test_a_server_can_refuse_svg() -> None:
    refused(lambda: decode_image(svg(), vector=False), "not accepted")
    assert decode_image(picture(), vector=False).size == (40, 20)


def test_a_use_bomb_ends_soon() -> None:
    levels = "".join(f'<g id="g{i}">' + f'<use xlink:href="#g{i - 1}"/>' * 10 + "</g>" for i in range(1, 9))
    bomb = svg(f'<defs><g id="g0"><rect width="9" height="9"/></g>{levels}</defs><use xlink:href="#g8"/>')
    began = time.perf_counter()
    refused(lambda: decode_image(bomb))
    assert time.perf_counter() - began < 20


# ---- text ----


def test_text_is_cleaned() -> None:
    assert clean_text("  a cafe\u0301 \n") == "a caf\u00e9"
    assert clean_text("caf\u00e9".encode()) == "caf\u00e9"
    assert clean_text(b"\xef\xbb\xbfa") == "a"


def test_bad_text_is_refused() -> None:
    for empty in ("", " \n\t", b""):
        refused(lambda empty=empty: clean_text(empty), "empty")
    refused(lambda: clean_text(b"caf\xe9 au lait"), "UTF-8", "byte 3")
    refused(lambda: clean_text("caf\udce9"), "surrogate")
    refused(lambda: clean_text("x" * 1_000_000), "1000000 characters", "100000")
    refused(lambda: clean_text(float("nan")), "float")
    refused(lambda: clean_text(None), "NoneType")
