"""A large file that comes in chunks, written in a staging folder until it is whole."""

from __future__ import annotations

import contextlib
import os

from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.partial import PartialBusy, open_partial
from toolkit_client.transfer.records import CHUNK_SIZE, Digest
from toolkit_client.transfer.walk import Entry

__all__ = ["CREATE", "Incoming", "Refused", "write_all", "write_all_at"]

#: How a file of the moment is made in a staging folder.
CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_ZEROS = bytes(4096)
#: Bytes that are written at a time. Of larger pieces Linux's page cache makes larger folios, which it has to search for where
#: memory is fragmented: 1 MiB at a time was measured to take seven times the system time.
_WRITE_SIZE = 128 * 1024


class Refused(Exception):
    """This entry cannot be put there: why, in words."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Incoming:
    """One file. `at` is how far its content has come; `bad` why the rest of it is read and thrown away."""

    def __init__(self, entry: Entry, staging: int, name: bytes = b"", file: int = -1, *, sparse: bool = False) -> None:
        self.entry, self.name, self.bad, self.at = entry, name, "", 0
        self._staging, self._file, self._sparse = staging, file, sparse
        self._digest = Digest(entry.size)
        self._kept = False
        self._began = 0
        #: The half-sent file that somebody else was writing when this one began.
        self._other = ""

    @classmethod
    def thrown_away(cls, entry: Entry, why: str) -> Incoming:
        made = cls(entry, -1)
        made.bad = why
        return made

    @classmethod
    def begin(cls, entry: Entry, staging: int, kept: str, fresh: bytes, offset: int, *, sparse: bool) -> Incoming:
        """Go on with the half-sent file `kept` from `offset` on, or begin it; or `fresh`, where somebody else writes that one.

        Raises:
            Refused: what was sent before is not there any more.
            OSError: it cannot be written.
        """
        try:
            made = cls(entry, staging, kept.encode(), open_partial(staging, kept), sparse=sparse)
            made._kept = True
        except PartialBusy:
            if offset:
                raise Refused("somebody else sends the same file just now", "partial") from None
            made = cls(entry, staging, fresh, os.open(fresh, CREATE, 0o600, dir_fd=staging), sparse=sparse)
            made._other = kept
        try:
            made._go_on(offset)
        except BaseException:
            os.close(made._file)
            raise
        return made

    def _go_on(self, offset: int) -> None:
        for at in range(0, offset, CHUNK_SIZE):
            data = os.pread(self._file, CHUNK_SIZE, at)
            if len(data) != CHUNK_SIZE:
                raise Refused("what was sent before is not there any more", "partial")
            self._digest.chunk(data)
        os.ftruncate(self._file, offset)
        self.at = self._began = offset

    def chunk(self, content: memoryview) -> None:
        """Raises InvalidRequest, OSError."""
        length = len(content)
        if length != min(CHUNK_SIZE, self.entry.size - self.at) or not length:
            raise InvalidRequest("the stream is not well-formed: a chunk has another length than it should", "")
        if not self.bad:
            self._digest.chunk(content)
            if self._sparse:
                _write_without_zeros(self._file, content, self.at)
            else:
                write_all_at(self._file, content, self.at)
        self.at += length

    def hole(self, chunks: int) -> None:
        """Raises InvalidRequest."""
        if self.at + chunks * CHUNK_SIZE > self.entry.size:
            raise InvalidRequest("the stream is not well-formed: a hole goes past the file's end", "")
        self._digest.zeros(chunks)
        self.at += chunks * CHUNK_SIZE

    def is_right(self, digest: bytes) -> bool:
        """Whether all of it came, and as it was sent."""
        return not self.bad and self.at == self.entry.size and self._digest.digest() == digest

    def settle(self) -> int:
        """Give it its length, mode and time; returns the bytes that it takes on the disk. Raises OSError."""
        os.ftruncate(self._file, self.entry.size)
        os.fchmod(self._file, self.entry.mode)
        os.utime(self._file, ns=(self.entry.mtime_ns, self.entry.mtime_ns))
        return os.fstat(self._file).st_blocks * 512

    def close(self, *, drop: bool = False) -> int:
        """Let go of it. `drop`: what came of it goes; else it stays under its name, in whole chunks, to be gone on with.
        Returns the bytes that stay and were not there before."""
        if self._file < 0:
            return 0
        kept = 0
        with contextlib.suppress(OSError):
            if drop or not self._kept:
                os.unlink(self.name, dir_fd=self._staging)
            else:
                os.ftruncate(self._file, self.at // CHUNK_SIZE * CHUNK_SIZE)
                kept = self.at // CHUNK_SIZE * CHUNK_SIZE - self._began
        self.let_go()
        return kept

    def drop_other(self) -> None:
        """It was put in its place: what somebody else has given up of the same file goes, for nobody goes on with that."""
        if self._other:
            with contextlib.suppress(PartialBusy, OSError):
                file = open_partial(self._staging, self._other)
                try:
                    os.unlink(self._other, dir_fd=self._staging)
                finally:
                    os.close(file)

    def let_go(self) -> None:
        """Close it as it is: it was put in its place."""
        os.close(self._file)
        self._file = -1


def write_all(file: int, content: memoryview) -> None:
    while content:
        content = content[os.write(file, content) :]


def write_all_at(file: int, content: memoryview, at: int) -> None:
    while content:
        written = os.pwrite(file, content[:_WRITE_SIZE], at)
        content, at = content[written:], at + written


def _write_without_zeros(file: int, content: memoryview, at: int) -> None:
    """Leave holes where whole blocks are zeros: who sends a sparse file sends some of its holes as zeros."""
    begin = 0
    for position in range(0, len(content), 4096):
        block = content[position : position + 4096]
        if bytes(block) == _ZEROS[: len(block)]:
            if position > begin:
                write_all_at(file, content[begin:position], at + begin)
            begin = position + 4096
    if len(content) > begin:
        write_all_at(file, content[begin:], at + begin)
