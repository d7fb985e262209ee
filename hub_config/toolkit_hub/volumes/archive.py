"""A folder as a tar file (pax format, POSIX.1-2001), made while it is read: in constant memory, and following no link."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.sender import open_file
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry, walk

__all__ = ["archive_blocks"]

_READ = 512 * 1024


def archive_blocks(beneath: Beneath, path: bytes, name: bytes) -> Iterator[bytes]:
    """The archive of the folder `path`, whose own name in it is `name`. A file that becomes shorter while it is read is filled
    with zeros; what goes away, or is neither file, folder nor link, is left out."""
    yield _header(Entry(name, FOLDER, 0o755, 0, 0))
    cut = len(path) + 1 if path else 0
    for entry in walk(beneath, path):
        inside = entry._replace(path=name + b"/" + entry.path[cut:])
        if entry.kind == FILE:
            yield from _file(beneath, entry.path, inside)
        elif entry.kind in (FOLDER, LINK):
            yield _header(inside)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(beneath: Beneath, path: bytes, inside: Entry) -> Iterator[bytes]:
    try:
        file = open_file(beneath, path)
    except (NotFound, OSError):
        return
    try:
        size = os.fstat(file).st_size
        yield _header(inside._replace(size=size))
        at = 0
        while at < size:
            block = os.pread(file, min(_READ, size - at), at) or bytes(min(_READ, size - at))
            at += len(block)
            yield block
        yield bytes(-size % tarfile.BLOCKSIZE)
    finally:
        os.close(file)


def _header(entry: Entry) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(entry.path))
    info.mode, info.mtime = entry.mode, entry.mtime_ns // 1_000_000_000
    if entry.kind == FOLDER:
        info.type = tarfile.DIRTYPE
    elif entry.kind == LINK:
        info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(entry.target)
    else:
        info.size = entry.size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
