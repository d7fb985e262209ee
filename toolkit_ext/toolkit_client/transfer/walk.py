"""What a folder holds, in one order that both ends of a transfer share.

Depth first; the entries of a folder by the bytes of their names; a folder before what is in it. Two walks in this order can be
compared while they run (`compare`), so neither end ever holds a whole tree: one folder's names at a time are kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import split_path

__all__ = ["FILE", "FOLDER", "LINK", "OTHER", "Entry", "Problem", "entry_at", "entry_of", "order", "walk"]

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"

#: Told of what could not be read: the path, and why.
Problem = Callable[[bytes, str], None]


class Entry(NamedTuple):
    """One name in a tree. `mode` is the permission bits; `blocks` are of 512 bytes; `target` is where a link points."""

    path: bytes
    kind: str
    mode: int
    size: int
    mtime_ns: int
    blocks: int = 0
    links: int = 1
    target: bytes = b""
    #: Since when the inode is as it is; 0 where nobody knows.
    ctime_ns: int = 0


def order(path: bytes) -> bytes:
    """A key by which the paths of a walk ascend: a slash sorts before everything that a name can have."""
    return path.replace(b"/", b"\0")


def entry_of(path: bytes, found: os.stat_result, target: bytes = b"") -> Entry:
    mode = found.st_mode
    if stat.S_ISREG(mode):
        kind = FILE
    elif stat.S_ISDIR(mode):
        kind = FOLDER
    elif stat.S_ISLNK(mode):
        kind = LINK
    else:
        kind = OTHER
    return Entry(
        path,
        kind,
        mode & 0o777,
        found.st_size if kind == FILE else 0,
        found.st_mtime_ns,
        found.st_blocks,
        found.st_nlink,
        target,
        found.st_ctime_ns,
    )


def entry_at(beneath: Beneath, path: bytes) -> Entry:
    """The entry of one path (``b""``: the root itself). Raises NotFound, OSError."""
    if not path:
        return entry_of(b"", os.fstat(beneath.root))
    folder, name = split_path(path)
    parent = beneath.folder(folder)
    try:
        return _entry(parent, path, name)
    except FileNotFoundError:
        raise NotFound(
            f"there is no {os.fsdecode(path)!r} in it", "`toolkit data content ls` shows what there is"
        ) from None


def walk(
    beneath: Beneath,
    start: bytes = b"",
    *,
    problem: Problem = lambda path, why: None,
    leave_out: Callable[[bytes], bool] | None = None,
    recursive: bool = True,
) -> Iterator[Entry]:
    """The entries below the folder `start`, without itself; paths are from the root of `beneath`.

    What goes away while it is walked is left out; what cannot be read is told to `problem`. What `leave_out` is true for is
    passed over, with all that is in it.

    Raises:
        NotFound: `start` is not there, or is no folder.
    """
    # Of each folder on the way only how long its path is: whole paths of deep trees would be gigabytes.
    stack = [(len(start), iter(_names(beneath.folder(start))))]
    prefix = start
    while stack:
        length, names = stack[-1]
        prefix = prefix[:length]
        before = prefix + b"/" if prefix else b""
        try:
            folder = beneath.folder(prefix)
        except (OSError, NotFound):
            stack.pop()
            continue
        for name in names:
            path = before + name
            if leave_out is not None and leave_out(path):
                continue
            try:
                entry = _entry(folder, path, name)
            except FileNotFoundError:
                continue
            except OSError as error:
                problem(path, error.strerror or str(error))
                continue
            yield entry
            if entry.kind == FOLDER and recursive:
                inside = _enter(beneath, path, problem)
                if inside:
                    stack.append((len(path), iter(inside)))
                    prefix = path
                    break
        else:
            stack.pop()


def _enter(beneath: Beneath, path: bytes, problem: Problem) -> list[bytes]:
    try:
        return _names(beneath.folder(path))
    except NotFound:
        return []  # it went, or is something else by now
    except OSError as error:
        problem(path, error.strerror or str(error))
        return []


def _names(folder: int) -> list[bytes]:
    names = [os.fsencode(name) for name in os.listdir(folder)]
    names.sort()
    return names


def _entry(folder: int, path: bytes, name: bytes) -> Entry:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(found.st_mode) else b""
    return entry_of(path, found, target)
