"""A local port that leads to a port of a job: each connection through the gate by a stream of its own."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from toolkit_client.errors import Conflict, InvalidRequest, ServiceUnavailable, ToolkitError
from toolkit_client.exec.channel import TCP_PROTOCOL, Channel, open_channel
from toolkit_client.transfer.connection import Interrupted

__all__ = ["LOOPBACK", "Forward", "listen", "patiently", "splice"]

ResultT = TypeVar("ResultT")

LOOPBACK = "127.0.0.1"
#: Bytes that wait for a side that does not read.
_ROOM = 256 * 1024
#: Seconds for which a new connection waits while the gate is away, and between two tries.
PATIENCE_S, PAUSE_S = 10.0, 0.25
_MOST_CONNECTIONS = 500


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """A socket on this machine, by default on its loopback; port 0 takes a free one. Raises `InvalidRequest`, `Conflict`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except PermissionError as error:
        raise InvalidRequest(
            f"local port {port} is for root only", f"take another one: {port + 8000}:{port}"
        ) from error
    except OSError as error:
        where = f"local port {port}" if host == LOOPBACK else f"port {port} of {host}"
        raise Conflict(
            f"{where} cannot be had: {error.strerror}",
            "some program of this machine may use it; LOCAL:REMOTE takes another one, 0:REMOTE any that is free",
        ) from error


class Forward:
    """Serves one listener. On loopback only processes of this user's own are let through, where the system tells whose they
    are; who listens for other machines means to let others in."""

    def __init__(
        self, listener: socket.socket, url: Callable[[], str], token: str, tell: Callable[[str], None]
    ) -> None:
        """`url` gives the address of the port's stream; `tell` gets a line for each connection that comes to nothing."""
        self._listener, self._url, self._token, self._tell = listener, url, token, tell
        self._on_loopback = str(listener.getsockname()[0]).startswith(("127.", "::1"))
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.ended: ToolkitError | None = None

    #: For a forwarding to an ssh server: the file with its host key.
    known_hosts: Path | None = None

    def close(self) -> None:
        """What should not outlive it goes."""
        self._listener.close()

    def serve(self) -> None:
        """Until the job or the right to it is gone. Raises `ToolkitError` then."""
        self._listener.settimeout(0.5)
        while self.ended is None:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            if self._on_loopback and not is_own(connection):
                self._tell("a connection of another user of this machine was refused")
                connection.close()
                continue
            self._places.acquire()
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()
        raise self.ended

    def _carry(self, connection: socket.socket) -> None:
        try:
            with connection:
                self.serve_one(connection)
        except (
            ServiceUnavailable,
            Conflict,
        ) as error:  # a part of the site is away, or the port takes nothing just now
            self._tell(error.message)
        except ToolkitError as error:
            self.ended = error
        except OSError:
            pass  # one of the two ends has broken off: the other one sees the same
        finally:
            self._places.release()

    def serve_one(self, connection: socket.socket) -> None:
        """Carry one connection, to its end. Raises `ToolkitError`, `OSError`."""
        channel = self._open()
        try:
            splice(channel, connection)
        finally:
            channel.close()

    def _open(self) -> Channel:
        return patiently(lambda: open_channel(self._url(), self._token, TCP_PROTOCOL))


def patiently(opened: Callable[[], ResultT]) -> ResultT:
    """What `opened` gives, tried again while the gate is away. Raises `Interrupted` when it stays away."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return opened()
        except Interrupted:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)


class _Way:
    """One direction: what waits, and whether its source has said its last and its goal knows."""

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.ended = self.told = False


def splice(channel: Channel, connection: socket.socket, *, half_close: bool = True) -> None:
    """Pass bytes both ways until both ends have said their last, or (without `half_close`) the first of them has and all that
    it said was passed on. Raises `OSError` when one breaks off."""
    local = Channel(connection)
    ways = ((local, channel, _Way()), (channel, local, _Way()))
    while True:
        for source, goal, way in ways:
            _move(source, goal, way)
        told = [way.told for _, _, way in ways]
        if all(told) or (any(told) and not half_close):
            return
        events = {local.fileno(): 0, channel.fileno(): 0}
        for source, goal, way in ways:
            if not way.ended and len(way.waiting) < _ROOM:
                events[source.fileno()] |= select.POLLIN
            if way.waiting:
                events[goal.fileno()] |= select.POLLOUT
        poll = select.poll()
        kept = {source.fileno() for source, _, way in ways if way.waiting}
        for fd, wanted in events.items():
            if wanted or fd not in kept:  # what an end has said before it went is still passed on
                poll.register(fd, wanted)
        ready = poll.poll(0 if channel.holds and events[channel.fileno()] & select.POLLIN else None)
        if any(found & (select.POLLHUP | select.POLLERR) and not events[fd] for fd, found in ready):
            raise ConnectionResetError("one of the ends has gone")


def _move(source: Channel, goal: Channel, way: _Way) -> None:
    """What is taken at once is not kept, so that it is copied once only."""
    if not way.ended and len(way.waiting) < _ROOM:
        data = source.receive()
        way.ended = data == b""
        if data and not way.waiting:
            way.waiting += memoryview(data)[goal.send(data) :]
        else:
            way.waiting += data or b""
    while way.waiting:
        sent = goal.send(way.waiting)
        if not sent:
            return
        del way.waiting[:sent]
    if way.ended and not way.told:
        way.told = True
        goal.end()


def is_own(connection: socket.socket) -> bool:
    """Whether the other end is a process of this user's; True on systems that do not tell."""
    table = Path("/proc/net/tcp6" if connection.family == socket.AF_INET6 else "/proc/net/tcp")
    if not table.exists():
        return True
    theirs, ours = _written(connection.getpeername()), _written(connection.getsockname())
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == theirs and fields[2] == ours:
            return int(fields[7]) == os.getuid()
    return False  # it has gone already


def _written(address: tuple[str, int]) -> str:
    """As the kernel's table has it: words of four bytes in the machine's order."""
    raw = socket.inet_pton(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, address[0])
    words = (int.from_bytes(raw[place : place + 4], sys.byteorder) for place in range(0, len(raw), 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{address[1]:04X}"
