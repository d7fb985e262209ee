"""``python -I -S -m toolkit_ext.apps.agent_relay NAME``: an ssh agent that is elsewhere, as a socket in a job.

Whoever connects with the socket speaks with the agent at the other end of this program's standard input and output, where each
connection has a number: a frame is the number, a length, and so many bytes; none means that the connection has ended. The first
frame from here (number 0) says that the socket is there. It goes with the end of the input. Standard library only; both ends
use `Frames`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Iterator

from toolkit_ext.apps.ssh_keys import agent_socket

__all__ = ["Frames", "frame", "main"]

_HEAD = struct.Struct(">II")
#: Bytes of one frame; an agent's messages are shorter (OpenSSH: 256 KiB).
LONGEST = 1 << 20
MOST_CONNECTIONS = 64
_READ = 64 * 1024


def frame(number: int, data: bytes = b"") -> bytes:
    return _HEAD.pack(number, len(data)) + data


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(number, content) of each frame that is whole. Raises `ValueError` for what is none."""
        self._rest += data
        while len(self._rest) >= _HEAD.size:
            number, length = _HEAD.unpack_from(self._rest)
            if length > LONGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = _HEAD.size + length
            if len(self._rest) < end:
                return
            content = bytes(self._rest[_HEAD.size : end])
            del self._rest[:end]
            yield number, content


class _Relay:
    """The socket's end."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._connections: dict[int, socket.socket] = {}
        self._frames = Frames()
        self._newest = 0
        self._ready = selectors.DefaultSelector()
        self._ready.register(listener, selectors.EVENT_READ, 0)
        self._ready.register(sys.stdin.fileno(), selectors.EVENT_READ, -1)

    def run(self) -> None:
        """Until the input ends."""
        _send(frame(0))
        while True:
            for key, _ in self._ready.select():
                if key.data == -1:
                    data = os.read(0, _READ)
                    if not data:
                        return
                    self._deliver(data)
                elif key.data == 0:
                    self._accept()
                elif key.data in self._connections:
                    self._read(key.data)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._connections) >= MOST_CONNECTIONS:
            connection.close()
            return
        connection.settimeout(5.0)  # for what is written to it; a program that does not read its answers gets none
        self._newest += 1
        self._connections[self._newest] = connection
        self._ready.register(connection, selectors.EVENT_READ, self._newest)

    def _read(self, number: int) -> None:
        try:
            data = self._connections[number].recv(_READ)
        except OSError:
            data = b""
        _send(frame(number, data))
        if not data:
            self._drop(number)

    def _deliver(self, data: bytes) -> None:
        for number, content in self._frames.feed(data):
            connection = self._connections.get(number)
            if connection is None:
                continue
            try:
                connection.sendall(content)
            except OSError:
                content = b""
            if not content:
                self._drop(number)
                _send(frame(number))

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number)
        self._ready.unregister(connection)
        connection.close()


def _send(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def main(name: str) -> None:
    place = agent_socket(name)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: sys.exit(1))
    place.unlink(missing_ok=True)  # of a relay that was killed
    os.umask(0o177)
    with socket.socket(socket.AF_UNIX) as listener, contextlib.suppress(BrokenPipeError):
        listener.bind(str(place))
        listener.listen(16)
        try:
            _Relay(listener).run()
        finally:
            place.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])
