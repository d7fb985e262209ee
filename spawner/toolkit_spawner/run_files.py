"""The files of a run on the host: made before its container, by root, for uid 13011."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from toolkit_ext.job_init.log_files import FILES
from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID

__all__ = ["CHECKPOINT", "PREEMPT", "announce_end", "log_shares", "prepare_run_files", "remove_tree"]

#: What the run's log may take. It is not mounted: who reads the log trusts this file, and nothing that the run can write.
LOG_LIMITS = "log.limits"
#: The run touches it when its work is saved; nothing in it is read.
CHECKPOINT = "checkpoint"
#: Holds the time by which the run will be stopped for another one, when it will be; the run can read it only.
PREEMPT = "preempt"


def prepare_run_files(run_dir: Path, home_dir: Path, run_file: dict[str, Any]) -> None:
    """Make the log's files, run.json and the home. Twice is fine: a log that has begun is kept. Blocks for some file calls."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Files are mounted one by one, so the user can neither remove a log nor put a link in its place.
    for name in (*FILES, CHECKPOINT):
        file = os.open(run_dir / name, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            os.fchown(file, CONTAINER_UID, CONTAINER_GID)
        finally:
            os.close(file)
    (run_dir / PREEMPT).touch(mode=0o644)
    limits = {"head": run_file["log_head"], "segment": run_file["log_segment"]}
    (run_dir / LOG_LIMITS).write_text(json.dumps(limits))
    _write_run_file(run_dir / "run.json", run_file)
    _make_home(home_dir)


def announce_end(run_dir: Path, by: datetime) -> None:
    """Tell the run by when it will be stopped: seconds since 1970, and the time for people. The file is a mount: it keeps its
    place on the disk."""
    with contextlib.suppress(FileNotFoundError), (run_dir / PREEMPT).open("r+") as file:
        file.write(f"{int(by.timestamp())} {by:%Y-%m-%dT%H:%M:%SZ}\n")


def log_shares(run_dir: Path) -> tuple[int, int]:
    """Bytes that the head of the run's log, and each segment of its tail, may have. Raises `FileNotFoundError`."""
    limits = json.loads((run_dir / LOG_LIMITS).read_text())
    return int(limits["head"]), int(limits["segment"])


def remove_tree(folder: Path) -> None:
    """Remove a folder that users filled; nothing happens if there is none. Blocks. Raises `OSError` when something is left.

    `rm` follows no link, not one that appears meanwhile either, and copes with any depth, which Python's `rmtree` does not: a
    job can nest folders deeper than Python recurses.
    """
    command = ["rm", "-rf", "--one-file-system", "--", str(folder)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if os.path.lexists(folder):
        raise OSError(0, f"{folder} is not gone: {done.stderr.strip()[:200]}")


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
