"""Secrets that the units of one site share: random, one file each, made at first need, readable by the owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

__all__ = ["private_dir", "read_secret", "site_secret", "write_private"]


def private_dir(path: Path) -> Path:
    """Make `path` and close it to everyone but its owner."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str, *, replace: bool = True) -> bool:
    """Write a 0600 file in one step: readers see nothing or all of it.

    Returns whether it was written; with ``replace=False`` an existing file is left as it is.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(temporary).replace(path)
            return True
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def site_secret(state_dir: Path, name: str) -> str:
    """The secret called `name`, made when it is not there yet. Two processes that ask at once get the same one."""
    path = private_dir(state_dir / "secrets") / name
    if not path.exists():
        write_private(path, secrets.token_hex(32), replace=False)
    return read_secret(path)


def read_secret(path: Path) -> str:
    return path.read_text().strip()
