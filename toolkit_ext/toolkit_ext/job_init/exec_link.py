"""A connection from the gate: who it is for, then a command's frames, or the bytes of one of the job's own ports, or of ssh."""

from __future__ import annotations

import hmac
import json
import socket
import struct
import time
from collections import deque
from typing import Any, Protocol

from toolkit_ext.job_init.exec_frames import (
    ACK,
    HELLO,
    LEAVE,
    NUMBERED,
    PING,
    PONG,
    REFUSED,
    BadFrame,
    Decoder,
    frame,
    read_hello,
)
from toolkit_ext.job_init.exec_loop import IN, OUT, Loop
from toolkit_ext.job_init.exec_session import Session

__all__ = ["HELLO_S", "SILENCE_S", "Link", "Refused"]

#: Seconds for the first line and the HELLO, and without a byte afterwards: clients send PING oftener.
HELLO_S, SILENCE_S = 30.0, 120.0
_LONGEST_LINE = 4096
_READ = 256 * 1024
#: Buffers that are handed to the kernel at a time.
_BUFFERS = 16


class Refused(Exception):
    """The client asks for what it cannot have: a word for programs, and words."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class Sessions(Protocol):
    """What a link asks of its server."""

    def attach(
        self, link: Link, user: str, hello: dict[str, Any], words: list[bytes], variables: list[bytes]
    ) -> Session: ...

    def connect(self, link: Link, port: int) -> None: ...

    def ssh(self, link: Link) -> None: ...

    def gone(self, link: Link) -> None: ...


class Link:
    """One connection. Whatever it sends, it ends nothing but itself."""

    def __init__(self, loop: Loop, connection: socket.socket, secret: str, sessions: Sessions) -> None:
        self._loop, self._connection, self._secret, self._sessions = loop, connection, secret, sessions
        self._fd = connection.fileno()
        self._line = bytearray()
        self._decoder: Decoder | None = None
        self._user = ""
        self._session: Session | None = None
        self._out: deque[memoryview] = deque()
        self._closed = self._closing = False
        self.deadline = time.monotonic() + HELLO_S
        loop.watch(self._fd, IN, self._ready)

    # --- in ---------------------------------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        if events & OUT:
            self._flush()
        if events & ~OUT and not self._closed:
            try:
                data = self._connection.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            if self._decoder is None:
                self._read_line(data)
            else:
                self._read_frames(self._decoder, data)
        except Refused as refused:
            words = {"code": refused.code, "message": refused.message, "hint": refused.hint}
            self.send(frame(REFUSED, 0, json.dumps(words).encode()))
            self._closing = True
        except (BadFrame, struct.error) as error:
            self.send(frame(REFUSED, 0, json.dumps({"code": "broken", "message": str(error), "hint": ""}).encode()))
            self._closing = True
        except Exception:
            self.close()
            raise

    def _read_line(self, data: bytes) -> None:
        """The gate's line: the run's secret, and what for."""
        self._line += data
        line, end, rest = bytes(self._line).partition(b"\n")
        if not end:
            if len(self._line) > _LONGEST_LINE:
                self.close()
            return
        try:
            asked = json.loads(line)
            given = str(asked["secret"])
            self._user = str(asked["user"])
            port, ssh = int(asked.get("port", 0)), asked.get("ssh") is True
        except (ValueError, TypeError, KeyError, RecursionError):
            given, port, ssh = "", 0, False
        if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._secret.encode()):
            self.close()
            return
        if port or ssh:
            self._loop.forget(self._fd)
            self._closed = True  # as far as this class goes
            if ssh:
                self._sessions.ssh(self)
            else:
                self._sessions.connect(self, port)
            return
        self._decoder = Decoder()
        self.send(b"ok\n")
        if rest:
            self._take(rest)

    def release(self) -> socket.socket:
        """The connection, for a port's bytes or ssh's."""
        return self._connection

    def _read_frames(self, decoder: Decoder, data: bytes) -> None:
        for kind, number, content in decoder.feed(data):
            if self._closed or self._closing:
                return
            if self._session is not None:
                self._frame(self._session, kind, number, content)
            elif kind == HELLO:
                hello, words, variables = read_hello(content)
                self._session = self._sessions.attach(self, self._user, hello, words, variables)
            else:
                raise BadFrame("a frame before HELLO")
        if self._session is not None:
            self.deadline = time.monotonic() + SILENCE_S

    def _frame(self, session: Session, kind: int, number: int, content: bytes) -> None:
        if kind >= NUMBERED:
            session.take(kind, number, content)
        elif kind == ACK:
            session.acknowledged(number)
        elif kind == PING:
            self.send(frame(PONG))
        elif kind == LEAVE:
            session.leave()

    # --- out --------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Soon. What is held here is held by the session too, which bounds it."""
        if not self._closed:
            self._out.append(memoryview(data))
            self._loop.at_end(self._flush)

    def _flush(self) -> None:
        if self._closed:
            return
        try:
            while self._out:
                sent = self._connection.sendmsg([self._out[number] for number in range(min(_BUFFERS, len(self._out)))])
                while self._out and sent >= len(self._out[0]):
                    sent -= len(self._out.popleft())
                if sent:
                    self._out[0] = self._out[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._closing and not self._out:
            self.close()
            return
        self._loop.watch(self._fd, IN | OUT if self._out else IN, self._ready)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._out.clear()
        self._loop.forget(self._fd)
        self._connection.close()
        if self._session is not None:
            self._session.detach(self)
        self._sessions.gone(self)

    @property
    def closed(self) -> bool:
        return self._closed
