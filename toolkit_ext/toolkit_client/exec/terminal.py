"""The terminal of a person who runs a command in a job: raw while the command has it, and as it was whatever happens."""

from __future__ import annotations

import atexit
import os
import termios
import tty
from typing import Any

from toolkit_client.exec.session import Told

__all__ = ["Terminal"]


class Terminal(Told):
    """The terminal on standard input. While the connection is lost it is a person's again, so that Ctrl-C ends the waiting."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns; a terminal that does not know its size has 24 rows of 80."""
        for fd in (self._fd, 1, 2):
            try:
                found = os.get_terminal_size(fd)
            except OSError:
                continue
            if found.lines and found.columns:
                return found.lines, found.columns
        return 24, 80

    def __enter__(self) -> Terminal:
        atexit.register(self.lost)
        self.back()
        return self

    def __exit__(self, *_: object) -> None:
        self.lost()
        atexit.unregister(self.lost)

    def back(self) -> None:
        """The command has the terminal."""
        if self._before is None:
            self._before = termios.tcgetattr(self._fd)
            tty.setraw(self._fd, termios.TCSADRAIN)

    def lost(self) -> None:
        """The person has it back."""
        if self._before is not None:
            before, self._before = self._before, None
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)
