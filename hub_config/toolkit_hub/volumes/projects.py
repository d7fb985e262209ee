"""Project quotas: limits that the file system itself keeps, so that a job that writes too much is refused while it writes.

Each account is a *project* of the file system: a number that its folders carry and that new files in them inherit. There are such
quotas on XFS and ext4 that are mounted with `prjquota`. Which number is whose stands in DATA_ROOT/projects, on the same disk
as the marks; a number is never given twice.

They are a net, not the policy: a job can mark files of its own otherwise, so what is counted is still found by walking.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import split_path
from toolkit_client.transfer.walk import FILE, FOLDER, walk
from toolkit_hub.volumes.copying import open_regular

__all__ = ["Projects", "Taken", "project_of"]

#: The first number; lower ones are an administrator's own, in /etc/projid.
FIRST = 0x5400_0000

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
#: struct fsxattr: flags, two sizes, project, another size, padding.
_ATTRIBUTES = struct.Struct("=5I8x")
_INHERIT = 0x200

_QUOTACTL_FD = 443
_PROJECT_QUOTA = 2
_GET_QUOTA, _SET_QUOTA = 0x800007, 0x800008
#: struct if_dqblk: limits of 1 KiB blocks (hard, soft), bytes, limits of inodes (hard, soft), inodes, two times, what is valid.
_QUOTA = struct.Struct("=8QI4x")
_LIMITS_VALID = 1 | 4
_BLOCK = 1024

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Taken:
    """What the files of a project take: bytes on the disk, and inodes."""

    bytes: int
    inodes: int


class Projects:
    """The projects of one data root. Blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def available(self) -> bool:
        """Whether the file system has project quotas, and they are on."""
        try:
            self._control(_GET_QUOTA, 0, bytearray(_QUOTA.size))
        except OSError as error:
            return error.errno == errno.ENOENT  # they are on, and nothing is in project 0
        return True

    def number_of(self, account_id: str) -> int:
        """The account's project; given to it now if it has none. Raises `OSError`."""
        with (self._root / "projects").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = _read(file)
            if account_id in known:
                return known[account_id]
            number = max(known.values(), default=FIRST - 1) + 1
            file.write(f"{number} {account_id}\n")
            file.flush()
            os.fsync(file.fileno())
            return number

    def numbers(self) -> dict[str, int]:
        """The numbers that were given, by account. Raises `OSError`."""
        try:
            with (self._root / "projects").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return _read(file)
        except FileNotFoundError:
            return {}

    def mark(self, folder: Path, number: int) -> bool:
        """Make all that is in a volume's folder the project's; False if it was before. What comes into it inherits the mark.

        Raises `OSError`, or FileNotFoundError where there is no such folder.
        """
        with Beneath(folder) as marked, Beneath(folder) as walked:
            if project_of(marked.root) == number:
                return False
            # What is on its way in comes first, the volume's own folder last: a rename into a marked folder takes a marked
            # file, and an interrupted marking is begun anew.
            for part in (b"staging", b"versions", b"live"):
                _mark_below(marked, walked, part, number)
            _set_project(marked.root, number, folder=True)
        return True

    def limit(self, number: int, size: int | None, inodes: int | None) -> None:
        """What the project may take from now on; None: no limit. Raises `OSError`."""
        # Here 0 means no limit; nothing at all is one block, or one inode.
        blocks = 0 if size is None else max(size // _BLOCK, 1)
        count = 0 if inodes is None else max(inodes, 1)
        values = (blocks, blocks, 0, count, count, 0, 0, 0, _LIMITS_VALID)
        self._control(_SET_QUOTA, number, bytearray(_QUOTA.pack(*values)))

    def taken(self, number: int) -> Taken:
        """Raises `OSError`."""
        answer = bytearray(_QUOTA.size)
        try:
            self._control(_GET_QUOTA, number, answer)
        except FileNotFoundError:
            return Taken(0, 0)
        values = _QUOTA.unpack(answer)
        return Taken(values[2], values[5])

    def _control(self, command: int, number: int, block: bytearray) -> None:
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            place = (ctypes.c_char * len(block)).from_buffer(block)
            code = ctypes.c_uint(command << 8 | _PROJECT_QUOTA)
            if _LIBC.syscall(_QUOTACTL_FD, root, code, ctypes.c_uint(number), place) != 0:
                found = ctypes.get_errno()
                raise OSError(found, os.strerror(found))
        finally:
            os.close(root)


def _read(file: TextIO) -> dict[str, int]:
    file.seek(0)
    return {account: int(number) for number, account in map(str.split, file.read().splitlines())}


def project_of(file: int) -> int:
    """The project of an open file or folder. Raises `OSError` where there are no projects."""
    return _attributes(file)[3]


def _attributes(file: int) -> tuple[int, ...]:
    block = bytearray(_ATTRIBUTES.size)
    fcntl.ioctl(file, _GET_ATTRIBUTES, block)
    return _ATTRIBUTES.unpack(block)


def _set_project(file: int, number: int, *, folder: bool) -> None:
    flags, size, extents, _, clone_size = _attributes(file)
    if folder:
        flags |= _INHERIT
    fcntl.ioctl(file, _SET_ATTRIBUTES, _ATTRIBUTES.pack(flags, size, extents, number, clone_size))


def _mark_below(marked: Beneath, walked: Beneath, part: bytes, number: int) -> None:
    """A folder before it is listed: what comes into it later inherits the mark, what was there before is in the list."""
    try:
        _set_project(marked.folder(part), number, folder=True)
    except NotFound:
        return
    for path, kind in _things(walked, part):
        try:
            if kind == FOLDER:
                _set_project(marked.folder(path), number, folder=True)
                continue
            parent, name = split_path(path)
            file = open_regular(name, marked.folder(parent))
        except NotFound:
            continue
        if file is not None:
            try:
                _set_project(file, number, folder=False)
            finally:
                os.close(file)


def _things(walked: Beneath, part: bytes) -> Iterator[tuple[bytes, str]]:
    for entry in walk(walked, part):
        if entry.kind in (FILE, FOLDER):
            yield entry.path, entry.kind
