"""A connection through the gate that is bytes both ways: HTTP until the 101, and then whatever its two ends speak.

Made of sockets of the standard library, like the transfer of data: the gate hands the bytes over as they are, so a websocket's
frames would only be work for both ends, and its library one more to install on every laptop.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from urllib.parse import urlsplit

from toolkit_client.errors import error_from_body
from toolkit_client.transfer.connection import AWAY, Interrupted, connected_socket

__all__ = [
    "EXEC_PROTOCOL",
    "SSH_PROTOCOL",
    "TCP_PROTOCOL",
    "Channel",
    "open_channel",
    "read_head",
    "run_url",
    "status_of",
]

#: Names of the protocols in the ``Upgrade`` header.
EXEC_PROTOCOL, SSH_PROTOCOL, TCP_PROTOCOL = "toolkit-exec", "toolkit-ssh", "toolkit-tcp"
#: Seconds for the gate's answer: it may have to start what the connection is for.
ANSWER_S = 60.0
_LONGEST_HEAD = 64 * 1024
_READ = 256 * 1024


class Channel:
    """A connection that never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._tls = type(connection) is not socket.socket
        self._not_now: tuple[type[OSError], ...] = (BlockingIOError,)
        if self._tls:
            import ssl

            self._not_now = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        #: What came behind the head, if it did.
        self.early = b""

    def fileno(self) -> int:
        return self._connection.fileno()

    def receive(self) -> bytes | None:
        """What has arrived; None when nothing has. Empty at the end. Raises `OSError`."""
        if self.early:
            early, self.early = self.early, b""
            return early
        try:
            return self._connection.recv(_READ)
        except self._not_now:
            return None

    @property
    def holds(self) -> bool:
        """Whether `receive` has something that no poll would tell of."""
        return bool(self.early) or (self._tls and self._connection.pending() > 0)  # type: ignore[attr-defined]

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """How much of it was taken. Raises `OSError`."""
        try:
            return self._connection.send(data)
        except self._not_now:
            return 0

    def exchange(self, line: bytes, seconds: float, longest: int = _LONGEST_HEAD) -> bytes:
        """Send a line and wait for the one that answers it. What follows that stays unread where the connection is a plain
        one, so that it may be handed on. Raises `OSError`."""
        deadline, rest, answer = time.monotonic() + seconds, memoryview(line), b""
        while rest:
            rest = rest[self.send(rest) :]
            if rest:
                self._wait(deadline, select.POLLOUT)
        while not answer.endswith(b"\n"):
            if not self.holds:
                self._wait(deadline, select.POLLIN)
            piece = self._to_line_end()
            if piece == b"" or len(answer) > longest:
                raise ConnectionResetError("the connection broke before it was answered")
            answer += piece or b""
        return answer

    def _wait(self, deadline: float, events: int) -> None:
        poll = select.poll()
        poll.register(self._connection, events)
        if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise TimeoutError("there was no answer")

    def _to_line_end(self) -> bytes | None:
        """As `receive`, but nothing behind the end of a line."""
        if not self.early and self.plain is not None:
            try:
                seen = self._connection.recv(_READ, socket.MSG_PEEK)
                return self._connection.recv(seen.find(b"\n") + 1 or len(seen)) if seen else b""
            except self._not_now:
                return None
        data = self.receive()
        if data is None:
            return None
        cut = data.find(b"\n") + 1 or len(data)
        self.early = data[cut:]
        return data[:cut]

    @property
    def plain(self) -> socket.socket | None:
        """The connection's socket, where its bytes are those of the stream and none has been read ahead."""
        return None if self.early or self._tls else self._connection

    def end(self) -> None:
        """Say that nothing more will be sent, where the connection can say so."""
        if not self._tls:
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._connection.close()


def run_url(lab_url: str, what: str) -> str:
    """An address below that of a job's present run, by the one of its JupyterLab."""
    return lab_url.removesuffix("lab") + what


def open_channel(url: str, token: str, protocol: str) -> Channel:
    """Ask the gate for a connection to what is at `url`.

    Raises:
        ToolkitError: the gate refused it.
        Interrupted: the gate, or what is behind it, is away.
    """
    parts = urlsplit(url)
    request = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Connection: Upgrade\r\nUpgrade: {protocol}\r\nUser-Agent: toolkit-client\r\n\r\n"
    )
    try:
        connection = connected_socket(url)
    except OSError as problem:
        raise _broken(parts.netloc, problem) from problem
    try:
        connection.settimeout(ANSWER_S)
        connection.sendall(request.encode("ascii"))
        head, rest = read_head(connection)
        status = status_of(head)
        if status != 101:
            raise _refusal(connection, status, head, rest)
    except OSError as problem:
        connection.close()
        raise _broken(parts.netloc, problem) from problem
    except BaseException:
        connection.close()
        raise
    channel = Channel(connection)
    channel.early = rest
    return channel


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of an answer, and what has come behind it. Raises `OSError`."""
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(_READ)
        if not piece or len(received) > _LONGEST_HEAD:
            raise ConnectionResetError("it gave no answer")
        received += piece
    return bytes(received[:end]), bytes(received[end + 4 :])


def status_of(head: bytes) -> int:
    """Raises `OSError` for what is no head of HTTP."""
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise ConnectionResetError("it answers something else than HTTP")
    return int(parts[1])


def _refusal(connection: socket.socket, status: int, head: bytes, rest: bytes) -> Exception:
    """The error that an answer stands for."""
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = min(int(value), _LONGEST_HEAD)
    while len(rest) < length and (piece := connection.recv(_READ)):
        rest += piece
    try:
        body = json.loads(rest)
    except ValueError:
        body = None
    error = error_from_body(status, body)
    return Interrupted(error.message, error.hint or "try again in a moment") if status in AWAY else error


def _broken(where: str, problem: OSError) -> Interrupted:
    return Interrupted(
        f"no connection to {where}: {problem or type(problem).__name__}", "is the site up, and reachable from here?"
    )
