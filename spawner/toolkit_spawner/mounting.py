"""Data mounts on this machine: parts of volumes that are held for the engine, and mount points in a run's home.

What lies below a volume's folder belongs to users, who may put a link in the place of a folder at any moment, also between a look
at it and the engine's mount. So a part is opened name by name, without following links, and what was opened is mounted at a path
that only root can change; that path is what the engine is told. (A path below ``/proc`` of this process would do without the
mount, but the engine starts containers in a mount namespace of their own, where the kernel refuses a descriptor of ours.)
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolkit_client.errors import ToolkitError
from toolkit_client.mounts import HOME
from toolkit_client.transfer.beneath import FOLDER_FLAGS, Beneath
from toolkit_client.transfer.paths import path_of_text
from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID
from toolkit_spawner.launch import MountSpec

__all__ = ["HeldParts", "MountProblem", "make_mount_points"]

MS_BIND, MS_PRIVATE, MNT_DETACH, UMOUNT_NOFOLLOW = 4096, 1 << 18, 2, 8
#: Below it the parts are mounted while a container starts. Not in the state folder: nobody removes a tree here.
PLACE = Path("/run/toolkit-mounts")


class MountProblem(Exception):
    """Why data cannot be mounted, in the words that the run's user reads."""


class HeldParts:
    """Parts of volumes, each mounted at a path of ours while it is held. One for each site and process; blocks."""

    def __init__(self, instance: str) -> None:
        self._place = PLACE / instance
        self._ready = False

    @contextmanager
    def hold(self, run: str, mounts: Sequence[MountSpec]) -> Iterator[list[str]]:
        """For each mount of `run` the folder that the engine is to bind; good within the block, and mounted for ever.

        Raises `MountProblem` for a part that is not there, is no folder, or cannot be mounted; OSError for a missing volume.
        """
        if not any(mount.subpath for mount in mounts):
            yield [mount.source for mount in mounts]
            return
        place = self._place / run
        try:
            self._open(place)
            yield [self._held(mount, place / str(index)) for index, mount in enumerate(mounts)]
        finally:
            # All of them at once: the engine finds what was opened at these paths, or nothing.
            _unmount(place)

    def close(self) -> None:
        """Take away the place where parts are mounted, with all that is held there; for a site that is given up."""
        _unmount(self._place)
        self._ready = False

    def _open(self, place: Path) -> None:
        """A file system of its own for the mounts of a run, in one for the site, which is handed on to no other namespace."""
        if not self._ready:
            _unmount(self._place)  # with all that a hub left behind which was killed
            _mount_tmpfs(self._place)
            self._ready = True
        _unmount(place)
        _mount_tmpfs(place)

    @staticmethod
    def _held(mount: MountSpec, place: Path) -> str:
        if not mount.subpath:
            return mount.source
        with Beneath(mount.source) as volume:
            try:
                folder = volume.folder(path_of_text(mount.subpath))
            except ToolkitError as error:
                raise MountProblem(
                    f"{mount.data}/{mount.subpath} cannot be mounted at {mount.target}: {error.message}; only folders are"
                ) from error
            place.mkdir()
            _mount(f"/proc/self/fd/{folder}", place, "", MS_BIND)
            _mount("none", place, "", MS_PRIVATE)
        return str(place)


def make_mount_points(home: Path, mounts: Sequence[MountSpec]) -> None:
    """Have the folders below the home at which data is mounted: the engine would make them root's. Follows no links; blocks.

    Raises `MountProblem` where something else than a folder stands.
    """
    for mount in mounts:
        if mount.target.startswith(f"{HOME}/"):
            _make_folders(home, mount.target.removeprefix(f"{HOME}/"), mount)


def _make_folders(home: Path, path: str, mount: MountSpec) -> None:
    current = os.open(home, FOLDER_FLAGS)
    try:
        for name in path.split("/"):
            inner = _make_folder(current, name, mount)
            os.close(current)
            current = inner
    finally:
        os.close(current)


def _make_folder(parent: int, name: str, mount: MountSpec) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
        made = True
    except FileExistsError:
        made = False
    try:
        folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise MountProblem(
            f"{mount.data} cannot be mounted at {mount.target}: in the home stands {name!r}, which is no folder"
        ) from error
    if made:
        os.fchown(folder, CONTAINER_UID, CONTAINER_GID)
    return folder


# --- the kernel's calls -----------------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)


def _mount_tmpfs(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    _mount("toolkit", place, "tmpfs", 0, "mode=0700,size=1m")
    _mount("none", place, "", MS_PRIVATE)


def _mount(source: str, target: Path, type_: str, flags: int, options: str = "") -> None:
    """Raises `MountProblem`."""
    words = (os.fsencode(source), os.fsencode(target), type_.encode() or None)
    if _libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None) != 0:
        raise MountProblem(
            f"this site cannot mount a part of data: {os.strerror(ctypes.get_errno())} at {target}. The hub has to run as "
            "root; without a subpath data is mounted all the same"
        )


def _unmount(place: Path) -> None:
    """Take away what is mounted there, with everything in it, and the folder. Nothing happens if there is nothing."""
    while _libc.umount2(os.fsencode(place), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        continue
    try:
        place.rmdir()
    except OSError:
        return  # it was never made, or is no longer ours to remove
