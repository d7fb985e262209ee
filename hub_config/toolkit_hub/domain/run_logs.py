"""Reads what a run has written, from files that the run itself may write, empty or fill with garbage at any time.

`job_init.log_files` says what lies in them. Here nothing in them is believed: a file is opened without following links and
without waiting, counts only if it is a plain file, and of each no more is read than the run's quota allows. Whatever is not
as it should be is as good as not there; a log that its own run has spoilt is wrong, but harms nobody.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from toolkit_ext.job_init.log_files import (
    LAST_POSITION,
    SEGMENT_HEADER,
    SEGMENTS,
    TIMES,
    TIMES_HEADER,
    TIMES_RECORD,
    TIMES_RECORDS,
)
from toolkit_spawner.run_files import log_shares

__all__ = ["Output", "RunLog", "file_limits", "open_safely"]

#: Bytes looked at in one go while line ends are counted.
WINDOW = 256 * 1024
#: Looks at files that change at the same moment, before the present answer is "nothing".
ATTEMPTS = 4


class Output(NamedTuple):
    """Bytes of the output, and the position of the first of them: later than asked for where output is not kept."""

    position: int
    data: bytes


class _Part(NamedTuple):
    """Output from `start` to before `end`, in an open file from byte `at` on. `mark`: how the file begins, if it is a segment."""

    start: int
    end: int
    handle: int
    at: int
    mark: bytes


def file_limits(folder: Path) -> dict[str, int]:
    """The greatest size that each file of a log has unless somebody else than job-init writes to it; none for no log."""
    try:
        head, segment = log_shares(folder)
    except FileNotFoundError:
        return {}
    segments = {f"log{ending}": segment + SEGMENT_HEADER for ending in SEGMENTS}
    return {"log": head, **segments, f"log{TIMES}": TIMES_HEADER + TIMES_RECORDS * TIMES_RECORD}


def open_safely(path: Path, mode: int) -> int | None:
    """A descriptor, or None for what is not there, is not a plain file, or could not be opened without waiting."""
    try:
        handle = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


class RunLog:
    """The output of one run, while it grows or afterwards. Its methods read files and block for as long; close it."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the run's, and need not be there yet."""
        self._folder = folder
        self._limits: dict[str, int] = {}
        self._handles: dict[str, int] = {}

    def close(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles = {}

    @property
    def end(self) -> int:
        """The position that the next byte will have."""
        parts = self._parts()
        return parts[-1].end if parts else 0

    def first_kept(self, position: int) -> int:
        """`position`, or where the output goes on if the byte there is not kept."""
        for part in self._parts():
            if part.end > position:
                return max(position, part.start)
        return position

    def read(self, position: int, size: int) -> Output | None:
        """The first bytes that are kept from `position` on, at most `size`; None while there are none."""
        for _ in range(ATTEMPTS):
            part = next((part for part in self._parts() if part.end > position), None)
            if part is None:
                return None
            start = max(position, part.start)
            data = os.pread(part.handle, min(size, part.end - start), part.at + start - part.start)
            # A segment may have been emptied for later output while it was read.
            if data and _mark_of(part.handle, part) == part.mark:
                return Output(start, data)
        return None

    def tail(self, lines: int) -> int:
        """The position at which the last `lines` lines begin."""
        position, wanted = self.end, lines
        if wanted == 0:
            return position
        last = self.read(position - 1, 1) if position else None
        if last is None or last.data != b"\n":
            wanted -= 1  # the last line has no end yet
        while position > 0:
            window = self._window_before(position)
            if window is None:
                break
            ends = window.data.count(b"\n")
            if ends > wanted:
                cut = len(window.data)
                for _ in range(wanted + 1):
                    cut = window.data.rfind(b"\n", 0, cut)
                return window.position + cut + 1
            position, wanted = window.position, wanted - ends
        return position

    def at_time(self, moment: datetime) -> int:
        """A position before everything written from `moment` on; as near as the run's notes say, a second as a rule."""
        index = self._times()
        end = self.end
        if index is None:
            return 0
        distance, records = index
        wanted = moment.timestamp() * 1000
        for written, position in records:
            # What follows a record was written within two distances from its time.
            if written + 2 * distance > wanted:
                return min(position, end)
        return end if records else 0

    def _window_before(self, position: int) -> Output | None:
        """The bytes that are kept and end right before `position`, or before the gap that ends there."""
        part = next((part for part in reversed(self._parts()) if part.start < position), None)
        if part is None:
            return None
        end = min(position, part.end)
        start = max(part.start, end - WINDOW)
        found = self.read(start, end - start)
        return found if found is not None and found.position == start else None

    # --- the files ----------------------------------------------------------------------------------------------------

    def _parts(self) -> list[_Part]:
        """What is kept, in order and without overlaps."""
        parts = [part for name in ("log", *(f"log{ending}" for ending in SEGMENTS)) if (part := self._part(name))]
        kept: list[_Part] = []
        end = 0
        for part in sorted(parts):
            if part.end > end:
                start = max(part.start, end)
                kept.append(part._replace(start=start, at=part.at + start - part.start))
                end = part.end
        return kept

    def _part(self, name: str) -> _Part | None:
        handle = self._handle(name)
        if handle is None:
            return None
        size = min(os.fstat(handle).st_size, self._limits[name])
        if name == "log":
            return _Part(0, size, handle, 0, b"") if size else None
        mark = os.pread(handle, SEGMENT_HEADER, 0)
        if size <= SEGMENT_HEADER or not re.fullmatch(rb"[0-9]{20}\n", mark) or int(mark) > LAST_POSITION:
            return None
        end = min(int(mark) + size - SEGMENT_HEADER, LAST_POSITION)
        return _Part(int(mark), end, handle, SEGMENT_HEADER, mark)

    def _handle(self, name: str) -> int | None:
        if not self._limits:
            self._limits = file_limits(self._folder)
        if name not in self._limits:
            return None
        if name not in self._handles:
            handle = open_safely(self._folder / name, os.O_RDONLY)
            if handle is None:
                return None
            self._handles[name] = handle
        return self._handles[name]

    def _times(self) -> tuple[int, list[tuple[int, int]]] | None:
        """The distance between records in milliseconds, and the records; None if they make no sense."""
        name = f"log{TIMES}"
        for _ in range(ATTEMPTS):
            handle = self._handle(name)
            data = os.pread(handle, self._limits[name], 0) if handle is not None else b""
            distance = int.from_bytes(data[:TIMES_HEADER], "big")
            body = data[TIMES_HEADER:]
            records = list(struct.iter_unpack(">QQ", body[: len(body) // TIMES_RECORD * TIMES_RECORD]))
            if len(data) >= TIMES_HEADER and records == sorted(records):
                return distance, records
            time.sleep(0.01)  # it may be about to be thinned out
        return None


def _mark_of(handle: int, part: _Part) -> bytes:
    return os.pread(handle, SEGMENT_HEADER, 0) if part.mark else b""
