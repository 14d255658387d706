"""Rows in tar shards, as `webdataset` writes and reads them; this reader decodes nothing and unpickles
nothing.

A row is a run of members with one key: `000000012.image.png`, `000000012.speech.wav`, `000000012.json` (the
columns that are no files). Shards of others work too: `cat.jpg` and `cat.txt` become `image` and `text`.
`index.json` beside the shards, written last, has each one's rows and sha256.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import IterableDataset

from antiphon.decode import BadInput, clean_text

INDEX = "index.json"
MAX_MEMBER = 1 << 30
"""Largest member that is read, in bytes."""
KINDS = {
    "image": ("png", "jpg", "jpeg", "webp", "gif", "svg"),
    "speech": ("wav", "flac", "ogg", "opus", "mp3", "m4a"),
    "text": ("txt",),
    "video": ("mp4", "webm", "mkv", "avi", "mov"),
}
"""The column of a member whose suffix names none."""
_NUMBERS = ("cls", "id", "index")

_log = logging.getLogger(__name__)


def write_shards(rows: Iterable[Mapping[str, Any]], folder: str | Path, rows_per_shard: int = 1000) -> Path:
    """Write rows as `shard-000000.tar`, ... and `index.json`; gives the path of the index.

    The same rows give the same bytes. Shards that an interrupted call left are written again.

    Args:
        rows: dicts; a file is a dict `{"bytes", "path"}`, everything else must be JSON. None is left out.
        folder: where; it must hold no index yet.
        rows_per_shard: the last shard may have fewer.

    Raises:
        FileExistsError: there are shards already.
        BadInput: a file that cannot be read, or a value that is not JSON.
    """
    root = Path(folder)
    if (root / INDEX).exists():
        raise FileExistsError(f"{root / INDEX}: there are shards here already: take another folder")
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard={rows_per_shard}: must be above zero")
    root.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    held: list[Mapping[str, Any]] = []
    total = 0
    for row in rows:
        held.append(row)
        if len(held) == rows_per_shard:
            shards.append(_write(root, len(shards), held, total))
            total, held = total + len(held), []
    if held:
        shards.append(_write(root, len(shards), held, total))
        total += len(held)
    index = {"rows": total, "shards": shards}
    _replace(root / INDEX, json.dumps(index, indent=1).encode())
    return root / INDEX


def read_shards(source: str | Path, *, verify: bool = False) -> IterableDataset:
    """The rows of shards, streamed; a shard is the unit that workers share out, and the place can be saved.

    Args:
        source: a folder with `index.json` or `*.tar`, one tar file, or a pattern as of `Path.glob`
            ("data/a-*.tar").
        verify: compare each shard with the sha256 of the index before it is read.

    Raises:
        BadInput: no shards there. While reading: a shard that is broken, cut short or not what the index
            says.
    """
    files = shard_files(source)
    return IterableDataset.from_generator(
        _read_all, gen_kwargs={"files": [str(file) for file in files], "verify": [verify] * len(files)}
    )


def shard_files(source: str | Path) -> list[Path]:
    """The tar files that a folder, a file or a pattern stands for, sorted."""
    path = Path(source)
    if path.is_file():
        files = [path]
    elif path.is_dir():
        listed = [path / shard["file"] for shard in _index(path).values()]
        files = listed or sorted(path.glob("*.tar"))
    else:
        files = sorted(path.parent.glob(path.name))
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise BadInput(f"{missing[0] if missing else source}: no such shard; wanted a folder, a .tar or a pattern")
    return files


def check_sizes(files: Sequence[Path]) -> None:
    """Compare the shards' sizes with what their index says, where there is one; nothing is read.

    Raises:
        BadInput: a shard of another size.
    """
    known = {folder: _index(folder) for folder in {file.parent for file in files}}
    for file in files:
        wanted = known[file.parent].get(file.name, {}).get("bytes")
        found = file.stat().st_size
        if wanted is not None and found != wanted:
            raise BadInput(f"{file}: {found} bytes, {INDEX} says {wanted}: fetch it again")


def read_shard(file: str | Path, *, verify: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of one shard, in order; files are `{"bytes", "path"}` with the member's name as path.

    Raises:
        BadInput: broken, cut short, a member too large, or not what the index says.
    """
    path = Path(file)
    known = _index(path.parent).get(path.name)
    if verify and known is not None and _sha256(path) != known["sha256"]:
        raise BadInput(f"{path}: its sha256 is not that of {INDEX}: fetch it again")
    key, row, count = None, dict[str, Any](), 0
    for name, content in _members(path):
        stem, column, suffix = _place(name)
        if stem != key:
            if key is not None:
                yield row
                count += 1
            key, row = stem, {"__key__": stem}
        _put(row, column, suffix, content, f"{path.name}:{name}")
    if key is not None:
        yield row
        count += 1
    if known is not None and count != known["rows"]:
        raise BadInput(f"{path}: {count} rows, {INDEX} says {known['rows']}: fetch it again")


