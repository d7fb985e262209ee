"""From files to records: the end of a transfer that has the files."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from toolkit_client.errors import NotFound, ToolkitError
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.records import (
    CHUNK_SIZE,
    END,
    ENTRY,
    NOTE,
    REMOVE,
    SMALL,
    SMALL_SIZE,
    Digest,
    Encoder,
)
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry, entry_of

__all__ = ["READ_FLAGS", "Sender", "Wanted", "digest_of", "open_file"]

#: A FIFO that was put in the place of a file must not hang whoever opens it.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Small records are sent together until they are so many bytes.
_BLOCK = 512 * 1024
#: Chunks of what the other end has already, after which a sign of life is sent.
_SIGN_OF_LIFE = 1024


_ALIVE = Encoder.hole(0)


class Wanted(NamedTuple):
    """What is to be sent: an entry as it was seen, where the other end has it already up to, and whether it is to go."""

    entry: Entry
    offset: int = 0
    remove: bool = False
    #: The name at the other end, where that is another one.
    as_path: bytes | None = None
    #: Mode and time are the entry's, not the file's: those of a version's files are its manifest's.
    as_entry: bool = False
    #: Of a file whose content is right already.
    only_mode: bool = False


class _Gone(Exception):
    """It cannot be sent: why, in words."""


def open_file(beneath: Beneath, path: bytes) -> int:
    """A descriptor of a regular file. Raises NotFound for anything else, and OSError."""
    folder, name = split_path(path)
    try:
        file = os.open(name, READ_FLAGS, dir_fd=beneath.folder(folder))
    except FileNotFoundError:
        raise NotFound(f"there is no {text_of_path(path)!r} in it", "") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotFound(f"{text_of_path(path)!r} is no regular file", "") from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotFound(f"{text_of_path(path)!r} is no regular file", "")
    return file


def digest_of(file: int, size: int) -> bytes:
    """The digest of the first `size` bytes of an open file."""
    digest = Digest(size)
    for at in range(0, max(size, 1), CHUNK_SIZE):
        digest.chunk(_read_at(file, at, min(CHUNK_SIZE, size - at)))
    return digest.digest()


class Sender:
    """Reads what is wanted below one folder, and gives blocks of records.

    What cannot be read is a NOTE in the stream, and does not stop the rest. `files` and `bytes` count what was sent.
    """

    def __init__(self, beneath: Beneath) -> None:
        self._beneath = beneath
        self._encoder = Encoder()
        self.files = 0
        self.bytes = 0
        self.problems = 0

    def blocks(self, wanted: Iterable[Wanted | None]) -> Iterator[bytes]:
        """The stream, with its END, in pieces of some hundred KiB. None: nothing yet, but a sign of life."""
        waiting: list[bytes] = []
        size = 0
        for item in wanted:
            for piece in self._pieces(item):
                waiting.append(piece)
                size += len(piece)
                if size >= _BLOCK or piece is _ALIVE:
                    yield b"".join(waiting)
                    waiting, size = [], 0
        waiting.append(self._encoder.note(END, {"files": self.files, "bytes": self.bytes}))
        yield b"".join(waiting)

    def _pieces(self, item: Wanted | None) -> Iterator[bytes]:
        if item is None:
            yield _ALIVE
            return
        entry = item.entry
        try:
            if item.remove:
                yield self._encoder.entry(REMOVE, entry)
            elif entry.kind == FILE and not item.only_mode:
                yield from self._file(item)
            elif entry.kind in (FILE, FOLDER, LINK):
                yield self._encoder.entry(ENTRY, _renamed(item, entry))
        except (_Gone, ToolkitError, OSError) as error:
            self.problems += 1
            why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            yield self._encoder.note(NOTE, {"path": text_of_path(entry.path), "problem": why})

    def _file(self, item: Wanted) -> Iterator[bytes]:
        try:
            file = open_file(self._beneath, item.entry.path)
        except NotFound:
            raise _Gone("it went away, or is no regular file any more") from None
        try:
            found = os.fstat(file)
            entry = item.entry if item.as_entry else entry_of(item.entry.path, found)
            if found.st_size <= SMALL_SIZE:
                yield self._small(file, found.st_size, _renamed(item, entry))
            else:
                yield from self._large(file, found, _renamed(item, entry), item)
        finally:
            os.close(file)
        self.files += 1

    def _small(self, file: int, size: int, entry: Entry) -> bytes:
        content = os.read(file, size) if size else b""
        if len(content) != size:
            entry = entry._replace(size=len(content))
        self.bytes += len(content)
        return self._encoder.entry(SMALL, entry, hashlib.sha256(content).digest(), content)

    def _large(self, file: int, found: os.stat_result, entry: Entry, item: Wanted) -> Iterator[bytes]:
        """A file in chunks. One that grows is sent as long as it was when it was opened."""
        size = found.st_size
        same = (size, found.st_mtime_ns) == (item.entry.size, item.entry.mtime_ns) or item.as_entry
        offset = item.offset // CHUNK_SIZE * CHUNK_SIZE if same and item.offset < size else 0
        sparse = found.st_blocks * 512 < size
        yield self._encoder.begin(entry._replace(size=size), offset, sparse=sparse)
        digest = Digest(size)
        at, short = 0, False
        while at < size:
            hole = _whole_chunks_of_hole(file, at, size) if sparse else 0
            if hole:
                digest.zeros(hole)
                if at + hole * CHUNK_SIZE > offset:
                    yield self._encoder.hole(hole - max(0, offset - at) // CHUNK_SIZE)
                at += hole * CHUNK_SIZE
                continue
            length = min(CHUNK_SIZE, size - at)
            chunk = _read_at(file, at, length)
            if len(chunk) < length:  # it was cut short: the rest is zeros, and the digest tells nobody otherwise
                short = True
                chunk += bytes(length - len(chunk))
            digest.chunk(chunk)
            if at >= offset:
                yield self._encoder.chunk_head(length)
                yield chunk
                self.bytes += length
            elif at // CHUNK_SIZE % _SIGN_OF_LIFE == 0:
                yield _ALIVE
            at += length
        after = os.fstat(file)
        changed = short or after.st_mtime_ns != found.st_mtime_ns or after.st_size != size
        yield self._encoder.finish(digest.digest(), changed)


def _renamed(item: Wanted, entry: Entry) -> Entry:
    return entry if item.as_path is None else entry._replace(path=item.as_path)


def _read_at(file: int, at: int, length: int) -> bytes:
    data = os.pread(file, length, at)
    if len(data) == length or not data:
        return data
    parts = [data]
    read = len(data)
    while read < length:
        more = os.pread(file, length - read, at + read)
        if not more:
            break
        parts.append(more)
        read += len(more)
    return b"".join(parts)


def _whole_chunks_of_hole(file: int, at: int, size: int) -> int:
    """How many whole chunks from `at` on are a hole. Where the file system does not say, none."""
    try:
        data = os.lseek(file, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            return 0
        data = size  # no data behind `at`
    return min((data - at) // CHUNK_SIZE, (size - at) // CHUNK_SIZE)
