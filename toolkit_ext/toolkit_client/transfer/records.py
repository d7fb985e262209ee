"""The stream between both ends of a transfer: records of a type, a length and a payload.

::

    record   type (1 byte)  length (4)  payload
    entry    kind  mode  size  mtime (ns)  shared  path length  extra length  mark   path's rest  extra

`shared` bytes of an entry's path are those of the entry before it in the stream. Numbers are big-endian. A stream is whole only
with its END: a connection that breaks looks like an end to nobody.

==========  ==================================================================================================
ENTRY       something that is there; its extra is a link's target, or a file's digest where that was asked for
SMALL       a whole file: an entry whose extra is the digest, and the content
BEGIN       a file whose content follows from byte `offset` on (8 bytes, behind the entry); its mark is 1 if it has holes
CHUNK       the next bytes of that file: 1 MiB, or less at its end
HOLE        so many MiB of zeros (4 bytes); none at all says only that the sender still lives
FINISH      the digest of the whole file (32 bytes), and 1 if it changed while it was read
REMOVE      an entry that is to go, with all that is in it
NOTE        JSON: what went wrong with one path
END         JSON: the sums
==========  ==================================================================================================

The digest of content is its SHA-256; of more than 1 MiB, the SHA-256 of the digests of its MiBs, so that holes cost nothing
and a file can be gone on with in its middle.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.paths import checked_path
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, OTHER, Entry

__all__ = [
    "BEGIN",
    "CHUNK",
    "CHUNK_SIZE",
    "CONTENT_TYPE",
    "END",
    "ENTRY",
    "FINISH",
    "HOLE",
    "NOTE",
    "REMOVE",
    "SMALL",
    "SMALL_SIZE",
    "Decoder",
    "Digest",
    "Encoder",
    "Record",
    "file_key",
]

CONTENT_TYPE = "application/vnd.toolkit.records"
ENTRY, SMALL, BEGIN, CHUNK, HOLE, FINISH, REMOVE, NOTE, END = b"ESBCHFRNX"

CHUNK_SIZE = 1 << 20
#: Files up to this size are one record.
SMALL_SIZE = 64 * 1024
#: No record is longer: a path, and a chunk or a small file.
_LONGEST = CHUNK_SIZE * 2 + 4096

_HEAD = struct.Struct("!BI")
_META = struct.Struct("!BIQqIIIB")
_OFFSET = struct.Struct("!Q")
_HOLE = struct.Struct("!I")
_KINDS = (FILE, FOLDER, LINK, OTHER)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_ZERO_DIGEST = hashlib.sha256(bytes(CHUNK_SIZE)).digest()
_DIGEST_SIZE = 32


class Digest:
    """The digest of a file's content, fed MiB by MiB from the beginning. `size` is that of the whole file."""

    def __init__(self, size: int) -> None:
        self._one = size <= CHUNK_SIZE
        self._hash = hashlib.sha256()

    def chunk(self, data: bytes | memoryview) -> None:
        self._hash.update(data if self._one else hashlib.sha256(data).digest())

    def zeros(self, chunks: int) -> None:
        while chunks:
            some = min(chunks, 4096)
            self._hash.update(_ZERO_DIGEST * some)
            chunks -= some

    def digest(self) -> bytes:
        return self._hash.digest()


def file_key(base: bytes, entry: Entry) -> str:
    """What a half-sent file is kept under: the same file at the same path, below `base`, goes on where it was cut."""
    facts = b"%d %d %s/%s" % (entry.size, entry.mtime_ns, base, entry.path)
    return hashlib.sha256(facts).hexdigest()[:40]


class Record(NamedTuple):
    """One record, read: which fields it has depends on its type."""

    type: int
    entry: Entry
    #: The content, the digest, or the link's target again.
    extra: bytes
    content: memoryview
    number: int
    mark: int


_NO_ENTRY = Entry(b"", OTHER, 0, 0, 0)
_NOTHING = memoryview(b"")


class Encoder:
    """Writes records; keeps the last path, for the next one."""

    def __init__(self) -> None:
        self._last = b""
        self._folder = b""

    def entry(
        self, type_: int, entry: Entry, extra: bytes = b"", content: bytes | memoryview = b"", mark: int = 0
    ) -> bytes:
        path = entry.path
        shared = self._shared(path)
        rest = path[shared:]
        if not extra:
            extra = entry.target
        length = _META.size + len(rest) + len(extra) + len(content)
        return b"".join(
            (
                _HEAD.pack(type_, length),
                _META.pack(
                    _KIND_NUMBERS[entry.kind],
                    entry.mode,
                    entry.size,
                    entry.mtime_ns,
                    shared,
                    len(rest),
                    len(extra),
                    mark,
                ),
                rest,
                extra,
                content,
            )
        )

    def _shared(self, path: bytes) -> int:
        last, folder = self._last, self._folder
        self._last = path
        if folder and path.startswith(folder):
            self._folder = path[: path.rfind(b"/") + 1]
            return len(folder)
        self._folder = path[: path.rfind(b"/") + 1]
        if last and path.startswith(last + b"/"):
            return len(last)
        return 0

    def begin(self, entry: Entry, offset: int, *, sparse: bool = False) -> bytes:
        return self.entry(BEGIN, entry, content=_OFFSET.pack(offset), mark=sparse)

    @staticmethod
    def chunk_head(length: int) -> bytes:
        """What stands before a chunk's bytes, which need not be copied for it."""
        return _HEAD.pack(CHUNK, length)

    @staticmethod
    def hole(chunks: int) -> bytes:
        return _HEAD.pack(HOLE, _HOLE.size) + _HOLE.pack(chunks)

    @staticmethod
    def finish(digest: bytes, changed: bool) -> bytes:
        return _HEAD.pack(FINISH, _DIGEST_SIZE + 1) + digest + bytes([changed])

    @staticmethod
    def note(type_: int, facts: dict[str, Any]) -> bytes:
        text = json.dumps(facts).encode()
        return _HEAD.pack(type_, len(text)) + text


