"""Bytes between the gate and one of the job's own ports, both ways, with back-pressure and half-close."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable

from toolkit_ext.job_init.exec_loop import IN, OUT, Loop

__all__ = ["CONNECT_S", "Splice"]

#: Seconds for a port to take the connection.
CONNECT_S = 5.0
#: Bytes that wait for a side that does not read.
_ROOM = 256 * 1024
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN)


class _Side:
    """One of the two ends."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.fd = connection.fileno()
        self.waiting = bytearray()
        #: Whether it has said its last, and whether it was told that the other one has.
        self.ended = self.told = False


class Splice:
    """One connection to one port. It goes to the first of `addresses` that takes it."""

    def __init__(
        self, loop: Loop, gate: socket.socket, addresses: list[str], port: int, gone: Callable[[Splice], None]
    ) -> None:
        self._loop, self._gate, self._port, self._gone = loop, _Side(gate), port, gone
        self._addresses = addresses
        self._job: _Side | None = None
        self._why = ""
        self._over = False
        self.deadline: float | None = time.monotonic() + CONNECT_S
        self._try_next()

    # --- the connection to the port -----------------------------------------------------------------------------------

    def _try_next(self) -> None:
        while self._addresses:
            address = self._addresses.pop(0)
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                connection = socket.socket(kind, socket.SOCK_STREAM)
            except OSError:
                continue
            connection.setblocking(False)
            state = connection.connect_ex((address, self._port))
            if state == 0 or state in _UNDER_WAY:
                self._job = _Side(connection)
                self._loop.watch(self._job.fd, OUT, self._connected)
                return
            self._why = self._why or os.strerror(state)
            connection.close()
        self._refuse()

    def _connected(self, events: int) -> None:
        assert self._job is not None
        state = self._job.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if state:
            self._why = self._why or os.strerror(state)
            self._loop.forget(self._job.fd)
            self._job.connection.close()
            self._job = None
            self._try_next()
            return
        self.deadline = None
        self._job.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._gate.waiting += b"ok\n"
        self._turn()

    def _refuse(self) -> None:
        with contextlib.suppress(OSError):
            self._gate.connection.send(f"refused: {self._why}\n".encode())
        self.close()

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _turn(self, events: int = 0) -> None:
        """Move what can be moved, and ask for the events that let more move."""
        if self._job is None or self._over:
            return
        for side, other in ((self._gate, self._job), (self._job, self._gate)):
            if not self._move(side, other):
                self.close()
                return
        if all(side.told for side in (self._gate, self._job)):
            self.close()
            return
        for side, other in ((self._gate, self._job), (self._job, self._gate)):
            events = IN if not side.ended and len(other.waiting) < _ROOM else 0
            self._loop.watch(side.fd, events | (OUT if side.waiting else 0), self._turn)

    def _move(self, side: _Side, other: _Side) -> bool:
        """From one side to the other; False when the connection has broken."""
        try:
            if not side.ended and len(other.waiting) < _ROOM:
                data = side.connection.recv(_ROOM)
                side.ended = not data
                other.waiting += data
        except BlockingIOError:
            pass
        except OSError:
            return False
        try:
            while other.waiting:
                del other.waiting[: other.connection.send(other.waiting)]
            if side.ended and not other.told:
                other.told = True
                other.connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def check(self, now: float) -> None:
        if self.deadline is not None and now >= self.deadline:
            self._why = f"it does not take the connection within {CONNECT_S:.0f} s"
            self._refuse()

    def close(self) -> None:
        if self._over:
            return
        self._over = True
        for side in (self._gate, self._job):
            if side is not None:
                self._loop.forget(side.fd)
                side.connection.close()
        self._gone(self)
