"""Sweeps of the data root: versions that were never finished or that no row names, and pushes that nobody went on with.

What is being made holds a lock (`flock`) on its list from before its first file to after its row. So a version is looked up in
the store only once its lock is taken here, and then nothing can come of it any more.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from toolkit_client.transfer.staging import MOMENT, clear_unused
from toolkit_hub import clock
from toolkit_hub.domain import data_versions, retention
from toolkit_hub.garbage.sweep import Due, Ground, LeftAlone, Who
from toolkit_spawner.run_files import remove_tree

__all__ = ["nameless_versions", "staged", "unfinished_versions"]

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
VOLUME = re.compile(_ID)
#: What a commit that broke off leaves, and what one that got to its end has made. The id is the group.
UNFINISHED = re.compile(rf"\.({_ID})(?:\.list)?")
FINISHED = re.compile(rf"({_ID})(?:\.list)?")
#: Seconds: a commit that begins now has made its list and not yet locked it.
BEGIN_GRACE_S = 3600
#: Seconds for which a whole version without a row is kept: the database may have been restored from a copy.
NAMELESS_GRACE_S = 7 * 86400
#: Seconds for which what was pushed in part waits for the rest.
STAGED_GRACE_S = 7 * 86400
#: Seconds for which files of the moment stay that a killed push has left, where no push comes that clears them.
MOMENT_GRACE_S = 3600


async def unfinished_versions(ground: Ground, limit: int) -> list[Due]:
    """Folders and lists of commits that broke off."""
    found = await asyncio.to_thread(_versions, ground, UNFINISHED, BEGIN_GRACE_S, limit)
    return [
        _version(ground, versions, version_id, ".", "the commit that made it broke off")
        for versions, version_id in found
    ]


async def nameless_versions(ground: Ground, limit: int) -> list[Due]:
    """Whole versions that the store does not know."""
    found = await asyncio.to_thread(_versions, ground, FINISHED, NAMELESS_GRACE_S, None)
    known = await ground.store.read(data_versions.known_ids, [version_id for _, version_id in found])
    reason = "no version of that id has been known for a week"
    return [
        _version(ground, versions, version_id, "", reason) for versions, version_id in found if version_id not in known
    ][:limit]


def _versions(ground: Ground, form: re.Pattern[str], grace: float, limit: int | None) -> list[tuple[Path, str]]:
    """Each version once, with the folder that it lies in."""
    found: dict[tuple[Path, str], None] = {}
    for volume in _volumes(ground):
        versions = volume / "versions"
        for name in _listed(versions):
            fits = form.fullmatch(name)
            if fits and _age(versions / name) > grace:
                found[versions, fits[1]] = None
        if limit is not None and len(found) >= limit:
            break
    return list(found)[:limit]


def _version(ground: Ground, versions: Path, version_id: str, dot: str, reason: str) -> Due:
    folder, manifest = versions / f"{dot}{version_id}", versions / f"{dot}{version_id}.list"
    name = f"{versions.parent.name}/{version_id}"

    async def remove(who: Who) -> None:
        with _unlocked(manifest):
            if await ground.store.read(data_versions.known_ids, [version_id]):
                raise LeftAlone("it is a version now")
            await asyncio.to_thread(_remove, folder, manifest)
        await _record(ground, "data-version", name, reason, who)

    return Due("data-version", name, reason, remove)


@contextmanager
def _unlocked(manifest: Path) -> Iterator[None]:
    """Holds the lock that a commit would hold. Raises `LeftAlone` while one does."""
    try:
        file = manifest.open("rb")
    except FileNotFoundError:
        yield  # only a folder is left: its list went first
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeftAlone("it is being committed") from None
        yield


async def staged(ground: Ground, limit: int) -> list[Due]:
    """What pushes have left in `staging`, and nobody has touched for long."""
    found = await asyncio.to_thread(_staged, ground, limit)
    return [_leftover(ground, path) for path in found]


def _staged(ground: Ground, limit: int) -> list[Path]:
    found: list[Path] = []
    for volume in _volumes(ground):
        staging = volume / "staging"
        found += [staging / name for name in _listed(staging) if _is_idle(staging / name)]
        if len(found) >= limit:
            break
    return found[:limit]


def _is_idle(path: Path) -> bool:
    inside = [path / name for name in _listed(path)] if path.is_dir() and not path.is_symlink() else []
    grace = MOMENT_GRACE_S if path.name.startswith(MOMENT) else STAGED_GRACE_S
    return all(_age(one) > grace for one in (path, *inside))


def _leftover(ground: Ground, path: Path) -> Due:
    name = f"{path.parent.parent.name}/{path.name}"
    of_the_moment = path.name.startswith(MOMENT)
    reason = "the push that " + ("wrote it was killed" if of_the_moment else "it belongs to has not gone on for a week")

    async def remove(who: Who) -> None:
        await asyncio.to_thread(_clear if of_the_moment else _remove, path)
        await _record(ground, "staged-data", name, reason, who)

    return Due("staged-data", name, reason, remove)


def _clear(path: Path) -> None:
    """Raises `LeftAlone` while a push holds the folder."""
    staging = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not clear_unused(staging):
            raise LeftAlone("a push is on its way")
    finally:
        os.close(staging)


# --- files ----------------------------------------------------------------------------------------------------------------


def _volumes(ground: Ground) -> Iterator[Path]:
    for name in _listed(ground.volumes.root):
        if VOLUME.fullmatch(name):
            yield ground.volumes.root / name


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _age(path: Path) -> float:
    """Seconds since it was last changed, by its inode: times that a push or a commit has set do not count."""
    with suppress(FileNotFoundError):
        return clock.now().timestamp() - path.lstat().st_ctime
    return 0.0


def _remove(*paths: Path) -> None:
    try:
        for path in paths:
            remove_tree(path)
    except OSError as error:
        raise LeftAlone(f"{error.strerror}") from error


async def _record(ground: Ground, kind: str, name: str, reason: str, who: Who) -> None:
    await ground.store.write(retention.record_removal, kind, name, reason, actor=who.actor, request_id=who.request_id)