class Decoder:
    """Reads records from a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        #: The beginning of a record whose rest has not come yet. The memory is kept: fresh memory for each MiB costs more than
        #: all else that is done with it.
        self._buffer = bytearray(SMALL_SIZE)
        self._kept = 0
        self._last = b""
        self.ended = False

    @property
    def between(self) -> bool:
        """Whether the stream stands between two records."""
        return not self._kept

    def feed(self, data: bytes | bytearray) -> Iterator[Record]:
        """The records that are whole by now. A record's `content` is good until the next one is taken.

        Raises:
            InvalidRequest: that is no such stream.
        """
        view, at, end = memoryview(data), 0, len(data)
        while self._kept:
            has_head = self._kept >= _HEAD.size
            whole = self._whole(self._buffer, 0) if has_head else _HEAD.size
            at += self._keep(view[at : at + whole - self._kept], whole)
            if self._kept < whole:
                return
            if has_head:
                yield self._record(self._buffer, memoryview(self._buffer), 0, whole)
                self._kept = 0
        while end - at >= _HEAD.size:
            after = at + self._whole(data, at)
            if after > end:
                break
            yield self._record(data, view, at, after)
            at = after
        self._keep(view[at:], end - at)

    def _whole(self, block: bytes | bytearray, at: int) -> int:
        """The length of the record that begins there."""
        length: int = _HEAD.unpack_from(block, at)[1]
        if length > _LONGEST or self.ended:
            raise InvalidRequest("the stream is not well-formed: a record is too long, or follows its end", "")
        return _HEAD.size + length

    def _keep(self, piece: memoryview, whole: int) -> int:
        """Put it behind what is kept of a record that will be `whole` bytes long; its length."""
        if whole > len(self._buffer):
            fresh = bytearray(max(whole, CHUNK_SIZE + _HEAD.size))
            fresh[: self._kept] = memoryview(self._buffer)[: self._kept]
            self._buffer = fresh
        length = len(piece)
        self._buffer[self._kept : self._kept + length] = piece
        self._kept += length
        return length

    def _record(self, block: bytes | bytearray, view: memoryview, at: int, end: int) -> Record:
        type_, begin = block[at], at + _HEAD.size
        if type_ in (ENTRY, SMALL, BEGIN, REMOVE):
            return self._with_entry(type_, block, view, begin, end)
        if type_ == CHUNK:
            return Record(type_, _NO_ENTRY, b"", view[begin:end], 0, 0)
        if type_ == HOLE and end - begin == _HOLE.size:
            return Record(type_, _NO_ENTRY, b"", _NOTHING, _HOLE.unpack_from(block, begin)[0], 0)
        if type_ == FINISH and end - begin == _DIGEST_SIZE + 1:
            return Record(type_, _NO_ENTRY, bytes(block[begin : end - 1]), _NOTHING, 0, block[end - 1])
        if type_ in (NOTE, END):
            self.ended = type_ == END
            return Record(type_, _NO_ENTRY, bytes(block[begin:end]), _NOTHING, 0, 0)
        raise InvalidRequest(f"the stream is not well-formed: record type {type_}", "")

    def _with_entry(self, type_: int, block: bytes | bytearray, view: memoryview, begin: int, end: int) -> Record:
        if end - begin < _META.size:
            raise InvalidRequest("the stream is not well-formed: an entry is cut", "")
        kind, mode, size, mtime, shared, rest_length, extra_length, mark = _META.unpack_from(block, begin)
        at = begin + _META.size
        after_path, after = at + rest_length, at + rest_length + extra_length
        if kind >= len(_KINDS) or shared > len(self._last) or after > end or size >= 1 << 63:
            raise InvalidRequest("the stream is not well-formed: an entry contradicts itself", "")
        path = self._last[:shared] + block[at:after_path]
        self._last = checked_path(path)
        extra = bytes(block[after_path:after])
        name = _KINDS[kind]
        target = extra if name == LINK else b""
        entry = Entry(path, name, mode & 0o777, size, mtime, 0, 1, target)
        number = _OFFSET.unpack_from(block, after)[0] if type_ == BEGIN and end - after == _OFFSET.size else 0
        return Record(type_, entry, extra, view[after:end], number, mark)
