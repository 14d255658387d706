"""Where downloaded data lies, and where the user keeps data sets of their own."""

from __future__ import annotations

import os
from pathlib import Path

from antiphon.errors import UserError


class DataError(UserError, RuntimeError):
    """A data set that cannot be had; the message is one line: what is missing and what to do."""


def cache_folder() -> Path:
    """`$ANTIPHON_CACHE`, else `antiphon` in the user's cache folder. It need not exist yet."""
    own = os.environ.get("ANTIPHON_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "antiphon"


def data_folder(name: str) -> Path:
    """The folder `$ANTIPHON_DATA/<name>`, where a public data set was put.

    Raises:
        DataError: the variable is not set, or there is no such folder.
    """
    root = os.environ.get("ANTIPHON_DATA")
    if not root:
        raise DataError(f"data set {name!r}: set ANTIPHON_DATA to the folder that holds it")
    folder = Path(root).expanduser() / name
    if not folder.is_dir():
        raise DataError(f"data set {name!r}: no folder {folder}; put the data there (antiphon data get {name})")
    return folder
