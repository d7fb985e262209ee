"""A loop over file descriptors, for the program that runs commands in a job's container. No threads, nothing blocks."""

from __future__ import annotations

import os
import select
import signal
import traceback
from collections.abc import Callable

from toolkit_ext.job_init.processes import report

__all__ = ["IN", "OUT", "Loop"]

IN, OUT = select.EPOLLIN, select.EPOLLOUT

Callback = Callable[[int], None]


class Loop:
    """Calls back when descriptors are ready, children have ended, or time has passed."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, tuple[int, Callback]] = {}
        self._at_end: dict[Callable[[], None], None] = {}
        self.on_child: Callable[[int, int], None] = lambda pid, code: None
        self._wakeup = self._watch_children()

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call back when one of `events` happens; with none of them the descriptor is not looked at, not for errors either."""
        known = self._watched.get(fd)
        if known == (events, callback):
            return
        if known is not None and not events:
            self.forget(fd)
        elif known is not None:
            if known[0] != events:
                self._poll.modify(fd, events)
            self._watched[fd] = (events, callback)
        elif events:
            self._poll.register(fd, events)
            self._watched[fd] = (events, callback)

    def forget(self, fd: int) -> None:
        """To be called before the descriptor is closed."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call once when everything that is ready now has been done, however often it is asked for."""
        self._at_end[call] = None

    def turn(self, seconds: float | None) -> None:
        """One wait, of at most `seconds`, and what follows from it. Whatever goes wrong ends nothing but what it is about."""
        for fd, events in self._poll.poll(seconds):
            known = self._watched.get(fd)
            if known is not None:  # it may be gone by what was done before
                _guarded(known[1], events)
        while self._at_end:
            calls, self._at_end = list(self._at_end), {}
            for call in calls:
                _guarded(call)

    def _watch_children(self) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.watch(reader, IN, lambda events: self._reap())
        return reader

    def _reap(self) -> None:
        os.read(self._wakeup, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self.on_child(pid, 128 - code if code < 0 else code)


def _guarded(call: Callable[..., None], *given: int) -> None:
    try:
        call(*given)
    except Exception:
        report(f"a command's session failed: {traceback.format_exc(limit=-3)}")
