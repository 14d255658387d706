"""Data from Debian packages, unpacked into the cache: no root, no hub, checksums from the package lists."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from antiphon.data.cache import DataError, cache_folder
from antiphon.progress import bar

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_MARK = ".antiphon.json"
_POLL = 0.1  # seconds
_APT = (
    "apt-get",
    "-q",
    "-o",
    "APT::Sandbox::User=root",
)  # else apt warns that _apt cannot write in our folder


@dataclass(frozen=True)
class _Deb:
    file: str
    size: int
    method: str
    digest: str


def get(package: str, *, progress: bool = True) -> Path:
    """The folder of an unpacked Debian package, downloaded at the first call (`apt-get download`, `dpkg -x`).

    Args:
        package: its name, as `apt-cache search` gives it.
        progress: show a bar where a person watches.

    Raises:
        DataError: no apt here, no such package, no network, a wrong checksum or a full disk; in one line.
    """
    if not _NAME.fullmatch(package):
        raise DataError(f"{package!r} is not the name of a Debian package")
    root = cache_folder() / "debian"
    folder = root / package
    if (folder / _MARK).is_file():
        return folder
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise DataError(
            f"{package}: needs apt-get and dpkg (Debian, Ubuntu); elsewhere unpack the package from "
            f"packages.debian.org and give its folder: data.options.folder=..."
        )
    try:
        (root / ".download").mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{package}.lock"):
            if not (folder / _MARK).is_file():
                _unpack(package, _download(package, root / ".download", progress), folder)
    except OSError as error:
        raise DataError(f"{package}: {error.strerror or error} ({error.filename or root})") from None
    return folder


def _download(package: str, folder: Path, progress: bool) -> Path:
    deb = _candidate(package)
    path = folder / deb.file
    if _matches(path, deb):
        return path
    there = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(folder).free + there
    if free < 3 * deb.size:  # the archive, and what comes out of it
        raise DataError(f"{package}: needs about {3 * deb.size / 1e6:.0f} MB in {folder}, {free / 1e6:.0f} MB are free")
    million = 1_000_000
    with bar(f"{package} (MB)", deb.size // million) if progress else nullcontext(lambda _: None) as advance:
        shown = 0

        def look() -> None:
            nonlocal shown
            now = path.stat().st_size // million if path.exists() else 0
            advance(now - shown)
            shown = now

        _run([*_APT, "download", package], package, folder, look)
    if not _matches(path, deb):
        path.unlink(missing_ok=True)
        raise DataError(f"{package}: the download does not match its checksum; try again, or run apt-get update")
    return path


def _candidate(package: str) -> _Deb:
    """What apt would download; where it knows of no such package, root updates its lists once."""
    ask = [*_APT, "download", "--print-uris", package]
    try:
        said = _run(ask, package)
    except DataError as error:
        if not re.search("unable to locate|no candidate|no installation candidate", str(error), re.IGNORECASE):
            raise
        if os.geteuid() != 0:
            raise DataError(f"{package}: apt does not know it; run: sudo apt-get update, then try again") from None
        _run([*_APT, "update"], package)
        said = _run(ask, package)
    for line in said.splitlines():
        words = shlex.split(line) if line.startswith("'") else []
        if len(words) == 4 and ":" in words[3]:
            method, _, digest = words[3].partition(":")
            return _Deb(Path(words[1]).name, int(words[2]), method.removesuffix("Sum").lower(), digest)
    raise DataError(f"{package}: apt-get download --print-uris says nothing that can be read: {said.strip()[:200]!r}")


def _matches(path: Path, deb: _Deb) -> bool:
    if not path.is_file() or path.stat().st_size != deb.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, deb.method).hexdigest() == deb.digest


def _unpack(package: str, deb: Path, folder: Path) -> None:
    """Into a folder beside, which takes its name when it is whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{package}-") as beside:
        out = Path(beside) / package
        _run(["dpkg", "-x", str(deb), str(out)], package)
        (out / _MARK).write_text(json.dumps({"package": package, "file": deb.name}), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # without its mark it is a rest of something else
        out.rename(folder)
    deb.unlink()


def _run(words: Sequence[str], package: str, folder: Path | None = None, look: Callable[[], None] | None = None) -> str:
    """What a command prints; called from `folder`, with `look` every now and then while it works."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            while process.poll() is None:
                time.sleep(_POLL)
                if look is not None:
                    look()
        finally:
            if process.poll() is None:  # Ctrl-C
                process.terminate()
                process.wait()
        said, complained = _text(out), _text(err)
    if process.returncode != 0:
        lines = [line for line in complained.splitlines() if line.strip()] or [f"exit code {process.returncode}"]
        reason = next((line for line in lines if "No space left" in line), lines[0]).removeprefix("E: ")
        raise DataError(f"{package}: {words[0]} failed: {reason.strip()[:300]}")
    return said


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
