"""A local port that leads to an app of a job that speaks HTTP; `local_http` says who is treated how."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import urlsplit

from toolkit_client.errors import InvalidRequest, ToolkitError
from toolkit_client.exec.channel import Channel
from toolkit_client.exec.forward import Forward, patiently, splice
from toolkit_client.exec.local_http import Head, read_head, request_for_gate, wants_browser_page
from toolkit_client.transfer.link import Interrupted, connect

__all__ = ["AppForward"]

#: Seconds for the other end to read the answer when it still sends.
_LINGER_S = 2.0


class AppForward(Forward):
    """Serves one listener on loopback."""

    def __init__(
        self,
        listener: socket.socket,
        address: Callable[[], str],
        token: str,
        tell: Callable[[str], None],
        *,
        visit: Callable[[str], str],
        name: str,
    ) -> None:
        """`address` gives the app's, and `visit` a one-time address for a path below it; `name` is the app's."""
        super().__init__(listener, address, token, tell)
        self._visit, self._name = visit, name
        self._port = int(listener.getsockname()[1])

    def serve_one(self, connection: socket.socket) -> None:
        """Answer the one request of a connection. Raises `ToolkitError` for what is to be told, or ends them all."""
        try:
            head = read_head(connection)
            if head is None:
                return
            for_browser = wants_browser_page(head, self._port)
        except ToolkitError as error:
            _refuse(connection, error)
            return
        try:
            if for_browser:
                _answer(connection, 303, "The app is elsewhere.", location=self._visit(head.target))
            else:
                self._pass_on(connection, head)
        except ToolkitError as error:
            _refuse(connection, error)
            if not isinstance(error, InvalidRequest):
                raise

    def _pass_on(self, connection: socket.socket, head: Head) -> None:
        address = self._url()
        path = urlsplit(address).path
        below = path.removesuffix("lab") if self._name == "jupyter" else path
        own = self._name.isdecimal()
        request = request_for_gate(head, address, self._token, below=below, own_authorization=own)
        upstream = patiently(lambda: _connected(address))
        try:
            upstream.sendall(request + head.rest)
            splice(Channel(upstream), connection, half_close=False)
        finally:
            upstream.close()
        _linger(connection)


def _connected(address: str) -> socket.socket:
    """A connection to the gate. Raises `Interrupted`."""
    try:
        return cast(socket.socket, connect(address).sock)
    except OSError as problem:
        where = urlsplit(address).netloc
        raise Interrupted(
            f"no connection to {where}: {problem}", "is the site up, and reachable from here?"
        ) from problem


def _refuse(connection: socket.socket, error: ToolkitError) -> None:
    _answer(connection, error.status, f"{error.message}\n{error.hint}".strip())


def _answer(connection: socket.socket, status: int, text: str, *, location: str = "") -> None:
    """A few words; with a `location`, from where the browser goes on. Nothing of it is kept or told to anybody."""
    body = f"{text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *([f"Location: {location}"] if location else []),
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    connection.settimeout(_LINGER_S)
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body)
    connection.shutdown(socket.SHUT_WR)
    _linger(connection)


def _linger(connection: socket.socket) -> None:
    """Read and throw away what still comes: closing before it would take back the answer that is under way."""
    connection.settimeout(_LINGER_S)
    deadline = time.monotonic() + _LINGER_S
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline and connection.recv(65536):
            pass
