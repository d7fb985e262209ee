"""Sweeps of the state folder: logs, leftovers of runs, old runtimes, account files.

What a run wrote is its user's: nothing is followed through links, and names are checked before anything is removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit_hub import clock
from toolkit_hub.domain import retention
from toolkit_hub.garbage.sweep import Due, Ground, LeftAlone, Who
from toolkit_spawner.engine_stock import image_ids, images_in_use
from toolkit_spawner.run_files import remove_tree

__all__ = ["account_files", "logs", "no_build", "run_leftovers", "runtimes"]

RUN_FOLDER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RUNTIME_VERSION = re.compile(r"[0-9a-f]{16}")
ACCOUNTS_FOLDER = re.compile(r"sha256-[0-9a-f]{64}")
#: What only a living container needs of its run's folder.
SCRATCH = ("home", "run.json")
#: A start that still reads the old link, and the folder of a build that broke off, are older than this.
SWITCH_GRACE_S = 3600
BUILD_GRACE_S = 24 * 3600


async def logs(ground: Ground, limit: int) -> list[Due]:
    """Logs past `log_retention`, with the run's folder."""
    found = await ground.store.read(retention.due_logs, ground.periods, limit)
    return [await asyncio.to_thread(_log, ground, due) for due in found]


def _log(ground: Ground, due: retention.DueLog) -> Due:
    folder = ground.runs_dir / due.run_id

    async def remove(who: Who) -> None:
        await ground.store.write(retention.mark_log_removed, due, who.actor, who.request_id)
        await _remove(folder)

    return Due("log", due.run_id, f"its run ended on {due.ended:%Y-%m-%d}", remove, _size(folder))


async def run_leftovers(ground: Ground, limit: int) -> list[Due]:
    """Scratch of ended runs that their end did not take along, folders whose log is gone, and folders of no known run."""
    names = await asyncio.to_thread(_names, ground.runs_dir, RUN_FOLDER)
    settled = await ground.store.read(retention.settled, names)
    known = await ground.store.read(retention.known, names)
    return await asyncio.to_thread(_leftovers, ground, names, settled, known, limit)


def _leftovers(ground: Ground, names: list[str], settled: dict[str, bool], known: set[str], limit: int) -> list[Due]:
    due: list[Due] = []
    for name in names:
        folder = ground.runs_dir / name
        if settled.get(name):
            due.append(_folder(ground, "run-folder", folder, "its log was removed before"))
        elif name in settled:
            scratch = [folder / part for part in SCRATCH if os.path.lexists(folder / part)]
            due += [_folder(ground, "run-scratch", path, "its run has ended") for path in scratch]
        elif name not in known and _is_old(ground, folder):
            # A database that was restored from a copy may just not know it yet, so it has the time of a log.
            due.append(_folder(ground, "run-folder", folder, "it belongs to no run, and is older than log_retention"))
        if len(due) >= limit:
            break
    return due


def _is_old(ground: Ground, folder: Path) -> bool:
    if ground.periods.logs is None:
        return False
    times = [folder.lstat().st_mtime, *(entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder))]
    return max(times) < clock.now().timestamp() - ground.periods.logs.total_seconds()


async def runtimes(ground: Ground, _limit: int) -> list[Due]:
    """Versions of the runtime that are not current and that no container mounts."""
    used = await images_in_use(ground.engine)

    def find() -> list[Due]:
        link = ground.runtime_dir / "current"
        if not link.is_symlink() or time.time() - link.lstat().st_mtime < SWITCH_GRACE_S:
            return []
        current = os.readlink(link)
        due = []
        for path in ground.runtime_dir.iterdir():
            if RUNTIME_VERSION.fullmatch(path.name) and path.name != current and not used.mounts(path):
                due.append(_runtime(ground, path, "it is not the current one, and no container mounts it"))
            elif path.name.startswith((".fresh-", ".base-")) and time.time() - path.lstat().st_mtime > BUILD_GRACE_S:
                due.append(_runtime(ground, path, "the build that made it broke off"))
        return due

    return await asyncio.to_thread(find)


def _runtime(ground: Ground, path: Path, reason: str) -> Due:
    async def remove(who: Who) -> None:
        with no_build(ground.runtime_dir):
            await _folder(ground, "runtime", path, reason).remove(who)

    return Due("runtime", path.name, reason, remove, _size(path))


@contextmanager
def no_build(runtime_dir: Path) -> Iterator[None]:
    """Keep builds of images and runtime out for a moment. Raises `LeftAlone` while one is at work."""
    with (runtime_dir / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeftAlone("images are being built") from None
        yield


async def account_files(ground: Ground, limit: int) -> list[Due]:
    """passwd and group files of images that are no longer on the engine."""
    names = await asyncio.to_thread(_names, ground.accounts_dir, ACCOUNTS_FOLDER)
    if not names:
        return []
    present = {image_id.replace(":", "-") for image_id in await image_ids(ground.engine)}
    used = await images_in_use(ground.engine)

    def find() -> list[Due]:
        gone = [ground.accounts_dir / name for name in names if name not in present]
        return [
            _folder(ground, "accounts", path, "its image is no longer on this machine")
            for path in gone[:limit]
            if not used.mounts(path)
        ]

    return await asyncio.to_thread(find)


# --- files ----------------------------------------------------------------------------------------------------------------


def _folder(ground: Ground, kind: str, path: Path, reason: str) -> Due:
    name = str(path.relative_to(ground.runs_dir)) if path.is_relative_to(ground.runs_dir) else path.name

    async def remove(who: Who) -> None:
        await _remove(path)
        await ground.store.write(
            retention.record_removal, kind, name, reason, actor=who.actor, request_id=who.request_id
        )

    return Due(kind, name, reason, remove, _size(path))


async def _remove(path: Path) -> None:
    try:
        await asyncio.to_thread(_remove_now, path)
    except OSError as error:
        raise LeftAlone(f"{path} cannot be removed: {error.strerror}") from error


def _remove_now(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _names(folder: Path, form: re.Pattern[str]) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if form.fullmatch(name))
    except FileNotFoundError:
        return []


def _size(path: Path) -> int:
    """Bytes on disk of a file, or of a folder's own files and those below it."""
    try:
        own = path.lstat().st_blocks * 512
        if not path.is_dir() or path.is_symlink():
            return own
        return own + sum(
            (Path(folder) / name).lstat().st_blocks * 512 for folder, _, names in os.walk(path) for name in names
        )
    except OSError:
        return 0  # it changes while it is looked at
