"""The files of a run's log: the head of the output, its tail, and when it was written.

::

    log           the first bytes of the output
    log.1, log.2  what follows, in segments of equal size that take turns: each starts with its position in the output,
                  and is emptied in place when its turn comes again
    log.times     which position the output had reached at what time

A *position* counts the bytes of the whole output, those that are no longer kept included. All four files exist before the
run starts and are the run's own: whoever reads them trusts nothing in them. Their sizes say how far they have been written,
so that nothing is lost when the writer is killed.
"""

from __future__ import annotations

import errno
import os
import time

__all__ = [
    "FILES",
    "LAST_POSITION",
    "SEGMENTS",
    "SEGMENT_HEADER",
    "TIMES",
    "TIMES_HEADER",
    "TIMES_RECORD",
    "TIMES_RECORDS",
    "LogFiles",
    "TimeIndex",
    "shares",
]

#: What is put after the name of the log.
SEGMENTS, TIMES = (".1", ".2"), ".times"
#: All files, by their names in the run's folder and in the container's /run/toolkit.
FILES = tuple("log" + ending for ending in ("", *SEGMENTS, TIMES))
#: Bytes at the start of a segment: its position in twenty decimal digits, and a line end.
SEGMENT_HEADER = 21
#: The greatest position: more than a run can write in its life, and exact in every client.
LAST_POSITION = 10**15 - 1

#: The index of times: eight bytes with the milliseconds between records, then records of a time (milliseconds since 1970) and
#: a position, eight bytes each, big-endian. When it is full, records are dropped and the distance doubles.
TIMES_HEADER, TIMES_RECORD, TIMES_RECORDS = 8, 16, 32768
FIRST_DISTANCE_MS = 500


def shares(quota: int) -> tuple[int, int]:
    """How `quota` bytes are divided: for the head, and for each of the two segments of the tail."""
    return quota - quota // 4 * 2, quota // 4


class LogFiles:
    """Appends bytes. Raises `OSError` if the head is not there or is a link."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._head = _open(path, os.O_WRONLY | os.O_APPEND)
        self._position = os.fstat(self._head).st_size
        self._shares: tuple[int, int] | None = None
        self._segments: list[int | None] = [None, None]
        self._turn = -1
        self._times = TimeIndex(path + TIMES)

    def limit(self, head: int, segment: int) -> None:
        """From now on keep `head` bytes, and of what follows the last one or two segments of `segment` bytes."""
        self._shares = (head, segment)
        # Now, though they are needed later, if ever: on a file that is open here nobody can take a lease (fcntl(2)), which
        # would keep others from opening it.
        for number, ending in enumerate(SEGMENTS):
            try:
                self._segments[number] = _open(self._path + ending, os.O_WRONLY | os.O_APPEND)
            except OSError:
                continue

    def append(self, data: memoryview) -> int:
        """Returns how many bytes were taken, at least one. Raises `OSError` when none could be."""
        handle, room = self._place()
        self._times.note(self._position)
        taken = os.write(handle, data[:room])
        self._position += taken
        return taken

    def _place(self) -> tuple[int, int]:
        """Where the next byte goes, and how many fit there."""
        if self._shares is None:
            return self._head, LAST_POSITION
        head, segment = self._shares
        if self._position < head:
            return self._head, head - self._position
        turn, within = divmod(self._position - head, segment)
        handle = self._segments[turn % 2]
        if handle is None:
            raise OSError(errno.ENOENT, "there is no file for the log's tail")
        if turn != self._turn:
            os.ftruncate(handle, 0)
            if os.write(handle, b"%020d\n" % self._position) != SEGMENT_HEADER:
                raise OSError(errno.ENOSPC, "no room for a segment")
            self._turn = turn
        return handle, segment - within


class TimeIndex:
    """Notes now and then when the output was where. It is a help for readers: its failures are nobody's."""

    def __init__(self, path: str) -> None:
        self._distance = FIRST_DISTANCE_MS
        self._records = 0
        self._next = 0.0
        self._newest = 0
        self._file: int | None = None
        try:
            self._file = _open(path, os.O_RDWR)
            os.ftruncate(self._file, 0)
            os.write(self._file, self._distance.to_bytes(TIMES_HEADER, "big"))
        except OSError:
            pass

    def note(self, position: int) -> None:
        """The byte at `position` is written now; noted unless the last note is too new."""
        now = time.monotonic()
        if self._file is None or now < self._next:
            return
        try:
            if self._records >= TIMES_RECORDS:
                self._thin_out()
            # The clock may be set back, but no byte is older than the one before it.
            self._newest = max(self._newest, time.time_ns() // 1_000_000)
            record = self._newest.to_bytes(8, "big") + position.to_bytes(8, "big")
            os.pwrite(self._file, record, TIMES_HEADER + self._records * TIMES_RECORD)
            self._records += 1
        except OSError:
            pass
        self._next = now + self._distance / 1000

    def _thin_out(self) -> None:
        """Drop the records that are closer to each other than twice the distance, which is the distance from now on."""
        assert self._file is not None
        self._distance *= 2
        kept = [self._distance.to_bytes(TIMES_HEADER, "big")]
        data = os.pread(self._file, self._records * TIMES_RECORD, TIMES_HEADER)
        last = 0
        for at in range(0, len(data), TIMES_RECORD):
            moment = int.from_bytes(data[at : at + 8], "big")
            if moment >= last + self._distance:
                kept.append(data[at : at + TIMES_RECORD])
                last = moment
        fresh = b"".join(kept)
        os.pwrite(self._file, fresh, 0)
        os.ftruncate(self._file, len(fresh))
        self._records = len(kept) - 1


def _open(path: str, mode: int) -> int:
    return os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
