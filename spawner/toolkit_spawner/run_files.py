"""The files of a run on the host: made before its container, by root, for uid 13011."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID

__all__ = ["prepare_run_files"]


def prepare_run_files(run_dir: Path, home_dir: Path, run_file: dict[str, Any]) -> None:
    """Make the log, run.json and the home. Twice is fine: a log that has begun is kept. Blocks for some file calls."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Files are mounted one by one, so the user can neither remove a log nor put a link in its place.
    log = os.open(run_dir / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.fchown(log, CONTAINER_UID, CONTAINER_GID)
    finally:
        os.close(log)
    _write_run_file(run_dir / "run.json", run_file)
    _make_home(home_dir)


def _write_run_file(path: Path, content: dict[str, Any]) -> None:
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, 0o400)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file)
        os.fchown(file.fileno(), CONTAINER_UID, CONTAINER_GID)


def _make_home(home_dir: Path) -> None:
    if home_dir.is_symlink():
        raise OSError(f"{home_dir} is a symbolic link; a home must be a folder of its own")
    if home_dir.exists():
        return
    home_dir.mkdir(parents=True, mode=0o700)
    os.chown(home_dir, CONTAINER_UID, CONTAINER_GID, follow_symlinks=False)
