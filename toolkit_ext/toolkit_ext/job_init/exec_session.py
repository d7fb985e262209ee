"""One command and its client, who may come back over another connection."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import struct
import termios
import time
from collections import deque
from typing import Protocol

from toolkit_ext.job_init.exec_frames import (
    ACK,
    CHUNK,
    EXIT,
    RESIZE,
    SIGNAL,
    STDIN,
    STDIN_END,
    BadFrame,
    Inbox,
    Outbox,
    frame,
)
from toolkit_ext.job_init.exec_loop import IN, OUT, Loop
from toolkit_ext.job_init.exec_program import Program, resize
from toolkit_ext.job_init.processes import send_signal

__all__ = ["KEEP_RESULT_S", "KILL_AFTER_S", "Session", "SessionLink"]

#: Seconds between SIGHUP and SIGKILL for a command whose client is gone for good.
KILL_AFTER_S = 10.0
#: Seconds that a command's end is kept for a client that has not fetched it.
KEEP_RESULT_S = 600.0
#: Seconds without output after which a terminal that background processes hold open counts as drained.
QUIET_S = 0.1
_SIZE = struct.Struct(">HH")


class SessionLink(Protocol):
    """The connection over which a session reaches its client."""

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Session:
    """A command from its start until its client has its exit code."""

    def __init__(self, loop: Loop, name: str, user: str, window: int, keep: float | None) -> None:
        """`keep`: seconds that the command lives on without a client; None for as long as it likes."""
        self.name, self.user, self.window, self.keep = name, user, window, keep
        self.inbox, self.outbox = Inbox(), Outbox()
        self.over = False
        self._loop = loop
        self._link: SessionLink | None = None
        self._program: Program | None = None
        self._group: int | None = None
        self._code: int | None = None
        self._stdin: int | None = None
        #: What waits to be written to the command: numbers of frames, and the content; None for the end.
        self._input: deque[tuple[int, memoryview | None]] = deque()
        self._input_weight = 0
        self._acknowledged = 0
        #: Outputs that are open, with the bytes that are still read of them once the command has ended.
        self._left: dict[int, int | None] = {}
        self._alone_since: float | None = time.monotonic()
        self._quiet_at: float | None = None
        self._kill_at: float | None = None

    # --- the command ------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Of the command as long as it runs."""
        return self._program.pid if self._program is not None and self._code is None else None

    def run(self, program: Program) -> None:
        self._program, self._group = program, program.pid
        self._stdin = program.stdin
        self._left = dict.fromkeys(program.outputs)
        self._watch()

    def fail(self, code: int, reason: str) -> None:
        """The command could not be started."""
        self._code = code
        self._send_exit(reason)

    def ended(self, code: int) -> None:
        """The command has; what it had written by then is still passed on, and what others write to its pipes is not."""
        assert self._program is not None
        self._code = code
        for fd in self._left:
            self._left[fd] = None if self._program.terminal else _readable(fd)
        if self._program.terminal:
            self._quiet_at = time.monotonic() + QUIET_S
        for fd in list(self._left):
            self._read(fd)
        self._finish()

    def _watch(self) -> None:
        """Ask for the events that something can be done about."""
        if self._program is None:
            return
        room = self.outbox.weight < self.window
        for fd in self._left:
            events = IN if room else 0
            if fd == self._stdin and self._input:
                events |= OUT
            self._loop.watch(fd, events, self._ready)
        if self._stdin is not None and self._stdin not in self._left:
            self._loop.watch(self._stdin, OUT if self._input else 0, self._ready_for_input)

    def _ready_for_input(self, events: int) -> None:
        self._write()
        self._watch()

    def _ready(self, events: int) -> None:
        if self._stdin in self._left and events & OUT:
            self._write()
        assert self._program is not None
        if events & ~OUT:
            for fd in list(self._left):
                self._read(fd)
            self._finish()
        self._watch()

    # --- output -----------------------------------------------------------------------------------------------------

    def _read(self, fd: int) -> None:
        """Pass on what is there, as far as the window allows."""
        assert self._program is not None
        kind = self._program.outputs[fd]
        while self.outbox.weight < self.window:
            left = self._left[fd]
            if left == 0:
                return self._close_output(fd)
            try:
                data = os.read(fd, CHUNK if left is None else min(left, CHUNK))
            except BlockingIOError:
                return None if left is None else self._close_output(fd)
            except OSError:  # a terminal that nobody has open any more
                data = b""
            if not data:
                return self._close_output(fd)
            self._left[fd] = None if left is None else left - len(data)
            if self._quiet_at is not None:
                self._quiet_at = time.monotonic() + QUIET_S
            self._send(self.outbox.add(kind, data))
            if len(data) < CHUNK and left is None:
                return None
        return None

    def _close_output(self, fd: int) -> None:
        self._loop.forget(fd)
        if fd == self._stdin:
            self._drop_input()
        del self._left[fd]
        os.close(fd)

    def _finish(self) -> None:
        if self._code is not None and not self._left and not self.over and self._program is not None:
            self._send_exit("")

    def _send_exit(self, reason: str) -> None:
        self._drop_input()
        self._program = None
        self._send(self.outbox.add(EXIT, json.dumps({"code": self._code, "reason": reason}).encode()))

    # --- input ------------------------------------------------------------------------------------------------------

    def take(self, kind: int, number: int, content: bytes) -> None:
        """A numbered frame of the client's. Raises `BadFrame`."""
        if not self.inbox.take(number):
            return
        if kind in (STDIN, STDIN_END):
            self._input_weight += len(content)
            if self._input_weight > self.window + 4 * CHUNK:
                raise BadFrame("more input than the window has room for")
            self._input.append((number, memoryview(content) if kind == STDIN else None))
            self._write()
        elif kind == RESIZE and self._program is not None and self._program.terminal:
            resize(self._program.stdin, *_SIZE.unpack(content))
        elif kind == SIGNAL and self.pid is not None and len(content) == 1:
            self.signal(content[0])
        self._watch()
        self._loop.at_end(self._acknowledge)

    def _write(self) -> None:
        """Hand the command what it takes."""
        while self._input:
            _, data = self._input[0]
            if self._stdin is None:
                return self._drop_input()
            if data is None:
                self._end_input()
                return None
            try:
                written = os.write(self._stdin, data)
            except BlockingIOError:
                break
            except OSError:  # it does not read any more
                self._drop_input()
                return None
            self._input_weight -= written
            if written == len(data):
                self._input.popleft()
            else:
                self._input[0] = (self._input[0][0], data[written:])
        self._loop.at_end(self._acknowledge)
        return None

    def _end_input(self) -> None:
        """Of a pipe the end, of a terminal what a person would type."""
        assert self._program is not None
        if self._program.terminal:
            try:
                os.write(self._program.stdin, b"\x04")
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return  # later
            self._input.popleft()
        else:
            self._drop_input()

    def _drop_input(self) -> None:
        """The command takes no more; what comes is consumed unread, so that its client never waits for that."""
        self._input.clear()
        self._input_weight = 0
        if self._stdin is not None and self._stdin not in self._left:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
        self._stdin = None
        self._loop.at_end(self._acknowledge)

    def _acknowledge(self) -> None:
        consumed = self._input[0][0] - 1 if self._input else self.inbox.received
        if consumed > self._acknowledged:
            self._acknowledged = consumed
            self._send(frame(ACK, consumed))

    # --- the client -------------------------------------------------------------------------------------------------

    def attach(self, link: SessionLink, received: int) -> None:
        """Go on over this connection, from behind what has arrived. Raises `BadFrame`."""
        again = self.outbox.after(received)
        if self._link is not None:
            self._link.close()
        self._link, self._alone_since = link, None
        for made in again:
            link.send(made)
        self._acknowledged = 0
        self._acknowledge()

    def detach(self, link: SessionLink) -> None:
        """The connection is gone."""
        if self._link is link:
            self._link, self._alone_since = None, time.monotonic()

    def acknowledged(self, number: int) -> None:
        """The client has consumed everything up to there. Raises `BadFrame`."""
        self.outbox.acknowledge(number)
        if self._code is not None and self._program is None and self.outbox.empty:
            self.over = True
            return
        self._more()

    def leave(self) -> None:
        """The client is gone for good."""
        self.keep = 0.0 if self.keep is not None else None
        self._alone_since = time.monotonic()
        if self._code is not None:
            self.over = True

    def signal(self, number: int) -> None:
        """To the command's process group; at a terminal to the one in front."""
        assert self._program is not None
        group = self._program.pid
        if self._program.terminal:
            with contextlib.suppress(OSError):
                group = os.tcgetpgrp(self._program.stdin) or group
        send_signal(group, number)

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    def _more(self) -> None:
        """There may be room in the window again."""
        if self._program is not None and self.outbox.weight < self.window:
            for fd in list(self._left):
                self._read(fd)
            self._finish()
            self._watch()

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When `check` has something to do."""
        times = [] if self._kill_at is None else [self._kill_at]
        if self._quiet_at is not None and self.outbox.weight < self.window:
            times.append(self._quiet_at)
        if self._alone_since is not None:
            if self._code is not None:
                times.append(self._alone_since + KEEP_RESULT_S)
            elif self.keep is not None and self._kill_at is None:
                times.append(self._alone_since + self.keep)
        return min(times, default=None)

    def check(self, now: float) -> None:
        """What is due at `now`."""
        if self._quiet_at is not None and now >= self._quiet_at and self.outbox.weight < self.window:
            self._quiet_at = None
            for fd in list(self._left):
                self._close_output(fd)
            self._finish()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill(signal.SIGKILL)
            self._kill_at = now + KILL_AFTER_S
            self.over = self._code is not None
        elif self._alone_since is None:
            return
        elif self._code is not None:
            self.over = now >= self._alone_since + KEEP_RESULT_S
        elif self._kill_at is None and self.keep is not None and now >= self._alone_since + self.keep:
            self._kill(signal.SIGHUP)
            self._kill_at = now + KILL_AFTER_S

    def _kill(self, number: int) -> None:
        """The whole process group; what was stopped has to wake up for it."""
        if self._group is not None:
            send_signal(self._group, number)
            send_signal(self._group, signal.SIGCONT)

    def close(self) -> None:
        """Free what is held; a command that still runs is killed."""
        if self.pid is not None:
            self._kill(signal.SIGKILL)
        for fd in list(self._left):
            self._close_output(fd)
        self._drop_input()
        if self._link is not None:
            self._link.close()


def _readable(pipe: int) -> int:
    """Bytes that a pipe holds."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])
