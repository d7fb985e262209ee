"""The list of what a version holds: true modes and times, any byte in names, read and written in constant memory.

::

    MAGIC  began                    when the commit began, in nanoseconds, by the file system's own clock
    record path-suffix target       one for each entry, in the order of a walk
    …
    record                          of kind END: how many files there are, and their bytes; without it the list is broken off

A record says how many bytes its path has in common with the one before; the rest of it follows, then a link's target.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry

__all__ = ["BrokenManifest", "ManifestWriter", "read_began", "read_entries", "read_manifest"]

MAGIC = b"toolkit version 1\n"
_BEGAN = struct.Struct("<q")
#: Kind, mode, bytes of the path in common, bytes of the rest, bytes of the target, size, mtime in ns, blocks of 512 bytes.
_RECORD = struct.Struct("<cHIIIQqQ")
_KINDS = {FILE: b"f", FOLDER: b"d", LINK: b"l"}
_NAMES = {letter: name for name, letter in _KINDS.items()}
_END = b"e"
#: More than any path or target of ours has: what says so is no manifest.
_LONGEST = 1 << 24


class BrokenManifest(Exception):
    """The list was not written to its end, or was damaged."""


class ManifestWriter:
    """Writes entries in the order in which they come, which is that of a walk."""

    def __init__(self, file: BinaryIO, began_ns: int) -> None:
        self._file = file
        self._before = b""
        self.files = 0
        self.bytes = 0
        file.write(MAGIC + _BEGAN.pack(began_ns))

    def add(self, entry: Entry) -> None:
        common = _common(self._before, entry.path)
        self._before = entry.path
        rest = entry.path[common:]
        if entry.kind == FILE:
            self.files += 1
            self.bytes += entry.size
        record = _RECORD.pack(
            _KINDS[entry.kind],
            entry.mode,
            common,
            len(rest),
            len(entry.target),
            entry.size,
            entry.mtime_ns,
            entry.blocks,
        )
        self._file.write(record + rest + entry.target)

    def end(self) -> None:
        """The last record, and all of it on the disk."""
        self._file.write(_RECORD.pack(_END, 0, 0, 0, 0, self.files, self.bytes, 0))
        self._file.flush()
        os.fsync(self._file.fileno())


def read_began(file: BinaryIO) -> int:
    """When the commit began, in nanoseconds. Leaves the file before its first entry. Raises `BrokenManifest`."""
    head = file.read(len(MAGIC) + _BEGAN.size)
    if len(head) != len(MAGIC) + _BEGAN.size or not head.startswith(MAGIC):
        raise BrokenManifest("this is no list of a version")
    return int(_BEGAN.unpack(head[len(MAGIC) :])[0])


def read_manifest(file: BinaryIO) -> Iterator[Entry]:
    """The entries, in the order of a walk. `file` is at its beginning; buffered, or it is slow.

    Raises `BrokenManifest`, perhaps after some entries.
    """
    read_began(file)
    yield from read_entries(file)


def read_entries(file: BinaryIO) -> Iterator[Entry]:
    """What `read_manifest` gives, after `read_began`."""
    path = b""
    while True:
        raw = file.read(_RECORD.size)
        if len(raw) != _RECORD.size:
            raise BrokenManifest("the list of the version breaks off")
        letter, mode, common, rest, target, size, mtime_ns, blocks = _RECORD.unpack(raw)
        if letter == _END:
            return
        if letter not in _NAMES or common > len(path) or rest > _LONGEST or target > _LONGEST:
            raise BrokenManifest("the list of the version is damaged")
        text = file.read(rest + target)
        if len(text) != rest + target:
            raise BrokenManifest("the list of the version breaks off")
        path = path[:common] + text[:rest]
        yield Entry(path, _NAMES[letter], mode, size, mtime_ns, blocks, target=text[rest:])


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with. The folder is in common most of the time, and only the last name is looked at."""
    start = one.rfind(b"/") + 1
    if one[:start] != other[:start]:
        start = 0
    end = min(len(one), len(other))
    while start < end and one[start] == other[start]:
        start += 1
    return start
