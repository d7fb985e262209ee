"""What whoever answers listings, pulls and pushes has in common: the gate for data, and `job_end` for the folders of a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.receiver import PARTIAL, Receiver
from toolkit_client.transfer.records import BEGIN, END, ENTRY, NOTE, Decoder, Encoder
from toolkit_client.transfer.sender import Wanted
from toolkit_client.transfer.walk import FILE, Entry

__all__ = ["asked_for", "half_sent", "listing_blocks", "sums_of"]

_BLOCK = 128 * 1024
_MOST_PARTIALS = 1000


def listing_blocks(
    marked: Iterable[tuple[Entry, int]],
    *,
    notes: list[bytes],
    digest: Callable[[Entry], bytes] = lambda entry: b"",
    partials: dict[str, int] | None = None,
) -> Iterator[bytes]:
    """The stream of a listing: entries with their marks, and with their digests where those are asked for.

    `notes` is emptied into the stream while it is made: before what follows them, so that nobody takes for gone what could not
    be read.
    """
    encoder = Encoder()
    files = size = length = 0
    parts = [] if partials is None else [encoder.note(NOTE, {"partials": partials})]
    for entry, mark in marked:
        if notes:
            parts += notes
            notes.clear()
        if entry.kind == FILE:
            files += 1
            size += entry.size
        parts.append(encoder.entry(ENTRY, entry, digest(entry), mark=mark))
        length += len(parts[-1])
        if length >= _BLOCK:
            yield b"".join(parts)
            parts, length = [], 0
    parts += notes
    parts.append(encoder.note(END, {"files": files, "bytes": size}))
    yield b"".join(parts)


def half_sent(staging: int) -> dict[str, int]:
    """How far the files have come that a push was cut in, by their keys."""
    found: dict[str, int] = {}
    for name in os.listdir(staging):
        if name.startswith(PARTIAL) and len(found) < _MOST_PARTIALS:
            size = os.stat(name, dir_fd=staging, follow_symlinks=False).st_size
            found[name.removeprefix(PARTIAL)] = size
    return found


def asked_for(asked: bytes, *, as_entry: bool = False) -> Iterator[Wanted]:
    """What the body of a pull names. Raises `InvalidRequest`."""
    decoder = Decoder()
    for record in decoder.feed(asked):
        if record.type == BEGIN:
            yield Wanted(record.entry, record.number, as_entry=as_entry)
        elif record.type == ENTRY:
            yield Wanted(record.entry, only_mode=True)
        elif record.type != END:
            raise InvalidRequest("what is asked for are entries, and offsets in them", "")
    if not decoder.ended:
        raise InvalidRequest("the list of what is asked for breaks off", "")


def sums_of(receiver: Receiver) -> dict[str, Any]:
    """The answer to a push."""
    sums = receiver.sums
    return {
        "files": sums.files,
        "bytes": sums.size,
        "removed": sums.removed,
        "problemCount": sums.problem_count,
        "problems": sums.problems,
        "changed": sums.changed,
    }
