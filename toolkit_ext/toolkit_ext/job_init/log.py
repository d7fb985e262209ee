"""The run's log: the record of what the command wrote."""

from __future__ import annotations

import errno
import os

from toolkit_ext.job_init.log_files import LogFiles
from toolkit_ext.job_init.processes import report

__all__ = ["Log"]


class Log:
    """The run's log. A full disk costs output, never the job: what cannot be written is dropped, counted, and noted later."""

    def __init__(self, path: str) -> None:
        self._lost = 0
        self._why = ""
        self._line_open = False
        self._files: LogFiles | None = None
        try:
            self._files = LogFiles(path)
        except OSError as error:
            report(f"cannot open {path} ({error.strerror}); the output goes to the engine's log")

    def limit(self, head: int, segment: int) -> None:
        """Keep `head` bytes of the output, and of what follows the last one or two segments of `segment` bytes."""
        if self._files is not None:
            self._files.limit(head, segment)

    def write(self, data: bytes) -> None:
        if self._lost and not self._tell_loss():
            self._lost += len(data)
            return
        left = self._append(data)
        self._lost += left
        if left < len(data):
            self._line_open = data[len(data) - left - 1 : len(data) - left] != b"\n"

    def note(self, text: str) -> None:
        """A line of the toolkit's own among the command's output."""
        start = "\n" if self._line_open else ""
        self.write(f"{start}toolkit: {text}\n".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        if self._lost and not self._tell_loss():
            report(f"{self._lost} bytes of output were lost: {self._why}")

    def _append(self, data: bytes) -> int:
        """How many bytes of `data` could not be written."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[(self._files.append(rest) if self._files else os.write(1, rest)) :]
            except OSError as error:
                self._why = os.strerror(error.errno or errno.EIO)
                break
        return len(rest)

    def _tell_loss(self) -> bool:
        """Note what was lost, once there is room for the whole note again."""
        start = "\n" if self._line_open else ""
        notice = f"{start}toolkit: {self._lost} bytes of output were lost here: {self._why}\n".encode()
        left = self._append(notice)
        if left:
            self._line_open = self._line_open or left < len(notice)
            return False
        self._lost, self._line_open = 0, False
        return True
