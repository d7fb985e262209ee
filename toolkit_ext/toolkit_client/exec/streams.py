"""Where a command's input comes from and where its output goes: memory, or descriptors of this process."""

from __future__ import annotations

import os
import stat
from typing import Protocol

from toolkit_ext.job_init.exec_frames import CHUNK, STDERR, STDOUT

__all__ = ["Descriptors", "Memory", "Streams"]

#: What a pipe or terminal takes without waiting when it takes anything.
_ATOMIC = 4096


class Streams(Protocol):
    """Nothing here waits. A descriptor of None means that it need not be asked first."""

    def input_fd(self) -> int | None: ...

    def read(self) -> bytes:
        """Some input, now that there is some; empty at its end."""

    def output_fd(self, kind: int) -> int | None: ...

    def write(self, kind: int, data: memoryview) -> int:
        """How much of it was written. Raises `OSError` when nobody reads it."""


class Memory:
    """Input that is there, and output that is kept."""

    def __init__(self, content: bytes = b"") -> None:
        self._rest = memoryview(content)
        self.outputs = {STDOUT: bytearray(), STDERR: bytearray()}

    def input_fd(self) -> None:
        return None

    def read(self) -> bytes:
        data, self._rest = bytes(self._rest[:CHUNK]), self._rest[CHUNK:]
        return data

    def output_fd(self, kind: int) -> None:
        return None

    def write(self, kind: int, data: memoryview) -> int:
        self.outputs[kind] += data
        return len(data)


class Descriptors:
    """Standard input and output of this process; `with_input` False: the command gets none."""

    def __init__(self, *, with_input: bool = True, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        self._stdin = stdin if with_input and _is_open(stdin) else None
        self._outputs = {STDOUT: stdout, STDERR: stderr}
        self._at_once = {fd: CHUNK if _is_file(fd) else _ATOMIC for fd in (stdout, stderr)}
        self._gone = frozenset(kind for kind, fd in self._outputs.items() if not _is_open(fd))

    def input_fd(self) -> int | None:
        return self._stdin

    def read(self) -> bytes:
        if self._stdin is None:
            return b""
        try:
            return os.read(self._stdin, CHUNK)
        except OSError:  # a terminal that has gone
            return b""

    def output_fd(self, kind: int) -> int | None:
        return None if kind in self._gone else self._outputs[kind]

    def write(self, kind: int, data: memoryview) -> int:
        if kind in self._gone:
            return len(data)
        fd = self._outputs[kind]
        try:
            return os.write(fd, data[: self._at_once[fd]])
        except BlockingIOError:
            return 0


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False