def _read_all(files: Sequence[str], verify: Sequence[bool]) -> Iterator[dict[str, Any]]:
    for file, check in zip(files, verify, strict=True):
        yield from read_shard(file, verify=check)


# ---- reading ----


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:") as tar:  # uncompressed only: no bombs
            for member in tar:
                if not member.isfile():
                    continue
                if member.size > MAX_MEMBER:
                    raise BadInput(f"{path}: {member.name} has {member.size} bytes, the limit is {MAX_MEMBER}")
                file = tar.extractfile(member)
                content = file.read() if file is not None else b""
                if len(content) < member.size:
                    raise BadInput(f"{path}: cut short in {member.name}")
                yield member.name, content
            # tarfile takes a cut between two members for the end: an archive ends in blocks of zeros
            if path.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
                raise BadInput(f"{path}: cut short: no end of archive")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadInput(f"{path}: not readable as tar ({' '.join(str(error).split())})") from None


def _place(name: str) -> tuple[str, str, str]:
    """Key, column and suffix of a member: `a/12.image.png` is of row a/12, column image."""
    folder, slash, base = name.rpartition("/")
    stem, _, rest = base.partition(".")
    column, _, suffix = rest.rpartition(".")
    if not column:
        column = next((kind for kind, ends in KINDS.items() if suffix.lower() in ends), suffix)
    return folder + slash + stem, column, suffix.lower()


def _put(row: dict[str, Any], column: str, suffix: str, content: bytes, name: str) -> None:
    if suffix == "json":
        try:
            found = json.loads(content)
        except ValueError as error:
            raise BadInput(f"{name}: not JSON ({error})") from None
        row.update(found if isinstance(found, dict) else {"json": found})
    elif suffix == "txt":
        row[column] = clean_text(content)
    elif suffix in _NUMBERS:
        try:
            row[column] = int(content)
        except ValueError:
            raise BadInput(f"{name}: {content[:40]!r} is not a whole number") from None
    elif any(suffix in ends for ends in KINDS.values()):
        row[column] = {"bytes": content, "path": name.partition(":")[2]}
    else:  # .pyd, .pth, .npy and the like stay closed
        _log.warning("shards: %s left out: files of this kind are not read", name)


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    """What the index says of each shard, by file name; empty where there is none."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["shards"]
        return {Path(shard["file"]).name: shard | {"file": Path(shard["file"]).name} for shard in shards}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not an index of shards ({error})") from None


# ---- writing ----


def _write(root: Path, number: int, rows: Sequence[Mapping[str, Any]], first: int) -> dict[str, Any]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for offset, row in enumerate(rows):
            for suffix, content in _contents(row):
                member = tarfile.TarInfo(f"{first + offset:09d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    name, content = f"shard-{number:06d}.tar", out.getvalue()
    _replace(root / name, content)
    return {
        "file": name,
        "rows": len(rows),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _contents(row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    plain: dict[str, Any] = {}
    for column, value in row.items():
        if "." in column or "/" in column:
            raise BadInput(f"column {column!r}: a name in a shard has no dot and no slash")
        if isinstance(value, Mapping) and {"bytes", "path"} <= set(value):
            yield f"{column}.{_suffix(value, column)}", _file(value, column)
        elif value is not None:
            plain[column] = value
    try:
        yield "json", json.dumps(plain, ensure_ascii=False, sort_keys=True).encode()
    except TypeError as error:
        raise BadInput(f"row {plain.get('id', '')}: a value is neither a file nor JSON ({error})") from None


def _file(value: Mapping[str, Any], column: str) -> bytes:
    if value["bytes"] is not None:
        return bytes(value["bytes"])
    try:
        return Path(value["path"]).read_bytes()
    except (OSError, TypeError) as error:
        raise BadInput(f"{column}: {value['path']}: {getattr(error, 'strerror', error)}") from None


_MAGIC = {
    b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"OggS": "ogg", b"fLaC": "flac", b"ID3": "mp3",
}  # fmt: skip


def _suffix(value: Mapping[str, Any], column: str) -> str:
    named = Path(value["path"]).suffix[1:].lower() if value["path"] else ""
    if any(named in ends for ends in KINDS.values()):
        return named
    head = _file(value, column)[:12]
    if head[:4] == b"RIFF":
        return "wav" if head[8:] == b"WAVE" else "webp"
    found = next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), None)
    if found is None:
        raise BadInput(f"{column}: {value['path'] or head!r}: neither its name nor its first bytes say what it is")
    return found


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
